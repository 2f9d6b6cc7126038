"""evaluate_features.py on arrays of any system: the same metrics as ours, and one clear line on what does not fit."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from retrieval.hashing import itq_codes
from retrieval.metrics import METRICS
from retrieval.scores import evaluate_ranking
from tests.helpers.scripts import ROOT

SCRIPT = "evaluate_features.py"


def arrays(n, d=12, classes=4, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    centres = np.random.default_rng(9).normal(size=(classes, d))
    return {"features": (centres[labels] + generator.normal(size=(n, d))).astype(np.float32), "labels": labels}


@pytest.fixture
def pair(tmp_path):
    """write(query changes, gallery changes) → the options that name the two files."""

    def write(query=None, gallery=None):
        paths = tmp_path / "Q.npz", tmp_path / "G.npz"
        np.savez(paths[0], **{**arrays(30), **(query or {})})
        np.savez(paths[1], **{**arrays(150, seed=1), **(gallery or {})})
        return ["--query", paths[0], "--gallery", paths[1], "--device", "cpu"]

    return write


def test_table_and_files(pair, run_script, tmp_path):
    out = tmp_path / "out.json"
    code, printed, _ = run_script(SCRIPT, *pair(gallery={"names": np.array(["ape", "bee", "cat", "<b>"])}), "--results", out)
    assert code == 0
    results = json.loads(out.read_text())
    query, gallery = arrays(30), arrays(150, seed=1)
    features = [torch.nn.functional.normalize(torch.from_numpy(side["features"]).double(), dim=1) for side in (query, gallery)]
    labels = [torch.from_numpy(side["labels"]) for side in (query, gallery)]
    real = evaluate_ranking("euclidean", features[0], labels[0], features[1], labels[1])
    codes = itq_codes(*features, 12)
    hashed = evaluate_ranking("hamming", codes[0], labels[0], codes[1], labels[1])
    assert results["real"] == pytest.approx(real.summary()) and results["hash"] == pytest.approx(hashed.summary())
    assert results["per_class"].keys() == {"ape", "bee", "cat", "<b>"}
    assert (results["queries"], results["gallery"]) == (30, 150)
    assert all(metric.text in printed for metric in METRICS.values())
    assert {"out.json", "out.npz", "out_report"} <= set(os.listdir(tmp_path))


def test_writes_nothing_without_results(pair, run_script, tmp_path):
    code, printed, _ = run_script(SCRIPT, *pair(), "--no-hash")
    assert code == 0 and "real" in printed and "hash" not in printed
    assert set(os.listdir(tmp_path)) == {"Q.npz", "G.npz"}


def test_a_cpu_needs_no_pytorch(pair):
    found = "print([name for name in ('torch', 'matplotlib', 'sklearn', 'jinja2', 'PIL') if name in sys.modules])"
    run = f"import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__'); {found}"
    done = subprocess.run([sys.executable, "-c", run, SCRIPT, *pair()], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "mAP@all" in done.stdout and done.stdout.endswith("[]\n")


def test_norms_count_only_if_kept(pair, run_script, tmp_path):
    scaled = {"features": arrays(150, seed=1)["features"] * np.random.default_rng(3).uniform(0.1, 9, (150, 1))}
    out = tmp_path / "out.json"

    def real(*options):
        assert run_script(SCRIPT, *options, "--results", out, "--no_report")[0] == 0
        return json.loads(out.read_text())["real"]["map_all"]

    plain = real(*pair())
    assert real(*pair(gallery=scaled)) == pytest.approx(plain)
    assert real(*pair(gallery=scaled), "--keep_norms") != pytest.approx(plain)


@pytest.mark.parametrize(
    "as_stored", [lambda bits: bits, lambda bits: bits.astype(np.uint8), lambda bits: bits.astype(int) * 2 - 1]
)
def test_codes_are_ranked_by_hamming_distance(as_stored, pair, run_script, tmp_path):
    out = tmp_path / "out.json"
    query, gallery = ({"features": as_stored(side["features"] > 0)} for side in (arrays(30), arrays(150, seed=1)))
    code, printed, _ = run_script(SCRIPT, *pair(query, gallery), "--results", out, "--no_report", "--ties", "average")
    results = json.loads(out.read_text())
    assert code == 0 and "by Hamming distance" in printed and "real" not in results
    labels = [torch.from_numpy(side["labels"]) for side in (arrays(30), arrays(150, seed=1))]
    codes = [torch.from_numpy(side["features"] > 0) for side in (query, gallery)]
    expected = evaluate_ranking("hamming", codes[0], labels[0], codes[1], labels[1], ties="average").summary()
    assert results["hash"] == pytest.approx(expected)


def with_value(array, value):
    array = array.copy()
    array.flat[40] = value
    return array


BAD = {
    "dims": ({"features": arrays(30, d=9)["features"]}, {}, "rows of 9 and 12 numbers"),
    "nan": ({}, {"features": with_value(arrays(150, seed=1)["features"], np.nan)}, "G.npz: row 3 of `features` holds NaN"),
    "inf": ({"features": with_value(arrays(30)["features"], np.inf)}, {}, "Q.npz: row 3 of `features` holds NaN or infinity"),
    "empty": ({}, {"features": np.empty((0, 12)), "labels": np.empty(0, int)}, "G.npz: `features` has shape .0, 12."),
    "negative": ({"labels": arrays(30)["labels"] - 1}, {}, "label -1 of row .* is outside 0 to 2147483647"),
    "unnamed": ({}, {"names": np.array(["ape", "bee"])}, "is outside 0 to 1"),
    "float labels": ({"labels": np.zeros(30)}, {}, "Q.npz: `labels` is float64"),
    "few labels": ({"labels": np.zeros(7, int)}, {}, "`labels` is int64 of shape .7,. for 30 rows"),
    "flat": ({"features": np.zeros(30)}, {}, "`features` has shape .30,."),
    "objects": ({"features": np.array([[None]] * 30)}, {}, "holds object"),
    "integers": ({"features": np.full((30, 12), 2)}, {}, "`features` is int64"),
    "codes": ({"features": arrays(30)["features"] > 0}, {}, "one holds codes"),
    "strangers": ({"labels": arrays(30)["labels"] + 50}, {}, "no query has a photo of its class"),
    "same path": ({"paths": np.array(["a"] * 30)}, {}, "`paths` holds the same text twice"),
    "same name": ({}, {"names": np.array(["ape", "bee", "cat", "ape"])}, "`names` holds the same text twice"),
    "paths": ({"paths": np.array(["a"])}, {}, "`paths` is <U1 of shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_features_are_named(case, pair, run_script, tmp_path):
    query, gallery, message = BAD[case]
    code, _, err = run_script(SCRIPT, *pair(query, gallery), "--results", tmp_path / "out.json")
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert re.search(message, line), line
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_very_large_and_small_numbers_count_alike(pair, run_script, tmp_path, scale):
    out = tmp_path / "out.json"
    scaled = {"features": arrays(150, seed=1)["features"].astype(np.float64) * scale}
    found = []
    for changes in ({}, scaled):
        assert run_script(SCRIPT, *pair(gallery=changes), "--results", out, "--no_report")[0] == 0
        found.append(json.loads(out.read_text())["hash"])
    assert found[1] == pytest.approx(found[0])


def test_no_file_of_the_users_is_written_over(pair, run_script, tmp_path):
    options = pair()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "Q.npz exists and was not written by a test" in run_script(SCRIPT, *options, "--results", tmp_path / "Q.json")[2]
    (tmp_path / "G.json").write_text("{}")
    assert "would overwrite" in run_script(SCRIPT, *options, "--results", tmp_path / "G.json")[2]
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert (tmp_path / "G.json").read_text() == "{}"


def test_results_of_an_earlier_test_are_replaced(pair, run_script, tmp_path):
    for _ in range(2):
        assert run_script(SCRIPT, *pair(), "--results", tmp_path / "out.json", "--no_report")[0] == 0


def test_bad_options_are_named(pair, run_script):
    assert "leave it or --no-hash out" in run_script(SCRIPT, *pair(), "--no-hash", "--ties", "average")[2]
    assert "--bits 13: more than the 12 numbers" in run_script(SCRIPT, *pair(), "--bits", "13")[2]
    assert "ends in .json" in run_script(SCRIPT, *pair(), "--results", "out.txt")[2]
    assert "--gallery" in run_script(SCRIPT, "--query", "Q.npz")[2]
