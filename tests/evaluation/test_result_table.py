"""What people read: the table, the JSON file, the picture."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.result_table import format_table, retrieval_grid, write_results
from retrieval.metrics import METRICS
from retrieval.scores import evaluate_ranking
from utils.errors import InputError


def summary(seed):
    generator = torch.Generator().manual_seed(seed)
    query, gallery = torch.randn(9, 4, generator=generator), torch.randn(30, 4, generator=generator)
    labels = torch.arange(30) % 3
    return evaluate_ranking("euclidean", query, labels[:9], gallery, labels).summary()


def test_table_has_every_figure_under_its_definition():
    results = {"real": summary(0), "hash": summary(1)}
    lines = format_table(results).splitlines()
    assert lines[0].split() == ["real", "hash"]
    assert len(lines) == 2 + len(METRICS) and max(map(len, lines)) <= 80
    found = {line.rsplit(None, 2)[0]: line.rsplit(None, 2)[1:] for line in lines[2:]}
    for name, key in (
        ("mAP@all released (interpolated, class mean)", "map_all_released"),
        ("P@100 released (÷ min(100, gallery), class mean)", "p100_released"),
        ("mAP@all (plain, query mean)", "map_all"),
        ("mAP@200 (÷ min(200, positives), query mean)", "map_200"),
        ("P@100 (÷ 100, query mean)", "p100"),
        ("P@200 (÷ 200, query mean)", "p200"),
    ):
        assert found[name] == [f"{results['real'][key]:.4f}", f"{results['hash'][key]:.4f}"]


def test_table_of_one_ranking():
    assert format_table({"hash": summary(0)}).splitlines()[0].split() == ["hash"]


def test_results_come_back_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "run" / "results.json"
    results = {"real": summary(0), "classes": {"hot air balloon": np.float64(0.5)}, "count": np.int64(3), "path": path}
    write_results(path, results)
    read = json.loads(path.read_text(encoding="utf-8"))
    assert read["real"] == results["real"]
    assert read["classes"] == {"hot air balloon": 0.5} and read["count"] == 3 and read["path"] == str(path)
    assert os.listdir(path.parent) == ["results.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_results(path, {"old": 1})
    with pytest.raises(TypeError):
        write_results(path, {"new": object()})
    assert json.loads(path.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_target_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.json").mkdir()
    for path in (tmp_path / "file" / "results.json", tmp_path / "folder.json"):
        with pytest.raises(InputError, match=r"\.json: cannot be written"):
            write_results(path, {})
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.json"]


@pytest.fixture
def images():
    """Five images of several colours and sizes."""
    sizes = ((64, 64), (40, 90), (8, 8), (9, 5), (50, 50))
    return [np.full((*size, 3), 255 - 50 * number, dtype=np.uint8) for number, size in enumerate(sizes)]


def colours(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).reshape(-1, 3)


def count(pixels, colour):
    return int((np.abs(pixels.astype(int) - colour) < 6).all(1).sum())


GREEN, RED = (0x1A, 0x8F, 0x3C), (0xC6, 0x28, 0x28)


def test_grid_is_a_picture_with_frames_and_marks(tmp_path, images):
    path = tmp_path / "out" / "grid.png"
    rows = [[images[1 + (row + column) % 4] for column in range(10)] for row in range(3)]
    correct = np.zeros((3, 10), dtype=bool)
    retrieval_grid(path, [images[0]] * 3, rows, correct, ["wine_bottle", "hot air balloon", "saw"], "first ten")
    assert os.listdir(path.parent) == ["grid.png"]
    all_wrong = colours(path)
    assert len(all_wrong) > 300_000 and count(all_wrong, GREEN) == 0 and count(all_wrong, RED) > 10_000
    correct[:2] = True
    retrieval_grid(path, images[:3], rows, correct)
    some_right = colours(path)
    # twice as many right as wrong; a tick covers slightly more or less of its badge than a cross
    assert count(some_right, GREEN) == pytest.approx(2 * count(some_right, RED), rel=0.1)


def test_tick_and_cross_differ_without_colour(tmp_path, images):
    """In grey, with both frame colours mapped to black, the two pictures still differ."""
    shapes = []
    for right in (True, False):
        retrieval_grid(tmp_path / "one.png", images[:1], [images[2:3]], [[right]])
        pixels = colours(tmp_path / "one.png").astype(int)
        shapes.append((pixels > 250).all(1))
    assert (shapes[0] != shapes[1]).sum() > 30


def test_rows_may_be_short(tmp_path, images):
    retrieval_grid(tmp_path / "grid.png", images[:2], [images[1:4], images[1:2]], np.ones((2, 3), dtype=bool))
    assert count(colours(tmp_path / "grid.png"), (255, 255, 255)) > 50_000


def test_bad_grids_are_named(tmp_path, images):
    with pytest.raises(InputError, match="one row of photos"):
        retrieval_grid(tmp_path / "grid.png", images[:2], [images], np.ones((2, 5), dtype=bool))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        retrieval_grid(tmp_path / "file" / "grid.png", images[:1], [images[:1]], [[True]])
    assert not (tmp_path / "grid.png").exists()
