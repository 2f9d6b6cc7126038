"""Scripts read their options before they import heavy libraries: --help and a mistake are answered at once."""

import json
import subprocess
import sys

from tests.helpers.scripts import ROOT

HEAVY = ["PIL", "faiss", "jinja2", "matplotlib", "nltk", "onnx", "openvino", "sklearn", "starlette", "timm", "torch"]
BEYOND_ONE_MACHINE = ["pymilvus", "milvus_lite", "webdataset", "braceexpand", "grpc", "pandas"]
WITHOUT_PYTORCH = [
    "evaluation.compare_runs",
    "photo_search.planning",
    "photo_search.searching",
    "photo_search.stores",
    "preparation.prepare",
]
SCRIPTS = [[path.name] for path in sorted(ROOT.glob("*.py")) if path.name != "hubconf.py"]
COMMANDS = [*SCRIPTS, *(["search.py", command] for command in ("index", "query", "serve"))]
RUN = """
import contextlib, io, json, runpy, sys
found, (lines, heavy) = [], json.loads(sys.argv[1])
for words in lines:
    sys.argv = words
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            found.append((words, end.code, [name for name in heavy if name in sys.modules]))
print(json.dumps(found))
"""


def test_options_are_read_without_heavy_libraries():
    expected = [[[*command, word], code, []] for word, code in (("--help", 0), ("--no_such_option", 2)) for command in COMMANDS]
    lines = json.dumps([[words for words, _, _ in expected], [*HEAVY, *BEYOND_ONE_MACHINE]])
    done = subprocess.run([sys.executable, "-c", RUN, lines], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout) == expected


def test_work_without_a_network_needs_no_pytorch_and_no_database():
    heavy = ["torch", *BEYOND_ONE_MACHINE]
    code = f"import sys, {', '.join(WITHOUT_PYTORCH)}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
