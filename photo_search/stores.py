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

    return MilvusStore(folder, address, _token(options))


def make_store(folder: Path, options: StoreOptions) -> Store:
    """As `open_store`; a store is made if there is none."""
    address = _address(folder, options)
    if address is None:
        return FolderStore(folder, make=True)
    from photo_search.milvus_store import MilvusStore

    try:
        folder.mkdir(parents=True, exist_ok=True)
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


def remember(store: Store) -> None:
    """Record in the index's folder where its vectors are. Where nothing can be written, the store must be named each time."""
    file = store.folder / RECORD
    if isinstance(store, FolderStore) or file.is_file():
        return
    with contextlib.suppress(InputError, OSError):
        store.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as temporary:
            temporary.write_text(json.dumps({"store": store.place}) + "\n", encoding="utf-8")


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
        raise InputError(f"--store {named}: {folder} itself holds the vectors; leave out --store, or name another folder")
    return named or recorded


def _token(options: StoreOptions) -> str:
    file = options.token_file
    if file is None:
        return os.environ.get(TOKEN, "")
    try:
        with file.open(encoding="utf-8") as opened:
            token = opened.read(LARGEST_TOKEN).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"--token_file {file}: cannot be read ({reason}); name a text file that holds the token") from error
    if not token:
        raise InputError(f"--token_file {file}: holds no token; write it there, or leave the option out")
    return token
