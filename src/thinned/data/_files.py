"""Reading files that may lie: no more memory is taken than they hold, and no more than a limit.

Whether a file is packed with gzip is seen from its first bytes.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from thinned._errors import DataError

GZIP = b"\x1f\x8b"
LIMIT = 2**30  # bytes of one file, unpacked
LINE = 2**20  # bytes of one line
HEAD = 2**16  # bytes by which a format is recognised
CHUNK = 2**20
GROWTH = 200  # times its size that a packed file of text may unpack to; real ones stay below 50
SMALL = 2**20  # bytes that it may in any case


def exists(path: Path) -> None:
    """Refuse what is no file.

    Args:
        path: the file.

    Raises:
        DataError: there is none that can be read.

    Examples:
        >>> exists(Path(__file__))
    """
    if not os.path.isfile(path):  # unlike Path.is_file, never an error
        raise DataError(f"{path} must be a file, but there is none that can be read; check the path.")


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open a file for reading, packed with gzip or not.

    Args:
        path: the file.

    Yields:
        What it holds, as a stream of bytes.

    Raises:
        DataError: the file is missing, cannot be read, or is damaged; errors inside the block are translated too.

    Examples:
        >>> with unpacked(Path(__file__)) as stream:
        ...     stream.read(3)
        b'\"\"\"'
    """
    exists(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} must be readable to its end, but: {error}; get the file again.") from error


def take(stream: IO[bytes] | gzip.GzipFile, most: int) -> bytearray:
    """Read up to `most` bytes; the memory taken follows what is there, not what was asked for.

    Args:
        stream: where to read from.
        most: how many bytes to read at most.

    Returns:
        The bytes; fewer than `most` only at the end of the stream.

    Examples:
        >>> import io
        >>> take(io.BytesIO(b"abcd"), 3)
        bytearray(b'abc')
    """
    data = bytearray()
    while len(data) < most and (piece := stream.read(min(CHUNK, most - len(data)))):
        data += piece
    return data


def content(path: Path, limit: int = LIMIT) -> bytearray:
    """Read a file, packed with gzip or not.

    Args:
        path: the file.
        limit: how many bytes it may hold.

    Returns:
        What it holds, unpacked.

    Raises:
        DataError: the file is missing, damaged or too large.
    """
    with unpacked(path) as stream:
        limit = _allowed(path, stream, limit)
        data = take(stream, limit + 1)
    if len(data) > limit:
        raise too_large(path, limit)
    return data


def head(path: Path) -> bytes:
    """Read the first bytes of a file, packed with gzip or not.

    Args:
        path: the file.

    Returns:
        Up to 64 KiB of what it holds, unpacked.

    Raises:
        DataError: the file is missing or damaged.
    """
    with unpacked(path) as stream:
        return bytes(take(stream, HEAD))


def lines(path: Path) -> Iterator[bytes]:
    """Read a file of text line by line, packed with gzip or not.

    Args:
        path: the file.

    Yields:
        Each line with its end, a mark of the byte order taken off.

    Raises:
        DataError: the file is missing, damaged, too large, has a line that is too long, or is no text.
    """
    number = total = 0
    with unpacked(path) as stream:
        limit = _allowed(path, stream, LIMIT)
        while line := stream.readline(LINE + 1):
            number += 1
            total += len(line)
            if total > limit:
                raise too_large(path, limit)
            if len(line) > LINE:
                raise DataError(f"{path} must have lines of at most {LINE} bytes, but line {number} has more.")
            if b"\0" in line:
                raise DataError(f"{path} must be a file of text, but line {number} has a zero byte.")
            yield line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line


def _allowed(path: Path, stream: IO[bytes] | gzip.GzipFile, limit: int) -> int:
    """Return how many bytes a stream may give: of a packed file no more than packing is good for."""
    packed = isinstance(stream, gzip.GzipFile)
    return min(limit, max(SMALL, GROWTH * os.path.getsize(path))) if packed else limit


def too_large(path: Path, limit: int) -> DataError:
    """Return the error for a file that is too large.

    Args:
        path: the file.
        limit: how many bytes it may hold.

    Returns:
        The error, to be raised.

    Examples:
        >>> print(too_large(Path("x"), 3))
        x must hold at most 3 bytes, but holds more; take a part of the data.
    """
    return DataError(f"{path} must hold at most {limit} bytes, but holds more; take a part of the data.")


def printable(text: str) -> str:
    """Return what a file says as a part of a sentence, which is one line.

    Args:
        text: any.

    Returns:
        The same with question marks for what is no letter, digit, sign or blank.

    Examples:
        >>> printable("one" + chr(10) + "two")
        'one?two'
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def stem(path: Path) -> str:
    """Return the name of a data set that is one file.

    Args:
        path: the file.

    Returns:
        Its name without the mark of a training part and of packing; that of its folder where the name says nothing.

    Examples:
        >>> stem(Path("a9a.gz")), stem(Path("x/agaricus.txt.train")), stem(Path("/uci/yacht/data.txt"))
        ('a9a', 'agaricus', 'yacht')
    """
    path = path.absolute()
    name = path.name.removesuffix(".gz")
    while (shorter := Path(name).stem) != name:
        name = shorter
    return path.parent.name if name in ("data", "train", "input") and path.parent.name else name
