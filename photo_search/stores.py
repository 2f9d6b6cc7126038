"""Which home an index has: the folder itself, or the Milvus collection that is named by --store or recorded in the folder."""

import contextlib
import json
import os
from pathlib import Path

from photo_search.config import StoreOptions
from photo_search.folder_store import FILE, FolderStore
from photo_search.milvus_address import MilvusAddress, milvus_address
from photo_search.store import Store
from utils.errors import InputError
from utils.files import atomic_write, read_json

RECORD, LARGEST_RECORD = "store.json", 1 << 16
TOKEN, LARGEST_TOKEN = "MILVUS_TOKEN", 1 << 16


def open_store(folder: Path, options: StoreOptions) -> Store:
    """The store of an index. Raises InputError if there is none, or it cannot be reached."""
    address = _address(folder, options)
    if address is None:
        return FolderStore(folder)
    from photo_search.milvus_store import MilvusStore

    store = MilvusStore(folder, address, _token(options))
    with contextlib.suppress(InputError, OSError):  # where nothing can be written, the store must be named each time
        _record(folder, address)
    return store


def make_store(folder: Path, options: StoreOptions) -> Store:
    """As `open_store`; a store is made if there is none."""
    address = _address(folder, options)
    if address is None:
        return FolderStore(folder, make=True)
    from photo_search.milvus_store import MilvusStore

    try:
        folder.mkdir(parents=True, exist_ok=True)
        _record(folder, address)
    except OSError as error:
        raise InputError(f"{folder}: nothing can be written there ({error.strerror}); choose another --output") from error
    return MilvusStore(folder, address, _token(options), make=True)


def has_store(folder: Path, options: StoreOptions) -> bool:
    """Whether `open_store` finds one. Raises InputError if a server cannot be reached."""
    address = _address(folder, options)
    if address is None:
        return (folder / FILE).is_file()
    from photo_search.milvus_store import has_collections

    return has_collections(address, _token(options))


def _address(folder: Path, options: StoreOptions) -> MilvusAddress | None:
    """None: the folder is the store."""
    file = folder / RECORD
    recorded = None
    if file.is_file():
        try:
            recorded = milvus_address(str(read_json(file, LARGEST_RECORD)["store"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{file}: damaged ({error}); delete it, and name the store by --store") from error
    named = options.store
    if named is not None and recorded not in (None, named):
        raise InputError(f"--store {named}: the vectors of {folder} are in {recorded}; leave out --store, or name another folder")
    if named is not None and (folder / FILE).is_file():
        raise InputError(f"--store {named}: the vectors of {folder} are in the folder itself; name another folder")
    return named or recorded


def _record(folder: Path, address: MilvusAddress) -> None:
    if not (folder / RECORD).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(folder / RECORD) as temporary:
            temporary.write_text(json.dumps({"store": str(address)}) + "\n", encoding="utf-8")


def _token(options: StoreOptions) -> str:
    if options.token_file is None:
        return os.environ.get(TOKEN, "")
    try:
        with options.token_file.open(encoding="utf-8") as file:
            return file.read(LARGEST_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--token_file {options.token_file}: cannot be read ({error}); name a text file with the token"
        ) from error
