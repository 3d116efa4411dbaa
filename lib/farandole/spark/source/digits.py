"""The 1,797 handwritten digits that come with scikit-learn, as records."""

import gzip
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa

from farandole.spark.source.listing import list_row, make_listing

_NUM_DIGITS, _SIDE = 1797, 8


def list_digits() -> pa.Table:
    """A table of schema LISTING."""
    names = (f"digits/{index:04d}" for index in range(_NUM_DIGITS))
    return make_listing(
        [
            list_row(name, source=name, class_name=str(label), num_bytes=_SIDE**2)
            for name, label in zip(names, _read_digits()[:, -1].tolist(), strict=True)
        ]
    )


def digit_loader() -> Callable[[str], np.ndarray]:
    """A function from a record's `source` to its pixels as uint8 [height, width]."""
    # The bundled pixels are 0 to 16.
    pixels = np.rint(_read_digits()[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, _SIDE, _SIDE)
    return lambda source: pixels[int(source.removeprefix("digits/"))]


def _read_digits() -> np.ndarray:
    """What sklearn.datasets.load_digits reads, int64 [1797, 65]: pixels, then the label. Importing that takes 1.5 s."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        return np.loadtxt(file, delimiter=",", dtype=np.int64)
