"""The MNIST database of handwritten digits, by Y. LeCun, C. Cortes and C. Burges (CC BY-SA 3.0).

60,000 training and 10,000 test images of 28 x 28 pixels, https://yann.lecun.com/exdb/mnist/.
The folder ``mnist_subset`` beside this file holds 5,000 of the training images, 500 of each digit, under
the same license; ``tests/tools/make_mnist_subset.py`` of the source repository made it.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fusedlstm.datasets.download import IDXFile, fetch
from fusedlstm.datasets.idx import read_idx

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Split = tuple[NDArray[np.uint8], NDArray[np.uint8]]

# The hashes are those of the decompressed originals: the gzip containers differ between mirrors.
FILES = (
    IDXFile("train-images-idx3-ubyte", 3, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
    IDXFile("train-labels-idx1-ubyte", 1, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    IDXFile("t10k-images-idx3-ubyte", 3, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    IDXFile("t10k-labels-idx1-ubyte", 1, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
)
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://raw.githubusercontent.com/fgnt/mnist/master/",
)
SUBSET_FOLDER = Path(__file__).parent / "mnist_subset"
CACHE_VARIABLE = "FUSEDLSTM_DATA"
_ITEM_SHAPE = (28, 28)
_CLASSES = 10


class SubsetWarning(UserWarning):
    """The bundled subset is used in place of MNIST, so results are not comparable with others'."""


class MNIST(NamedTuple):
    """The digits and where they came from."""

    train: Split
    test: Split
    source: str
    """One of "folder", "cache", "download" and "subset"."""
    folder: Path


def load_mnist(
    path: str | os.PathLike[str] | None = None, *, max_bytes: int | None = None
) -> tuple[Split, Split]:
    """Load MNIST as Keras does.

    Without a path, the digits come from the first of these that has them: the cache (the folder ``mnist``
    inside ``$FUSEDLSTM_DATA``, or inside the platform's cache folder for fusedlstm), the public mirrors
    (into the cache), and a bundled subset of 5,000 digits (4,000 for training, 1,000 for testing, all from
    MNIST's training files), which is announced by a `SubsetWarning` because accuracies on it are not
    comparable. Cache and downloads are checked against the SHA-256 of the original files.

    MNIST is the work of Y. LeCun, C. Cortes and C. Burges, under CC BY-SA 3.0.

    Parameters
    ----------
    path
        A folder with the four IDX files, plain or with ``.gz``, named with ``-idx3-ubyte`` or
        ``.idx3-ubyte``. Then nothing else is tried. The files' structure is checked but not their hash, so
        data in the same format (Fashion-MNIST, KMNIST) can be used too.
    max_bytes
        Memory that the array of each file may take; see `fusedlstm.base.limits`.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        uint8: images (N, 28, 28) of 0 (background) to 255, and labels (N,) of 0 to 9. N is 60,000 and
        10,000 for the full set.

    Raises
    ------
    FileNotFoundError
        When the folder given lacks a file; the message lists the names looked for.
    ValueError
        When a file is damaged, truncated or mislabelled; the message names the file, what was expected
        and what was found.
    """
    data = find_mnist(path, max_bytes=max_bytes)
    return data.train, data.test


def load_data(
    path: str | os.PathLike[str] | None = None, *, max_bytes: int | None = None
) -> tuple[Split, Split]:
    """Load MNIST; the name that Keras gives to `load_mnist`."""
    return load_mnist(path, max_bytes=max_bytes)


def find_mnist(path: str | os.PathLike[str] | None = None, *, max_bytes: int | None = None) -> MNIST:
    """Load MNIST as `load_mnist` does, and say where it came from."""
    if path is not None:
        return _read(Path(path), "folder", max_bytes=max_bytes)
    reasons: list[str] = []
    try:
        folder = cache_folder()
        missing = [file for file in FILES if _find(folder, file) is None]
        if missing:
            reasons = fetch(missing, folder, MIRRORS)
        if all(_find(folder, file) for file in FILES):
            return _read(folder, "download" if missing else "cache", check_content=True)
    except ImportError:
        reasons.append('downloading needs pooch: pip install "fusedlstm[data]"')
    except OSError as error:
        reasons.append(f"the cache cannot be used: {error}")
    data = _read(SUBSET_FOLDER, "subset")
    warnings.warn(_subset_message(data, reasons), SubsetWarning, stacklevel=3)
    return data


def cache_folder() -> Path:
    """Return the folder in which downloaded MNIST files are kept; it need not exist.

    Raises
    ------
    ImportError
        When pooch is not installed and the environment does not name the folder.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser() / "mnist"
    import pooch

    return Path(pooch.os_cache("fusedlstm")) / "mnist"


def _subset_message(data: MNIST, reasons: list[str]) -> str:
    lines = [
        "MNIST was neither in the cache nor could it be downloaded, so the bundled SUBSET of "
        f"{len(data.train[1]) + len(data.test[1]):,} digits is used: {len(data.train[1]):,} for training, "
        f"{len(data.test[1]):,} for testing. Its accuracy is NOT comparable with that of the full MNIST. "
        f"Give a folder with the four IDX files, or set {CACHE_VARIABLE}, to use the full set."
    ]
    return "\n  ".join(lines + reasons)


def _candidates(file: IDXFile) -> list[str]:
    plain = [file.name, file.name.replace("-idx", ".idx")]
    return plain + [f"{name}.gz" for name in plain]


def _find(folder: Path, file: IDXFile) -> Path | None:
    paths = (folder / name for name in _candidates(file))
    return next((path for path in paths if path.is_file()), None)


def _read(folder: Path, source: str, *, check_content: bool = False, max_bytes: int | None = None) -> MNIST:
    if not folder.is_dir():
        got = "got a file" if folder.exists() else "found no such folder"
        raise FileNotFoundError(f"{folder}: expected a folder with MNIST's IDX files, {got}")
    paths = [_find(folder, file) for file in FILES]
    missing = [file for file, path in zip(FILES, paths, strict=True) if path is None]
    if missing:
        wanted = "; ".join(" or ".join(_candidates(file)) for file in missing)
        raise FileNotFoundError(f"{folder}: expected MNIST's IDX files, found none named {wanted}")
    train_images, train_labels, test_images, test_labels = (path for path in paths if path is not None)
    hashes = [file.sha256 if check_content else None for file in FILES]
    try:
        train = _read_split(train_images, train_labels, hashes[:2], max_bytes)
        test = _read_split(test_images, test_labels, hashes[2:], max_bytes)
    except ValueError as error:
        if check_content:
            raise ValueError(f"{error} (in the cache: delete the file to download it again)") from error
        raise
    return MNIST(train, test, source, folder)


def _read_split(images: Path, labels: Path, hashes: list[str | None], max_bytes: int | None) -> Split:
    x = read_idx(images, ndim=3, sha256=hashes[0], max_bytes=max_bytes)
    y = read_idx(labels, ndim=1, sha256=hashes[1], max_bytes=max_bytes)
    if x.shape[1:] != _ITEM_SHAPE:
        raise ValueError(
            f"{images}: expected images of {_ITEM_SHAPE[0]} x {_ITEM_SHAPE[1]} pixels, "
            f"found {x.shape[1]} x {x.shape[2]}"
        )
    if len(x) == 0:
        raise ValueError(f"{images}: expected at least one image, found none")
    if len(x) != len(y):
        raise ValueError(f"{labels}: expected {len(x)} labels for the images of {images}, found {len(y)}")
    if y.max() >= _CLASSES:
        where = int(np.argmax(y >= _CLASSES))
        raise ValueError(
            f"{labels}: expected labels from 0 to {_CLASSES - 1}, found {int(y[where])} at position {where}"
        )
    return x, y
