"""Files of data that tests write: the smallest that are whole in each format, and ways to break them."""

import gzip
import io
import pickle
import zipfile

import numpy as np

RANDOM = np.random.default_rng(7)
PIXELS = RANDOM.integers(0, 256, (6, 3072), np.uint8)
LABELS = [3, 0, 3, 3, 9, 3]
LIBSVM = b"+1 1:1 3:0.5 # a comment\n-1 2:-2e0\n+1\n-1 1:1 2:1 3:1\n" * 3
TABLE = b"size,age,price\n1,2,3.5\n4,5,6.25\n-1,0.5,7\n2,2,2\n3,3,1e1\n"
TEXT = "Dürfen Mäuse träumen?\n".encode() * 4


class Calls:
    """A pickle of this calls something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def python_batch(pixels=PIXELS, labels=LABELS, protocol=2, **more):
    """A batch as the published archive has it: a dict with keys of bytes."""
    batch = {b"batch_label": b"testing", b"labels": labels, b"data": pixels, b"filenames": [b"a.png"] * len(labels)}
    return pickle.dumps({**batch, **more}, protocol=protocol)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue()


def zipped(method=zipfile.ZIP_DEFLATED, **members):
    """An archive with members of given bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(header, data=b""):
    """An array's file with a header of one's own."""
    text = header.encode("latin-1")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


ARCHIVE = npz(
    x_train=RANDOM.normal(size=(8, 3)),
    y_train=np.arange(8) % 2,
    x_test=RANDOM.normal(size=(4, 3)),
    y_test=np.arange(4) % 2,
)
WHOLE = {  # format: name of a file, and what it holds
    "cifar10": ("data_batch_1", python_batch()),
    "npz": ("arrays.npz", ARCHIVE),
    "libsvm": ("examples", LIBSVM),
    "table": ("table.csv", TABLE),
    "text": ("input.txt", TEXT),
    "packed": ("examples.gz", gzip.compress(LIBSVM, mtime=0)),
}
