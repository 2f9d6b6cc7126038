import json
import shutil

import numpy as np
import pytest

from synthetic.demo_summary import chance, summary
from utils.errors import InputError


def test_chance_is_the_expected_precision_of_a_shuffled_gallery():
    queries, gallery = np.array([0, 0, 0, 1]), np.array([0] * 30 + [1] * 10 + [2] * 60)
    generator = np.random.default_rng(0)
    drawn = [np.mean(generator.permutation(gallery)[:50] == label) for label in (0, 1) for _ in range(2000)]
    assert chance(queries, gallery) == pytest.approx(np.mean(drawn), abs=0.005)


def test_the_three_figures_and_the_pictures_are_named(shared_dataset, tmp_path):
    shutil.copytree(shared_dataset, tmp_path / "dataset")
    for name, value in (("trained", 0.4321), ("untrained", 0.1234)):
        (tmp_path / f"{name}.json").write_text(json.dumps({"real": {"map_all_released": value}}))
    text = summary(tmp_path)
    for said in ("0.432", "0.123", "chance is 0.500) ", "1.000", "trained.png", "dataset.png", "star, tea pot"):
        assert said in text


def test_without_results_it_says_what_to_run(shared_dataset, tmp_path):
    shutil.copytree(shared_dataset, tmp_path / "dataset")
    with pytest.raises(InputError, match="make demo"):
        summary(tmp_path)
