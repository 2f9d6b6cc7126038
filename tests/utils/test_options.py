"""Options stated once, as fields of a frozen dataclass."""

from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from utils.options import as_text, operand, option, parse
from utils.parser import Parser, path_argument, positive_int


@dataclass(frozen=True)
class Schedule:
    title: ClassVar[str] = "schedule"
    epochs: int = option(20, type=positive_int, help="number of epochs")
    freeze_all: bool = option(False, "-f", help="train the heads only", dashed=True)


@dataclass(frozen=True)
class Places:
    title: ClassVar[str] = "places"
    root: Path = option(Path("dataset"), type=path_argument, help="folder of the dataset")
    also: list[Path] | None = option(None, type=path_argument, nargs="+", help="other folders")


def parsed(*words, **changes):
    return parse(Parser("Try."), [Schedule, Places], list(words), **changes)


def test_each_dataclass_gets_its_fields_under_every_spelling():
    assert parsed() == (Schedule(20, False), Places(Path("dataset"), None))
    for flag in ("--freeze_all", "--freeze-all", "-f"):
        assert parsed(flag, "--epochs", "3", "--also", "a", "b") == (Schedule(3, True), Places(also=[Path("a"), Path("b")]))


def test_a_default_can_be_replaced_for_one_script():
    assert parsed(epochs={"default": 5})[0].epochs == 5
    assert parsed("--epochs", "7", epochs={"default": 5})[0].epochs == 7


def test_filled_options_cannot_be_changed():
    schedule, _ = parsed()
    with pytest.raises(FrozenInstanceError):
        schedule.epochs = 3


def test_a_mistake_is_one_line(capsys):
    with pytest.raises(SystemExit) as end:
        parsed("--epochs", "none")
    assert end.value.code == 2 and capsys.readouterr().err.count("\n") == 1


def test_options_as_text_are_one_flat_dictionary():
    assert as_text(*parsed("--also", "a", "b")) == {"epochs": 20, "freeze_all": False, "root": "dataset", "also": ["a", "b"]}


def test_an_operand_is_a_positional_argument(capsys):
    @dataclass(frozen=True)
    class Dataset:
        title: ClassVar[str] = "data"
        dataset: str = operand(choices=("sketchy", "tuberlin"), help="dataset to check")
        root: str = option("here", help="folder")

    assert parse(Parser("Try."), [Dataset], ["tuberlin", "--root", "there"]) == (Dataset("tuberlin", "there"),)
    with pytest.raises(SystemExit):
        parse(Parser("Try."), [Dataset], ["nowhere"])
    assert "invalid choice: 'nowhere'" in capsys.readouterr().err


def test_options_that_change_no_result_are_left_out_on_request():
    @dataclass(frozen=True)
    class Running:
        title: ClassVar[str] = "running"
        amp: str = option("auto", help="precision")
        device: str = option("auto", changes_result=False, help="device")

    assert as_text(Running(), only_changing_result=True) == {"amp": "auto"}
    assert as_text(Running()) == {"amp": "auto", "device": "auto"}
