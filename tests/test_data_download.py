"""Downloads, from a server on this machine: whole and checked files, or none and one sentence."""

import gzip
import hashlib
import http.server
import struct
import threading

import numpy as np
import pytest

from thinned import data
from thinned._errors import DataError
from thinned.data import download
from thinned.data.download import SOURCES, File, Source

IMAGES = np.arange(30, dtype=np.uint8).reshape(5, 2, 3)
LABELS = np.array([1, 0, 1, 2, 2], np.uint8)


def idx(array):
    return gzip.compress(struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes(), mtime=0)


CONTENTS = {
    f"{part}-{kind}-ubyte.gz": idx(array)
    for part in ("train", "t10k")
    for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS))
}
FIRST = next(iter(CONTENTS))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        status, content, headers = self.server.answers.get(self.path, (404, b"", {}))
        self.send_response(status)
        for key, value in {"Content-Length": len(content), **headers}.items():
            self.send_header(key, str(value))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server with the four files, published as "mnist"."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    server.answers = {f"/{name}": (200, content, {}) for name, content in CONTENTS.items()}
    server.address = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    monkeypatch.setenv("no_proxy", "*")
    files = tuple(File(name, len(c), hashlib.sha256(c).hexdigest()) for name, c in CONTENTS.items())
    monkeypatch.setitem(SOURCES, "mnist", Source(server.address, files))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def inside(folder):
    return sorted(path.name for path in folder.iterdir())


def test_download(server, tmp_path):
    seen = []
    root = tmp_path / "new" / "mnist"
    loaded = data.load("mnist", root, download=True, on_progress=lambda *told: seen.append(told))
    np.testing.assert_array_equal(loaded.train.inputs, IMAGES / np.float32(255))
    assert loaded.test.targets.tolist() == LABELS.tolist()
    assert inside(root) == sorted(CONTENTS)
    assert [told for told in seen if told[1] == told[2]] == [(name, len(c), len(c)) for name, c in CONTENTS.items()]
    assert server.asked == [f"/{name}" for name in CONTENTS]


def test_what_is_there_is_not_downloaded(server, tmp_path):
    (tmp_path / FIRST).write_bytes(CONTENTS[FIRST])
    second = "train-labels-idx1-ubyte"
    (tmp_path / second.replace("-idx", ".idx")).write_bytes(gzip.decompress(CONTENTS[f"{second}.gz"]))
    data.load("mnist", tmp_path, download=True)
    assert server.asked == [f"/{name}" for name in list(CONTENTS)[2:]]


def test_the_cache(server, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):
        assert data.load("mnist", download=True).name == "mnist"
    assert inside(tmp_path / "thinned" / "mnist") == sorted(CONTENTS)
    assert len(server.asked) == 4
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(download.cache("mnist")) == "/home/somebody/.cache/thinned/mnist"


BROKEN = {
    "other bytes": ((200, b"x" * len(CONTENTS[FIRST]), {}), r"its SHA-256 must be [0-9a-f]{64}, but is [0-9a-f]{64};"),
    "too many": ((200, CONTENTS[FIRST] + b"x", {}), r"it must have \d+ bytes, but has more;"),
    "too few": ((200, CONTENTS[FIRST][:-1], {}), r"it must have \d+ bytes, but \d+ came;"),
    "cut off": ((200, CONTENTS[FIRST][:-1], {"Content-Length": 10**6}), r"\d+ (bytes )?(came|read)|more expected"),
    "missing": ((404, b"", {}), r"could not be downloaded from http://127\.0\.0\.1:\d+/: .*Not Found.*; get the files"),
    "elsewhere": (
        (302, b"", {"Location": "http://example.org/x"}),
        r"must begin with https, but is http://example\.org/x;",
    ),
    "a local file": (
        (302, b"", {"Location": "file:///etc/passwd"}),
        r"file:///etc/passwd' is not allowed;",
    ),
    "in circles": ((302, b"", {"Location": f"/{FIRST}"}), r"infinite loop"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_as_published_leaves_nothing(server, tmp_path, case):
    server.answers[f"/{FIRST}"], message = BROKEN[case]
    with pytest.raises(DataError, match=message) as caught:
        data.load("mnist", tmp_path, download=True)
    assert str(caught.value).startswith(f"{FIRST} of mnist could not be downloaded from {server.address}: ")
    assert str(caught.value).endswith("; get the files yourself and name their folder (--data DIR).")
    assert "\n" not in str(caught.value)
    assert inside(tmp_path) == []


def test_a_redirect_on_this_machine_is_followed(server, tmp_path):
    server.answers["/moved"] = server.answers[f"/{FIRST}"]
    server.answers[f"/{FIRST}"] = (302, b"", {"Location": "/moved"})
    data.load("mnist", tmp_path, download=True)
    assert inside(tmp_path) == sorted(CONTENTS)


@pytest.mark.usefixtures("server")
def test_nobody_answers(tmp_path, monkeypatch):
    monkeypatch.setitem(SOURCES, "mnist", SOURCES["mnist"]._replace(address="http://127.0.0.1:1/"))
    with pytest.raises(
        DataError, match=r"could not be downloaded from http://127\.0\.0\.1:1/: .*refused; get the files"
    ):
        data.load("mnist", tmp_path, download=True)


@pytest.mark.usefixtures("server")
def test_interrupted(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch("mnist", tmp_path, on_progress=stop)
    assert inside(tmp_path) == []


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_sources_are_https_and_known(name):
    source = SOURCES[name]
    assert source.address.startswith("https://")
    assert source.address.endswith("/")
    assert len({file.sha256 for file in source.files}) == len(source.files) == 4
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in source.files)


def test_what_cannot_be_downloaded(tmp_path):
    with pytest.raises(
        DataError, match=r"`name` must be one of mnist, fashion-mnist to be downloaded, but got name='cifar1"
    ):
        data.load("cifar10", tmp_path, download=True)
    for name in ("digits", str(tmp_path)):
        with pytest.raises(
            DataError, match=r"`download` must be left out for .*, which is .*, but got download=True\."
        ):
            data.load(name, download=True)
