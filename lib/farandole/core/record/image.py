"""One picture: bytes or an array in, uint8 [height, width, channels] out, or a reason why not.

The rules, in the order in which they are applied:

1.  Formats: JPEG (with MPO), PNG, BMP, GIF, TIFF, WEBP, PPM (with PGM, PBM, PFM). Nothing else is opened, whatever
    the file is called; other bytes are `not_an_image`.
2.  The header is checked before pixels are decoded: `too_large` above image.max_pixels (and above Pillow's own limit
    of 178,956,970), `too_small` below image.min_side_pixels.
3.  Of an animation or a file with several pages, the first picture is taken.
4.  A JPEG that is larger than the target is decoded at 1/2, 1/4 or 1/8, but never below 1.4 times the target's longer
    side; the last step is always an anti-aliased resize.
5.  Bytes that end early are `truncated`; any other failure of a decoder is `undecodable`.
6.  The EXIF orientation is applied once. An EXIF block that cannot be parsed counts as none.
7.  16-bit gray is divided by 256, not clipped. 16-bit colour comes from Pillow as its high bytes: the same rule.
    Integers of 32 bits are taken as 16-bit gray where they fit; else they are `undecodable`: no rule scales them.
8.  Float gray: values of 0 to 1 are scaled to 0 to 255; where any is above 1, they are taken as 0 to 255 already.
    NaN and Inf are `nan_pixels`; other values below 0 or above 255 are `undecodable`.
9.  Transparency (an alpha channel, or a transparent palette entry or colour) is composed over white.
10. Palette, 1-bit, CMYK (with Adobe's inverted kind), YCbCr, HSV and LAB become RGB by Pillow's formulas; colour
    profiles are ignored.
11. image.channels = 3 repeats a gray picture three times; 1 takes ITU-R 601-2 luma of a colour picture.
12. image.resize: bilinear with anti-aliasing. A picture that has the target's size already is not touched.
13. `blank`: one colour all over after the resize, that is, as a model would see it; the border of "pad" is not counted.
"""

import io
import re
import warnings

import numpy as np
from PIL import (
    Image,
    TiffImagePlugin,  # noqa: F401 - imported because Pillow knows TIFF and WEBP only once these two are
    UnidentifiedImageError,
    WebPImagePlugin,  # noqa: F401
)

from farandole.config.data import Image as ImageRules
from farandole.core.record.plain_jpeg import decode_plain, least_side
from farandole.core.record.quality import RejectedError, check_not_blank, check_num_bytes, check_size

RULES_VERSION = 2
"""The version of the rules, raised when one of them gives other pixels: what was made before is stale then."""
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""The formats that are opened. Pillow knows some forty more, old and rarely fuzzed."""

_SIGNATURES = {  # first bytes -> format, and the last bytes of a whole file where the format has an end mark
    b"\xff\xd8\xff": ("JPEG", b"\xff\xd9"),
    b"\x89PNG\r\n\x1a\n": ("PNG", b"IEND\xaeB`\x82"),
    b"GIF8": ("GIF", b";"),
    b"II*\0": ("TIFF", b""),
    b"MM\0*": ("TIFF", b""),
}
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, rules: ImageRules) -> np.ndarray:
    """Decodes, converts and resizes the bytes of one image file by the rules above.

    Returns:
        uint8 [rules.height, rules.width, rules.channels].

    Raises:
        RejectedError: with the reason and what was found. Only lack of memory and interrupts pass through otherwise.
    """
    check_num_bytes(len(data), rules)
    plain = decode_plain(data, rules)
    if plain is not None:
        if plain.shape == (rules.height, rules.width, rules.channels):
            check_not_blank(plain, rules)
            return plain
        return _finish(Image.fromarray(plain), rules)
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata, which no rule uses, and of sizes that check_size judges.
            warnings.simplefilter("ignore")
            return _finish(_upright(_load(data, rules)), rules)
    except (RejectedError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise RejectedError("too_large", str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(data) from error
    except Exception as error:  # decoders raise nearly anything on hostile bytes; one record must not end the job
        raise _undecodable(data, error) from error


def from_array(array: np.ndarray, rules: ImageRules) -> np.ndarray:
    """Converts and resizes one picture that is an array already, by the same rules.

    Args:
        array: [height, width] or [height, width, 1, 3 or 4 (alpha last)] of uint8, uint16 or a float type.

    Returns:
        uint8 [rules.height, rules.width, rules.channels].

    Raises:
        RejectedError: wrong_channels for another shape or type, else as for `decode`.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        raise RejectedError("wrong_channels", f"an array of shape {list(array.shape)}; no rule makes it a picture")
    check_size(array.shape[1], array.shape[0], rules)
    return _finish(Image.fromarray(np.ascontiguousarray(_to_uint8(array))), rules)


def encode(pixels: np.ndarray, rules: ImageRules) -> bytes:
    """The stored form of uint8 [height, width, channels]: the bytes themselves, or a JPEG by image.encoding."""
    if rules.encoding == "raw":
        return pixels.tobytes()
    buffer = io.BytesIO()
    _picture(pixels).save(buffer, "JPEG", quality=rules.jpeg_quality)
    return buffer.getvalue()


def _load(data: bytes, rules: ImageRules) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    check_size(*image.size, rules)
    side = least_side(rules)
    image.draft(None, (side, side))
    image.load()
    return image


def _upright(image: Image.Image) -> Image.Image:
    try:
        # Asked after load: Pillow turns a TIFF itself and then drops the tag.
        orientation = image.getexif().get(_ORIENTATION_TAG)
    except MemoryError:
        raise
    except Exception:
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _finish(image: Image.Image, rules: ImageRules) -> np.ndarray:
    fitted = _fit(_convert(image, rules.channels), rules)
    pixels = np.asarray(fitted).reshape(fitted.height, fitted.width, rules.channels)
    check_not_blank(pixels, rules)
    return _pad(pixels, rules)


def _convert(image: Image.Image, channels: int) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray(_to_uint8(np.asarray(image).astype(np.uint16)))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_to_uint8(np.asarray(image)))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "RGB" if channels == 3 else "L"
    return image if image.mode == mode else image.convert(mode)


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype == np.int32:
        _check_range(array, 0, 65535)
        return (array >> 8).astype(np.uint8)
    if array.dtype.kind != "f":
        raise RejectedError("wrong_channels", f"pixels of type {array.dtype}; expected uint8, uint16 or a float type")
    num_bad = int(array.size - np.isfinite(array).sum())
    if num_bad:
        raise RejectedError("nan_pixels", f"{num_bad} of {array.size} values are NaN or Inf")
    _check_range(array, 0, 255)
    return np.rint(array * 255 if array.max() <= 1 else array).astype(np.uint8)


def _check_range(array: np.ndarray, low: int, high: int) -> None:
    least, most = array.min(), array.max()
    if least < low or most > high:
        raise RejectedError(
            "undecodable", f"values of {least} to {most}; no rule scales what is outside {low} to {high}"
        )


def _fit(image: Image.Image, rules: ImageRules) -> Image.Image:
    """Resized; with "pad" one side may still be short, and with "crop" what sticks out is gone."""
    target, box = (rules.width, rules.height), None
    if rules.resize == "pad":
        scale = min(rules.width / image.width, rules.height / image.height)
        target = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    elif rules.resize == "crop":
        scale = min(image.width / rules.width, image.height / rules.height)
        left, top = (image.width - rules.width * scale) / 2, (image.height - rules.height * scale) / 2
        box = (left, top, left + rules.width * scale, top + rules.height * scale)
    if image.size == target:
        return image
    return image.resize(target, Image.Resampling.BILINEAR, box=box)


def _pad(pixels: np.ndarray, rules: ImageRules) -> np.ndarray:
    height, width, channels = pixels.shape
    if (height, width) == (rules.height, rules.width):
        return pixels
    canvas = np.zeros((rules.height, rules.width, channels), np.uint8)
    top, left = (rules.height - height) // 2, (rules.width - width) // 2
    canvas[top : top + height, left : left + width] = pixels
    return canvas


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def _unidentified(data: bytes) -> RejectedError:
    for signature, (name, _) in _SIGNATURES.items():
        if data.startswith(signature):
            reason = "truncated" if _lacks_end(data) else "undecodable"
            return RejectedError(reason, f"starts like a {name} file, but its header cannot be read")
    return RejectedError("not_an_image", f"starts with {data[:16]!r}; allowed are {', '.join(FORMATS)}")


def _undecodable(data: bytes, error: Exception) -> RejectedError:
    text = re.sub(r" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")  # addresses differ from run to run
    ends_early = isinstance(error, EOFError) or "truncated" in str(error).lower() or _lacks_end(data)
    return RejectedError("truncated" if ends_early else "undecodable", text)


def _lacks_end(data: bytes) -> bool:
    """Whether a file that failed to decode stops before its own end; not every decoder's message says so."""
    if data.startswith(b"RIFF"):  # WEBP's container says how long it is
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    ends = (end for signature, (_, end) in _SIGNATURES.items() if data.startswith(signature))
    return any(not data.rstrip(b"\0").endswith(end) for end in ends)
