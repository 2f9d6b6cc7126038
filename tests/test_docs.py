"""The documents name what exists, and their code runs."""

import csv
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.network import write_checkpoint
from tests.helpers.scripts import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks/README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE_FILE = re.compile(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|sbatch|csv|json|npz))`")
MADE_BY_RUNS = {
    "results.json",
    "results.npz",
    "options.json",
    "config.json",
    "not_finite.json",
    "prepared.json",
    "cid_mask.npz",
    "embedding.npz",
}


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_within_the_repository_leads_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            name, _, anchor = link.partition("#")
            target = (page.parent / name).resolve() if name else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page):
    for name in CODE_FILE.findall(page.read_text(encoding="utf-8")):
        assert name in MADE_BY_RUNS or (ROOT / name).exists() or (page.parent / name).exists(), name


def test_the_first_page_stays_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150


def test_every_figure_has_a_definition_and_a_source():
    rows = [row for path in (ROOT / "results").glob("*.csv") for row in csv.DictReader(path.open(newline="", encoding="utf-8"))]
    assert rows
    for row in rows:
        assert row["figure"] and float(row["value"]) >= 0 and row["definition"] and row["data"] and row["command"], row


def test_the_notebook_embeds_two_images(tmp_path, monkeypatch, capsys):
    run, images = tmp_path / "demo/trained/run", tmp_path / "demo/dataset/Sketchy/256x256"
    run.mkdir(parents=True)
    write_checkpoint(run / "model_best.pth.tar")
    for kind in ("sketch", "photo"):
        (images / kind / "any/umbrella").mkdir(parents=True)
        Image.new("RGB", (40, 30), "teal").save(images / kind / "any/umbrella/1.png")
    (tmp_path / "hubconf.py").symlink_to(ROOT / "hubconf.py")
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs/embed_two_images.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert names["embedded_sketch"].shape == names["embedded_photo"].shape == (1, 16)
    assert "cosine similarity" in capsys.readouterr().out
