"""`--skip_bad_images`: lists without the images that cannot be read, and the record of which those were."""

from pathlib import Path

from datasets.file_lists import FileList
from datasets.readable import readable
from utils.distributed import Distributed
from utils.files import atomic_write

SKIPPED = "skipped_images.txt"


class BadImages:
    """Called with a list, gives it without the unreadable images; each list is looked through once."""

    def __init__(self, num_workers: int, distributed: Distributed):
        self.num_workers, self.distributed = num_workers, distributed
        self.messages: dict[Path, list[str]] = {}
        self._kept: dict[Path, FileList] = {}

    @property
    def count(self) -> int:
        """How many images were left out."""
        return sum(map(len, self.messages.values()))

    def __call__(self, files: FileList) -> FileList:
        if files.source not in self._kept:
            self._kept[files.source], messages = readable(files, self.num_workers, self.distributed)
            self.messages[files.source] = messages
            print(f"{files.source}: {len(messages)} of {len(files)} images cannot be read and are skipped")
        return self._kept[files.source]

    def write(self, path: Path) -> None:
        """List them in this file, a line each; no file if there are none."""
        if self.count:
            with atomic_write(path) as temporary:
                lines = [line for messages in self.messages.values() for line in messages]
                temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="replace")
            print(f"skipped images: {self.count}, listed in {path}")
