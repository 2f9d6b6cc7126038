"""The report of one test: a single HTML file to open in a browser, without internet, and to hand on.

Class names, file names and options come from users' files: the template escapes them all, and the page forbids the
browser to load anything or to run any script but its own few lines.
"""

import base64
import hashlib
from pathlib import Path

from evaluation.result_table import RIGHT, WRONG
from report.plots import SERIES
from report.sections import ReportData, Sections
from report.text import clean
from utils.files import atomic_write, require_writable

__all__ = ["ReportData", "write_report"]
TEMPLATE = "report.html.j2"


def write_report(path: Path, data: ReportData) -> None:
    """Write the report of one test; its folder is made, the file appears whole or not at all.

    path: ends in `.html`. Takes seconds to a minute: t-SNE, and a decoding of every photo shown. Raises InputError if the
    file cannot be written, before any of that; ValueError on data that do not belong together; ImportError without
    matplotlib or jinja2.
    """
    import matplotlib  # noqa: F401  now rather than after the work

    template = _template()
    data.check()
    require_writable(Path(path), option="report", suffix=".html")
    page = template.render(_contents(data))
    with atomic_write(path) as temporary:
        temporary.write_bytes(page.encode("utf-8"))


def _template():
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["sha256"] = _sha256
    return environment.get_template(TEMPLATE)


def _sha256(script: str) -> str:
    """What a Content-Security-Policy calls a script by."""
    return base64.b64encode(hashlib.sha256(str(script).encode("utf-8")).digest()).decode("ascii")


def _contents(data: ReportData) -> dict:
    sections = Sections(data)
    contents = {
        "title": clean(data.title),
        "facts": [(clean(name), clean(value)) for name, value in data.facts.items()],
        "rankings": list(data.scores),
        "main": data.main_name,
        "queries": len(data.query_labels),
        "photos": len(data.gallery_labels),
        "without_positive": data.main.without_positive,
        "ties_averaged": any(scores.ties == "average" for scores in data.scores.values()),
        "table": sections.table(),
        "classes": sections.bars(),
        "curves": sections.curves(),
        "grids": sections.grids(),
        "confusion": sections.confusion(),
        "map": sections.map(),
        "disagreement": sections.disagreement(),
        "colours": {"first": SERIES[0], "second": SERIES[1], "right": RIGHT, "wrong": WRONG},
    }
    # last: by now every section has asked for its pictures
    return {**contents, "pictures": sections.thumbnails.rules if sections.thumbnails else {}, "side": sections.side}
