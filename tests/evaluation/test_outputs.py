"""The printed table and the JSON file."""

import json
import os

import pytest
import torch

from evaluation.outputs import format_table, write_results
from retrieval.metrics import METRICS
from retrieval.scores import evaluate_ranking
from utils.errors import InputError


def summary(seed):
    generator = torch.Generator().manual_seed(seed)
    query, gallery = torch.randn(9, 4, generator=generator), torch.randn(30, 4, generator=generator)
    labels = torch.arange(30) % 3
    return evaluate_ranking("euclidean", query, labels[:9], gallery, labels).summary()


def test_table_has_every_metric_under_its_definition():
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
    results = {"real": summary(0), "classes": {"été": 0.5}}
    write_results(path, results)
    assert json.loads(path.read_text(encoding="utf-8")) == results
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
