"""The bundled digits as records."""

import numpy as np

from farandole.spark.source.digits import _read_digits, digit_loader, list_digits


def test_digits_are_listed_and_loaded() -> None:
    table = list_digits()
    assert table.num_rows == 1797
    assert table.slice(1796).to_pylist() == [
        {
            "id": "digits/1796",
            "source": "digits/1796",
            "split": None,
            "class_name": "8",
            "num_bytes": 64,
            "modified_ns": 0,
            "reason": None,
            "detail": None,
        }
    ]
    pixels = digit_loader()("digits/0000")
    assert isinstance(pixels, np.ndarray)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (8, 8))
    assert pixels[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # round(x * 255 / 16) of 0 0 5 13 9 1 0 0


def test_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    bundled, read = load_digits(), _read_digits()
    assert np.array_equal(read[:, :-1], bundled.data)
    assert np.array_equal(read[:, -1], bundled.target)
