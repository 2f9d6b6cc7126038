from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from datasets.catalog import SKETCHY, TUBERLIN
from evaluation.config import run_name, zero_shot_config
from training.config import Recipe, train_config
from utils.options import as_text

RECIPE = Recipe(dataset=SKETCHY, photos_per_sketch=2, epochs=20, validation_batches=300, seed=1)
DEFAULTS = {
    "savedir": "cse_resnet50/checkpoint",
    "arch": "cse_resnet50",
    "num_classes": None,
    "num_hashing": 64,
    "epochs": 20,
    "batch_size": 96,
    "lr": 1e-4,
    "weight_decay": 5e-4,
    "print_freq": 10,
    "evaluate": False,
    "resume": False,
    "freeze_features": False,
    "ems_loss": False,
    "kd_lambda": 1.0,
    "kdneg_lambda": 0.3,
    "sake_lambda": 1.0,
    "cls_lambda": 1.0,
    "contrastive_lambda": 0.1,
    "temperature": 0.07,
    "contrastive_dim": 128,
    "topk": 10,
    "memory_lambda": 1.0,
    "zero_version": "zeroshot1",
    "data_root": "dataset",
    "seed": 1,
}


def test_defaults_are_the_released_ones():
    options = train_config(RECIPE, []).as_text()
    assert {name: options[name] for name in DEFAULTS} == DEFAULTS
    tested = zero_shot_config(TUBERLIN, [])
    assert (tested.runtime.batch_size, tested.runtime.print_freq, tested.data.zero_version) == (50, 20, "zeroshot")
    assert (tested.folder.resume_dir, tested.tested.resume_file) == (Path("cse_resnet50/checkpoint"), "model_best.pth.tar")
    assert tested.runtime.amp == "off"


def test_a_config_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        train_config(RECIPE, []).optimisation.lr = 1.0


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("--weight-decay 0.1", "weight_decay", 0.1),
        ("--weight_decay 0.1", "weight_decay", 0.1),
        ("--wd 0.1", "weight_decay", 0.1),
        ("--num_hashing 128", "num_hashing", 128),
        ("--num-hashing 128", "num_hashing", 128),
        ("--print_freq 3", "print_freq", 3),
        ("-p 3", "print_freq", 3),
        ("--ems_loss", "ems_loss", True),
        ("--ems-loss", "ems_loss", True),
        ("-s elsewhere", "savedir", "elsewhere"),
        ("-e", "evaluate", True),
        ("-r", "resume", True),
        ("-f", "freeze_features", True),
        ("-a cse_resnet50", "arch", "cse_resnet50"),
    ],
)
def test_both_spellings_and_the_short_ones(words, name, value):
    assert train_config(RECIPE, words.split()).as_text()[name] == value


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--num_hashin 3", "unknown option --num_hashin; did you mean --num_hashing?"),
        ("--frobnicate", "unknown option --frobnicate"),
        ("--epochs -1", "--epochs: must be a whole number from 0 to 4294967295, not '-1'"),
        ("--batch_size 0", "must be a whole number from 1 to 4294967295"),
        ("--num_hashing 4294967295", "--num-hashing: must be a whole number from 1 to 65536, not '4294967295'"),
        ("--contrastive_dim 65537", "must be a whole number from 1 to 65536, not '65537'"),
        ("--topk 65537", "must be a whole number from 1 to 65536, not '65537'"),
        ("--lr zero", "must be a number above 0, up to 4294967295, not 'zero'"),
        ("--kd_lambda 1e400", "must be a number from 0 to 4294967295, not '1e400'"),
        ("--lr nan", "must be a number above 0"),
        ("--memory_grad maybe", "invalid choice"),
        ("--image_size 8", "pixels from 32 to 8192"),
        ("--seed 100000000000000000000000", "--seed: must be a whole number from 0 to 4294967295, not '1000"),
        ("--seed 4294967296", "must be a whole number from 0 to 4294967295"),
        ("--epochs 3 -r 3 --seed 1", "unexpected '3'; a flag takes no value"),
        ("--data_root my data", "unexpected 'data'; a flag takes no value, any other option one, in quotes if it holds blanks"),
        ("--lr " + "9" * 400, "must be a number"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(words, said, capsys):
    with pytest.raises(SystemExit) as end:
        train_config(RECIPE, words.split())
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert said in error
    assert error.count("\n") == 1


def test_an_empty_word_is_a_mistake_like_any_other(capsys):
    with pytest.raises(SystemExit) as end:
        train_config(RECIPE, [""])
    assert end.value.code == 2
    assert "unexpected ''" in capsys.readouterr().err


def test_the_test_scripts_take_every_lambda_of_the_train_scripts():
    words = "--kd_lambda 2 --kdneg_lambda 2 --sake_lambda 2 --cls_lambda 2 --contrastive_lambda 2 --memory_lambda 2 --topk 2"
    assert set(as_text(zero_shot_config(SKETCHY, words.split()).objective).values()) == {2, 128, 0.07}


def test_the_run_folder_has_the_released_name():
    config = train_config(RECIPE, [])
    name = "sketchy_kd(1.0)_kdneg(0.3)_sake(1.0)_dim(64)_contrastive(128-0.1)_T(0.07)_memory(10-1.0)"
    assert run_name("sketchy", config.model.num_hashing, config.objective) == name
    assert run_name("sketchy", 64, zero_shot_config(SKETCHY, []).objective) == name
