"""The file of a checkpoint, looked at before it is loaded: it must not take more memory than it has bytes.

torch.load with weights_only runs nothing, but it unpacks what is packed a thousandfold, and calls `bytearray` with
whatever size a pickle names. So a checkpoint may hold plain members alone, and name only tensors and dictionaries.

Source: APPNOTE.TXT of the ZIP format, sections 4.3.14 to 4.3.16, which say how its list of members ends.
"""

import os
import pickletools
import zipfile
import zlib
from typing import IO

from thinned._errors import DataError

END, END64 = b"PK\x05\x06", b"PK\x06\x06"
END_SIZE, END64_SIZE, LOCATOR64_SIZE = 22, 56, 20  # bytes
LISTED = 2**24  # bytes of the list of members
PICKLE = 2**24  # bytes of the part that says which tensors there are
OPCODES = 2**20  # of this part
PROTOCOL = 2
KINDS = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
KNOWN = frozenset(
    {"collections OrderedDict", "torch._utils _rebuild_tensor_v2", *(f"torch {kind}Storage" for kind in KINDS)}
)


class _Wrong(Exception):
    """What a file has that a checkpoint has not."""


def check(stream: IO[bytes], path: str | os.PathLike[str], *, sums: bool = False) -> None:
    """Refuse a file that is no checkpoint, or would take more memory than it has bytes.

    Args:
        stream: the file, open for reading; no more than 32 MiB of it are held in memory.
        path: where it is, for a message.
        sums: whether to read all of it and compare checksums, which torch.load does not.

    Raises:
        DataError: it is damaged or something else, has packed members, or names what no checkpoint does.

    Examples:
        >>> import io
        >>> check(io.BytesIO(b"abc"), "a file")
        Traceback (most recent call last):
        ...
        thinned._errors.DataError: a file must be a checkpoint of `thinned train`, but it is damaged or something else.
    """
    try:
        _check_names(_pickle(stream, sums))
    except _Wrong as error:
        raise DataError(
            f"{path} must hold tensors, numbers and texts as torch.save writes them, but {error}."
        ) from None
    except (ValueError, OSError, EOFError, RuntimeError, IndexError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path} must be a checkpoint of `thinned train`, but it is damaged or something else."
        ) from error


def _pickle(stream: IO[bytes], sums: bool) -> bytes:
    """Return the part that says which tensors there are, once no member can take more than its bytes in the file."""
    size = stream.seek(0, os.SEEK_END)
    _check_end(stream, size)
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise _Wrong("it has packed members")
        if any(member.file_size != member.compress_size for member in members):
            raise ValueError("a member has two sizes")
        if sum(member.file_size for member in members) > size:
            raise _Wrong(f"its members claim more than the {size} bytes that it has")
        found = [member for member in members if member.filename.endswith("/data.pkl")]
        if len(found) != 1:
            raise ValueError("it says nothing of tensors")
        if found[0].file_size > PICKLE:
            raise _Wrong(f"it takes more than {PICKLE} bytes to say which there are")
        if sums and archive.testzip() is not None:
            raise ValueError("a checksum is wrong")
        return archive.read(found[0])


def _check_end(stream: IO[bytes], size: int) -> None:
    """Refuse an archive with so many members that listing them alone takes much memory."""
    stream.seek(max(0, size - END_SIZE - LOCATOR64_SIZE - END64_SIZE))
    tail = stream.read()
    end = tail[-END_SIZE:]
    if len(end) < END_SIZE or not end.startswith(END):
        raise ValueError("it has no list of members")
    listed = [int.from_bytes(end[12:16], "little")]
    end64 = tail[: -END_SIZE - LOCATOR64_SIZE]
    if end64.startswith(END64):  # beyond 4 GiB
        listed = [int.from_bytes(end64[40:48], "little"), *(size for size in listed if size < 2**32 - 1)]
    if max(listed) > LISTED:
        raise _Wrong(f"it takes more than {LISTED} bytes to list its members")


def _check_names(pickle: bytes) -> None:
    """Refuse whatever is neither a tensor nor a plain object, without making any of it."""
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
        if count == OPCODES:
            raise _Wrong("it has too many parts")
        if opcode.name == "GLOBAL" and argument not in KNOWN:
            raise _Wrong(f"it has {str(argument).replace(' ', '.')[:80]!r}")
        if opcode.name == "PROTO" and argument != PROTOCOL:
            raise ValueError("it is in another protocol")
