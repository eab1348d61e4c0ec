"""Images read straight out of ZIP archives, such as those PadChest is downloaded as; nothing is unpacked to disk."""

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from densecf.errors import DataError

LARGEST = 1 << 28  # bytes of one image; the largest that PIL takes (89 million pixels) has 179 million
_LOCAL_HEADER = struct.Struct(
    "<4s5H3L2H"
)  # APPNOTE.TXT 4.3.7, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT


@dataclass(frozen=True)
class Archived:
    """One file in a ZIP archive.

    Attributes:
        archive: the archive.
        member: the name in it.
        offset: where its local header begins.
        packed, size: bytes before and after unpacking.
        crc: CRC-32 of the content.
        deflated: otherwise it is stored as it is.
    """

    archive: Path
    member: str
    offset: int
    packed: int
    size: int
    crc: int
    deflated: bool

    @property
    def path(self) -> Path:
        """What to call it."""
        return self.archive / self.member

    def read(self) -> bytes:
        """The content.

        Raises:
            DataError: the archive is gone, damaged or not the one that was listed.
        """
        try:
            with open(self.archive, "rb") as file:
                file.seek(self.offset)
                header = file.read(_LOCAL_HEADER.size)
                if header[:4] != b"PK\x03\x04" or len(header) < _LOCAL_HEADER.size:
                    raise DataError(f"{self.path}: the archive is damaged or has changed.")
                name_length, extra_length = _LOCAL_HEADER.unpack(header)[-2:]
                file.seek(name_length + extra_length, 1)
                packed = file.read(self.packed)
        except OSError as error:
            raise DataError(f"{self.archive}: the archive cannot be read ({error.strerror}).") from error
        try:
            # One byte more than stated is asked for, never more: what unpacks to gigabytes is stopped here.
            content = zlib.decompressobj(-15).decompress(packed, self.size + 1) if self.deflated else packed
        except zlib.error as error:
            raise DataError(f"{self.path}: damaged in its archive ({error}).") from error
        if len(content) != self.size or zlib.crc32(content) != self.crc:
            raise DataError(f"{self.path}: damaged in its archive (size or checksum do not fit).")
        return content


def list_archive(path: Path) -> dict[str, Archived]:
    """The files in a ZIP archive by their names.

    Raises:
        DataError: not a ZIP archive or damaged, or one that must not be trusted: names that lead out of it,
            names given twice, encrypted files, or files of more than 256 MiB.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if not entry.filename.endswith("/")]
    except OSError as error:
        raise DataError(f"{path}: the archive cannot be read ({error.strerror}).") from error
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(f"{path}: not a ZIP archive, or damaged ({error}).") from error
    members: dict[str, Archived] = {}
    for entry in entries:
        name = entry.filename
        reason = _objection(entry) or ("is there twice" if name in members else "")
        if reason:
            raise DataError(f"{path}: {name[:100]!r} {reason}; this archive is not used.")
        members[name] = Archived(
            path,
            name,
            entry.header_offset,
            entry.compress_size,
            entry.file_size,
            entry.CRC,
            entry.compress_type == zipfile.ZIP_DEFLATED,
        )
    return members


def _objection(entry: zipfile.ZipInfo) -> str:
    name = entry.filename
    if not name:
        return "is no name"
    if name.startswith("/") or "\\" in entry.orig_filename or ":" in name or ".." in PurePosixPath(name).parts:
        return "leads out of the archive"
    if max(entry.file_size, entry.compress_size) > LARGEST:
        return f"holds {entry.file_size:,} bytes, more than an image can have"
    if entry.flag_bits & 1:
        return "is encrypted"
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed in a way other than deflate"
    return ""
