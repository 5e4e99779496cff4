"""Downloads of published data sets: over https alone, and only files whose SHA-256 is known."""

import hashlib
import os
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from thinned._errors import DataError

CHUNK = 2**18
PATIENCE = 30.0  # seconds without a byte
THIS_MACHINE = ("127.0.0.1", "::1", "localhost")  # where http is as good: nobody is in between
HTTPS = "https"


class File(NamedTuple):
    """A published file.

    Attributes:
        name: its name.
        size: its bytes.
        sha256: its SHA-256, in hexadecimal digits.
    """

    name: str
    size: int
    sha256: str


class Source(NamedTuple):
    """Where a data set is published.

    Attributes:
        address: of the folder with the files, with a slash at the end.
        files: the files.
    """

    address: str
    files: tuple[File, ...]


SOURCES = {
    "mnist": Source(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            File(
                "train-images-idx3-ubyte.gz",
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            File(
                "train-labels-idx1-ubyte.gz",
                28881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            File(
                "t10k-images-idx3-ubyte.gz",
                1648877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            File(
                "t10k-labels-idx1-ubyte.gz",
                4542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    "fashion-mnist": Source(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        (
            File(
                "train-images-idx3-ubyte.gz",
                26421880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            File(
                "train-labels-idx1-ubyte.gz",
                29515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            File(
                "t10k-images-idx3-ubyte.gz",
                4422102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            File(
                "t10k-labels-idx1-ubyte.gz",
                5148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
}


def cache(name: str) -> Path:
    """Return the folder where a data set is kept unless somebody says where.

    Args:
        name: the data set's.

    Returns:
        A folder below ``$XDG_CACHE_HOME``, or ``~/.cache``; it need not exist.

    Examples:
        >>> cache("mnist").parts[-2:]
        ('thinned', 'mnist')
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "thinned" / name


def fetch(name: str, root: str | PathLike[str], *, on_progress: Callable[[str, int, int], None] | None = None) -> None:
    """Download those files of a published data set that a folder does not have yet.

    A file appears in the folder whole and checked, or not at all.

    Args:
        name: ``"mnist"`` or ``"fashion-mnist"``.
        root: the folder; made if need be.
        on_progress: called with a file's name, its bytes so far and all its bytes, as they arrive.

    Raises:
        DataError: the data set is not published under a known checksum, the network fails, or what comes is not what
            was published.

    Examples:
        >>> fetch("imagenet", "/tmp")
        Traceback (most recent call last):
        ...
        thinned._errors.DataError: `name` must be one of mnist, fashion-mnist to be downloaded, but got name='imagenet'.
    """
    from http.client import HTTPException

    if name not in SOURCES:
        raise DataError(f"`name` must be one of {', '.join(SOURCES)} to be downloaded, but got name={name!r}.")
    root = Path(root)
    source = SOURCES[name]
    for file in source.files:
        unpacked = file.name.removesuffix(".gz")
        if any((root / present).exists() for present in (file.name, unpacked, unpacked.replace("-idx", ".idx"))):
            continue
        try:
            root.mkdir(parents=True, exist_ok=True)
            _get(source.address + file.name, file, root, on_progress)
        except (OSError, ValueError, HTTPException, _Broken) as error:  # URLError is an OSError
            reason = str(getattr(error, "reason", error)).partition("\n")[0].rstrip(".")
            raise DataError(
                f"{file.name} of {name} could not be downloaded from {source.address}: {reason}; get the files "
                "yourself and name their folder (--data DIR)."
            ) from error


class _Broken(Exception):
    """What came is not what was published."""


def _get(address: str, file: File, root: Path, on_progress: Callable[[str, int, int], None] | None) -> None:
    from urllib import request

    class Redirects(request.HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
            try:
                _check_address(newurl)
            except _Broken:
                fp.close()
                raise
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    _check_address(address)
    digest = hashlib.sha256()
    done = 0
    part = root / f".{file.name}.{os.getpid()}"
    try:
        with (
            part.open("wb") as out,
            request.build_opener(Redirects).open(address, timeout=PATIENCE) as answer,
        ):
            while piece := answer.read(min(CHUNK, file.size + 1 - done)):
                done += len(piece)
                if done > file.size:
                    raise _Broken(f"it must have {file.size} bytes, but has more")
                digest.update(piece)
                out.write(piece)
                if on_progress is not None:
                    on_progress(file.name, done, file.size)
            out.flush()
            os.fsync(out.fileno())
        if done < file.size:
            raise _Broken(f"it must have {file.size} bytes, but {done} came")
        if digest.hexdigest() != file.sha256:
            raise _Broken(f"its SHA-256 must be {file.sha256}, but is {digest.hexdigest()}")
        os.replace(part, root / file.name)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _check_address(address: str) -> None:
    parts = urlsplit(address)
    if parts.scheme != HTTPS and not (parts.scheme == "http" and parts.hostname in THIS_MACHINE):
        raise _Broken(f"the address must begin with https, but is {address[:100]}")
