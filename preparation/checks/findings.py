"""What a check has found, in three degrees, as it is shown and as it is kept."""

from dataclasses import dataclass, field

from utils.text import printable

FACT, CAUTION, FAULT = "note", "caution", "fault"
SHOWN = 3  # examples on the screen; the file has all


@dataclass(frozen=True)
class Finding:
    """One thing found: a line that says what it is and what to do, and all the files or classes it is about.

    `message` and `items` hold names as they are; what is shown and what is kept have them printable.
    """

    degree: str
    message: str
    items: list[str] = field(default_factory=list)

    def line(self, shown: int = SHOWN) -> str:
        """As on the screen, with the first `shown` items."""
        if not self.items or not shown:
            return printable(f"{self.degree}: {self.message}")
        more = len(self.items) - shown
        ending = f" and {more:,} more" if more > 0 else ""
        return printable(f"{self.degree}: {self.message}: {', '.join(self.items[:shown])}{ending}")

    def whole(self) -> str:
        """As in the file: an item a line."""
        return "\n    ".join(map(printable, [f"{self.degree}: {self.message}" + ":" * bool(self.items), *self.items]))


class Findings:
    """All that a check has found, in the order in which it was found."""

    def __init__(self):
        self.found: list[tuple[Finding, int]] = []

    def fact(self, message: str, items: list[str] | None = None, shown: int = SHOWN) -> None:
        """Something to know."""
        self.found.append((Finding(FACT, message, items or []), shown))

    def caution(self, message: str, items: list[str] | None = None, shown: int = SHOWN) -> None:
        """Something that lets training start, and may make its figures mean something else."""
        self.found.append((Finding(CAUTION, message, items or []), shown))

    def fault(self, message: str, items: list[str] | None = None, shown: int = SHOWN) -> None:
        """Something to mend before training."""
        self.found.append((Finding(FAULT, message, items or []), shown))

    def count(self, degree: str) -> int:
        """How many there are of a degree."""
        return sum(finding.degree == degree for finding, _ in self.found)

    def lines(self) -> list[str]:
        """For the screen, the gravest last, where it is read first."""
        return [finding.line(shown) for finding, shown in self._sorted()]

    def whole(self) -> list[str]:
        """For the file."""
        return [finding.whole() for finding, _ in self._sorted()]

    def _sorted(self) -> list[tuple[Finding, int]]:
        return sorted(self.found, key=lambda pair: (FACT, CAUTION, FAULT).index(pair[0].degree))
