"""The report of a test: one HTML file that needs no internet.

Class names, file names and options come from users' files: the template escapes them all, and the page forbids the browser to
load anything and to run any script but the page's own.
"""

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from report.plots import RIGHT, SERIES, WRONG
from report.sections import ReportData, page_contents
from utils.files import atomic_write, require_writable

if TYPE_CHECKING:
    import jinja2

__all__ = ["ReportData", "write_report"]


def write_report(path: Path, data: ReportData) -> None:
    """Write the report of one test in one step; its folder is created. path: ends in `.html`.

    t-SNE and the decoding of every photo shown take seconds to a minute. Raises InputError, before that work, if the file cannot
    be written; ImportError without matplotlib or jinja2.
    """
    import matplotlib  # noqa: F401  before the work

    template = _template()
    require_writable(path, option="report", suffix=".html")
    colours = {"first": SERIES[0], "second": SERIES[1], "right": RIGHT, "wrong": WRONG}
    page = template.render(page_contents(data), colours=colours)
    with atomic_write(path) as temporary:
        temporary.write_bytes(page.encode("utf-8"))


def _template() -> "jinja2.Template":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sha256"] = _sha256
    return environment.get_template("report.html.j2")


def _sha256(script: str) -> str:
    """The hash by which a Content-Security-Policy allows a script."""
    return base64.b64encode(hashlib.sha256(str(script).encode("utf-8")).digest()).decode("ascii")
