"""The images of a data set as its files hold them, raw or as JPEG, and as pixels.

libjpeg-turbo decodes straight into the batch, in threads that do not hold the interpreter's lock, and gives the pixels
that Pillow gives. Whatever it has a doubt about is damage: these images were encoded by preprocess.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import simplejpeg

from farandole.core.dataset.manifest import ImageEntry
from farandole.errors import DataError

NUM_DECODERS = 2
"""How many threads of a rank decode JPEG images."""
_COLOUR_SPACES = {1: "GRAY", 3: "RGB"}


class StoredImages:
    """Images of one size and encoding, as a manifest describes them."""

    def __init__(self, image: ImageEntry) -> None:
        self.shape = (image.height, image.width, image.channels)
        """Height, width and channels of an image, whose pixels are uint8."""
        self._image = image
        self._decoders = ThreadPoolExecutor(NUM_DECODERS, "decoder") if image.encoding == "jpeg" else None

    def room(self, num_rows: int) -> np.ndarray:
        """Memory for so many images as they are stored: uint8 [n, height, width, channels], or objects [n]."""
        return np.empty(num_rows, object) if self._decoders else np.empty((num_rows, *self.shape), np.uint8)

    def column(self, images: pa.Array | pa.ChunkedArray | Sequence[bytes], name: str) -> np.ndarray:
        """A column of a file: a view of its pixels where it is raw, else the bytes of each image, as room() has them.

        Raises:
            DataError: raw images have not the size that the manifest says; names the file.
        """
        if isinstance(images, pa.ChunkedArray):
            images = images.chunk(0) if images.num_chunks == 1 else pa.concat_arrays(images.chunks)
        if self._decoders:
            encoded = self.room(len(images))
            encoded[:] = images.to_pylist() if isinstance(images, pa.Array) else images
            return encoded
        array = images if isinstance(images, pa.Array) else pa.array(images, pa.binary())
        row_bytes = int(np.prod(self.shape))
        offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
        if (np.diff(offsets) != row_bytes).any():
            raise DataError(
                f"{name}: images of {sorted(set(np.diff(offsets).tolist()))[:3]} bytes; expected {row_bytes}"
            )
        pixels = np.frombuffer(array.buffers()[2], np.uint8, len(array) * row_bytes, int(offsets[0]))
        return pixels.reshape(len(array), *self.shape)

    def pixels(self, stored: np.ndarray) -> np.ndarray:
        """What column() gave, as uint8 [n, height, width, channels].

        Raises:
            DataError: an image is no JPEG of the size that the manifest says.
        """
        if not self._decoders:
            return stored
        out = np.empty((len(stored), *self.shape), np.uint8)
        self._decode(stored, out)
        return out

    def take(self, stored: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        """Writes the pixels of the images at these places, int64 [n], to out, uint8 [n, height, width, channels].

        Raises:
            DataError: as pixels() does.
        """
        if self._decoders:
            self._decode(stored[places], out)
        else:
            np.take(stored, places, axis=0, out=out, mode="clip")  # the other modes gather into a buffer of their own

    def _decode(self, encoded: np.ndarray, out: np.ndarray) -> None:
        assert self._decoders is not None
        bounds = [number * len(encoded) // NUM_DECODERS for number in range(NUM_DECODERS + 1)]
        parts = [(encoded[low:high], out[low:high]) for low, high in pairwise(bounds)]
        for done in [self._decoders.submit(self._decode_part, *part) for part in parts]:
            done.result()

    def _decode_part(self, encoded: np.ndarray, out: np.ndarray) -> None:
        for data, pixels in zip(encoded, out, strict=True):
            decode_jpeg(data, self._image, pixels)


def decode_jpeg(data: bytes, image: ImageEntry, out: np.ndarray) -> None:
    """Decodes an image that preprocess encoded into out, uint8 [height, width, channels].

    Raises:
        DataError: the bytes are no JPEG of that shape.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        found, wanted = (height, width, 1 if space == "Gray" else 3), (image.height, image.width, image.channels)
        if found != wanted:  # by its header, before a pixel is decoded
            raise DataError(f"a stored image has shape {found}; the manifest says {wanted}")
        simplejpeg.decode_jpeg(data, _COLOUR_SPACES[image.channels], buffer=out)
    except ValueError as error:
        raise DataError(f"a stored image is no readable JPEG: {error}; the data set is damaged") from error
