"""Photos to index."""

from pathlib import Path

from tests.helpers.trees import picture


def write_photos(folder: Path) -> Path:
    """Twelve photos in two folders, `old` and `new`."""
    for number in range(12):
        path = folder / ("old" if number % 2 else "new") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    return folder
