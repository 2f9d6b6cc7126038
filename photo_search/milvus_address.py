"""`--store milvus:URI[#NAME]`: a collection of a Milvus server, or of a Milvus Lite file."""

import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from utils.text import is_url

PREFIX, FILE_SUFFIX, DEFAULT_NAME = "milvus:", ".db", "photos"
ENDS = "_records", "_codes0", "_codes1"  # of the names of collections
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")  # Milvus allows 255 characters; ours begin with it and are longer


class MilvusAddress(NamedTuple):
    """uri: `http://…` or `https://…` of a server, or an absolute path. name: what the names of collections begin with."""

    uri: str
    name: str

    @property
    def is_file(self) -> bool:
        """Whether Milvus Lite keeps the collections in a file of this machine."""
        return not is_url(self.uri)

    def __str__(self) -> str:
        return f"{PREFIX}{self.uri}#{self.name}"


def milvus_address(text: str) -> MilvusAddress:
    """The address that a text such as `milvus:http://localhost:19530#holidays` names. Raises ValueError if it names none."""
    if not text.startswith(PREFIX):
        raise ValueError(f"must be {PREFIX}http://HOST:PORT, the address of a Milvus server, or {PREFIX}FILE{FILE_SUFFIX}")
    uri, _, name = text.removeprefix(PREFIX).partition("#")
    if not NAME.fullmatch(name or DEFAULT_NAME):
        raise ValueError(f"#{name}: a name has letters, digits and _, and begins with no digit")
    if name.endswith(ENDS):
        raise ValueError(
            f"#{name}: a collection of another index may have this name; choose one without {', '.join(ENDS)} at its end"
        )
    if not is_url(uri):
        if not uri.endswith(FILE_SUFFIX) or "\0" in uri:
            raise ValueError(
                f"{uri}: the name of a Milvus Lite file ends in {FILE_SUFFIX}; a server's address begins with http://"
            )
        return MilvusAddress(os.path.abspath(os.path.expanduser(uri)), name or DEFAULT_NAME)
    parts = urlsplit(uri)
    if parts.username is not None or parts.query:
        raise ValueError("write no password or token there, since other users see it: set MILVUS_TOKEN, or --token_file FILE")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{uri}: must be http://HOST:PORT or https://HOST:PORT")
    return MilvusAddress(uri, name or DEFAULT_NAME)
