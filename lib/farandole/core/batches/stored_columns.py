"""The large features of a data set as its files hold them, raw or as JPEG, and as a batch has them.

libjpeg-turbo decodes straight into the batch, in threads that do not hold the interpreter's lock, and gives the pixels
that Pillow gives. Whatever it has a doubt about is damage: these images were encoded by preprocess.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pyarrow as pa
import simplejpeg

from farandole.core.dataset.sample import Feature
from farandole.errors import DataError

NUM_DECODERS = 2
"""How many threads of a rank decode JPEG images."""
_COLOUR_SPACES = {1: "GRAY", 3: "RGB"}


class StoredColumn:
    """The values of one feature that is more than a number; all have one shape."""

    def __init__(self, name: str, feature: Feature) -> None:
        self.feature = feature
        self._name = name
        self._decoders = ThreadPoolExecutor(NUM_DECODERS, "decoder") if feature.stored == "jpeg" else None

    def empty(self, num_rows: int) -> np.ndarray:
        """So many values of any contents, as a batch has them: the feature's dtype, [n, *shape]."""
        return np.empty((num_rows, *self.feature.shape), self.feature.dtype)

    def room(self, num_rows: int) -> np.ndarray:
        """Memory for so many values as they are stored: as a batch has them, or objects [n]."""
        return np.empty(num_rows, object) if self._decoders else self.empty(num_rows)

    def read(self, column: pa.Array | pa.ChunkedArray | Sequence[bytes], name: str) -> np.ndarray:
        """A column of a file: a view of it where it is raw, else the bytes of each value, as room() has them.

        Raises:
            DataError: raw values have not the size that the manifest says; names the file.
        """
        if isinstance(column, pa.ChunkedArray):
            column = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
        if self._decoders:
            encoded = self.room(len(column))
            encoded[:] = column.to_pylist() if isinstance(column, pa.Array) else column
            return encoded
        array = column if isinstance(column, pa.Array) else pa.array(column, pa.binary())
        row_bytes = self.feature.num_bytes
        offsets = np.frombuffer(array.buffers()[1], np.int32, len(array) + 1, array.offset * 4)
        if (np.diff(offsets) != row_bytes).any():
            found = sorted(set(np.diff(offsets).tolist()))[:3]
            raise DataError(f"{name}: column {self._name!r} has values of {found} bytes; expected {row_bytes}")
        values = np.frombuffer(array.buffers()[2], np.uint8, len(array) * row_bytes, int(offsets[0]))
        return self.view(values.reshape(len(array), row_bytes))

    def view(self, stored: np.ndarray) -> np.ndarray:
        """Raw values, uint8 [n, bytes of a value], as a batch has them; each is contiguous."""
        return stored.view(self.feature.dtype).reshape(len(stored), *self.feature.shape)

    def decode(self, stored: np.ndarray) -> np.ndarray:
        """What read() gave, as a batch has it.

        Raises:
            DataError: an image is no JPEG of the size that the manifest says.
        """
        if not self._decoders:
            return stored
        out = self.empty(len(stored))
        self._decode(stored, out)
        return out

    def take(self, stored: np.ndarray, places: np.ndarray, out: np.ndarray) -> None:
        """Writes the values at these places, int64 [n], to out, the feature's dtype, [n, *shape].

        Raises:
            DataError: as decode() does.
        """
        if self._decoders:
            self._decode(stored[places], out)
        else:
            np.take(stored, places, axis=0, out=out, mode="clip")  # the other modes gather into a buffer of their own

    def _decode(self, encoded: np.ndarray, out: np.ndarray) -> None:
        assert self._decoders is not None
        bounds = [number * len(encoded) // NUM_DECODERS for number in range(NUM_DECODERS + 1)]
        parts = [(encoded[low:high], out[low:high]) for low, high in pairwise(bounds)]
        for done in [self._decoders.submit(_decode_part, *part) for part in parts]:
            done.result()


def _decode_part(encoded: np.ndarray, out: np.ndarray) -> None:
    for data, pixels in zip(encoded, out, strict=True):
        decode_jpeg(data, pixels)


def decode_jpeg(data: bytes, out: np.ndarray) -> None:
    """Decodes an image that preprocess encoded into out, uint8 [height, width, channels].

    Raises:
        DataError: the bytes are no JPEG of that shape.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        found = (height, width, 1 if space == "Gray" else 3)
        if found != out.shape:  # by its header, before a pixel is decoded
            raise DataError(f"a stored image has shape {found}; the manifest says {out.shape}")
        simplejpeg.decode_jpeg(data, _COLOUR_SPACES[out.shape[2]], buffer=out)
    except ValueError as error:
        raise DataError(f"a stored image is no readable JPEG: {error}; the data set is damaged") from error
