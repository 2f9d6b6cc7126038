"""Options of a script as frozen dataclasses: each field states its default, type and help once, and the parser follows.

@dataclass(frozen=True)
class Schedule:
    title: ClassVar[str] = "schedule"
    epochs: int = option(20, type=positive_int, help="number of epochs")
    freeze: bool = option(False, "-f", help="train the heads only")

parser = Parser("Train.")
(schedule,) = parse(parser, [Schedule], epochs={"default": 10})
"""

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from typing import Any, TypeVar

from utils.parser import Parser

Bundle = TypeVar("Bundle")


def option(default: Any, *short: str, help: str, dashed: bool = False, changes_result: bool = True, **rules: Any) -> Any:
    """A dataclass field that is an option of the same name; `short` are its other names, `rules` go to argparse.

    A field whose default is False is a flag. `dashed` makes `--a-b` the spelling that help shows; both are always accepted.
    With `changes_result=False` a resumed run may have another value without a note.
    """
    if default is False:
        rules["action"] = "store_true"
    return field(
        default=default,
        metadata={"short": short, "help": help, "dashed": dashed, "changes_result": changes_result, "rules": rules},
    )


def operand(*, help: str, **rules: Any) -> Any:
    """A dataclass field that is a positional argument; `rules` go to argparse. Help shows it outside the group."""
    return field(metadata={"operand": True, "help": help, "rules": rules})


def add_options(parser: Parser, kind: Any, **changes: Mapping[str, Any]) -> None:
    """Add the fields of a dataclass as one group, titled `kind.title`; `changes` replace argparse's rules of single fields.

    Each option is accepted with _ and with -.
    """
    group = parser.add_argument_group(kind.title)
    for each in fields(kind):
        known = each.metadata
        if "operand" in known:
            parser.add_argument(each.name, help=known["help"], **known["rules"])
            continue
        spellings = ["--" + each.name, "--" + each.name.replace("_", "-")]
        rules = {"default": each.default, "help": known["help"], **known["rules"], **changes.get(each.name, {})}
        names = [*(reversed(spellings) if known["dashed"] else spellings), *known["short"]]
        group.add_argument(*dict.fromkeys(names), dest=each.name, **rules)


def parse(
    parser: Parser, kinds: Sequence[type], arguments: Sequence[str] | None = None, **changes: Mapping[str, Any]
) -> tuple[Any, ...]:
    """One instance of each dataclass in `kinds`, filled from the command line; a mistake exits with code 2 after one line."""
    for kind in kinds:
        add_options(parser, kind, **{name: rules for name, rules in changes.items() if name in _names(kind)})
    found = parser.parse_intermixed_args(arguments)  # options may stand between operands
    return tuple(kind(**{name: getattr(found, name) for name in _names(kind)}) for kind in kinds)


def parse_bundle(
    parser: Parser, bundle: type[Bundle], arguments: Sequence[str] | None = None, **changes: Mapping[str, Any]
) -> Bundle:
    """An instance of a dataclass whose fields are such dataclasses, filled as `parse` does."""
    kinds: list[Any] = [each.type for each in fields(bundle)]  # type: ignore[arg-type]
    return bundle(*parse(parser, kinds, arguments, **changes))


def as_text(*filled: Any, only_changing_result: bool = False) -> dict[str, Any]:
    """The options of several instances in one flat dictionary that JSON and checkpoints can hold: paths as text."""
    every = [(instance, each) for instance in filled for each in fields(instance)]
    chosen = [pair for pair in every if not only_changing_result or pair[1].metadata.get("changes_result", True)]
    values = {each.name: getattr(instance, each.name) for instance, each in chosen}
    plain = (str, int, float, type(None))
    return {name: value if isinstance(value, plain) else _text(value) for name, value in values.items()}


def _text(value: Any) -> Any:
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else str(value)


def _names(kind: type) -> list[str]:
    return [each.name for each in fields(kind)]
