"""Views of images at test time."""

import numpy as np
import pytest

from farandole.train.evaluate import views

IMAGE = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1)


def plane(view) -> list[list[int]]:
    return np.asarray(view)[0, :, :, 0].tolist()


def test_plain_is_the_image_itself():
    [(weight, view)] = views(IMAGE, "plain")
    assert (weight, plane(view)) == (1.0, plane(IMAGE))


def test_mirrored():
    (one, image), (two, mirrored) = views(IMAGE, "mirrored")
    assert (one, two) == (0.5, 0.5)
    assert plane(image) == plane(IMAGE)
    assert plane(mirrored) == [[2, 1, 0], [5, 4, 3], [8, 7, 6]]


def test_shifted_images_come_back_from_the_border():
    shown = views(IMAGE, "mirrored_shifted")
    assert [weight for weight, _ in shown] == [0.25, 0.25, 0.125, 0.125, 0.125, 0.125]
    assert plane(shown[2][1]) == [[4, 3, 4], [1, 0, 1], [4, 3, 4]]  # of the image from the pixel up and left of it
    assert plane(shown[4][1]) == [[4, 5, 4], [7, 8, 7], [4, 5, 4]]
    assert plane(shown[5][1]) == [row[::-1] for row in plane(shown[4][1])]


@pytest.mark.parametrize("kind", ["plain", "mirrored", "mirrored_shifted"])
def test_weights_add_up(kind):
    assert sum(weight for weight, _ in views(IMAGE, kind)) == 1.0
