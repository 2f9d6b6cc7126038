"""Headers of tar files that may be hostile."""

import tarfile
from typing import Any, ClassVar


class BoundedHeader(tarfile.TarInfo):
    """A tar header. Extended ones may not be large, because tarfile reads them into memory."""

    EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
    LARGEST: ClassVar[int] = 1 << 20  # bytes

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: Any, errors: str) -> "BoundedHeader":
        info = super().frombuf(buf, encoding, errors)
        if info.size < 0 or (info.type in cls.EXTENDED and info.size > cls.LARGEST):
            raise tarfile.ReadError(f"{info.name!r} claims {info.size >> 10:,} KiB")
        return info
