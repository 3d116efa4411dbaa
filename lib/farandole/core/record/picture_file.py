"""The bytes of an image file -> a picture of Pillow's, with what it forgets of the file, or the reason why not."""

import io
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import (
    Image,
    ImageFile,
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401 - imported because Pillow knows TIFF and WEBP only once these two are
)

from farandole.config.data import Image as ImageRules
from farandole.core.record.metadata import without_metadata
from farandole.core.record.plain_jpeg import least_side
from farandole.core.record.quality import RejectedError, check_size

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""The formats that are opened. Pillow knows some forty more, old and rarely fuzzed."""

_SIGNATURES = {  # first bytes -> format, and the last bytes of a whole file where the format has an end mark
    b"\xff\xd8\xff": ("JPEG", b"\xff\xd9"),
    b"\x89PNG\r\n\x1a\n": ("PNG", b"IEND\xaeB`\x82"),
    b"GIF8": ("GIF", b";"),
    b"II*\0": ("TIFF", b""),
    b"MM\0*": ("TIFF", b""),
}
_ORIENTATION_TAG, _BITS_TAG, _PHOTOMETRIC_TAG, _EXTRA_TAG, _WHITE_IS_ZERO = 0x0112, 258, 262, 338, 0
_FILL_TAG, _PLANAR_TAG, _FORMAT_TAG, _IN_PLANES = 266, 284, 339, 2
_UPPER_BITS = 64
"""Pictures whose high bytes are all below are of no more than 14 bits."""
_UPRIGHT = {  # EXIF orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPPED = "B" if sys.byteorder == "little" else "L"
_LOW_BYTES = {  # Pillow's name of 16-bit colour, of which it gives the high bytes -> the same with bytes swapped
    f"{mode};16{order}": f"{mode};16{swapped}"
    for mode in ("RGB", "RGBX", "RGBA", *"RGBA")
    for order, swapped in (("B", "L"), ("L", "B"), ("N", _SWAPPED))
}
_GRAY_ALPHA, _AS_BYTES = "LA;16B", "RGBA"
"""16-bit gray with alpha, and four bytes as they come: gray high, gray low, alpha high, alpha low."""

# Not among Pillow's: black at the top, high byte first. Their like in the other order is.
TiffImagePlugin.OPEN_INFO.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))


@dataclass(frozen=True)
class Picture:
    """A picture, loaded, and what its file says of its numbers."""

    image: Image.Image
    """Of 16-bit colour the high bytes."""
    low: Image.Image | None = None
    """Of 16-bit colour the low bytes of red, green and blue."""
    white: float | None = None
    """Of numbers above 8 bits: which is white, where the format or the header says it."""
    is_negative: bool = False
    """Whether 0 is white, and Pillow has not turned it round."""
    is_unsigned: bool = False
    """Whether integers of 32 bits have no sign; Pillow gives them one."""
    is_clear: np.ndarray | None = None
    """bool [height, width]: where it has the one colour that is transparent."""


def load_picture(data: bytes, rules: ImageRules) -> Picture:
    """Decodes a file, once more without its metadata where it fails; the orientation is not applied yet.

    Raises:
        RejectedError: by its size. Whatever a decoder raises passes through.
    """
    try:
        return _load(data, rules)
    except (RejectedError, MemoryError):
        raise
    except Exception:
        bare = without_metadata(data)
        if bare is None:
            raise
        return _load(bare, rules)


def upright(picture: Picture) -> Picture:
    """With the EXIF orientation applied. It is asked for after loading: Pillow turns a TIFF itself, and then drops the
    tag."""
    try:
        orientation = picture.image.getexif().get(_ORIENTATION_TAG)
    except MemoryError:
        raise
    except Exception:
        return picture
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    if method is None:
        return picture
    clear = picture.is_clear
    return replace(
        picture,
        image=picture.image.transpose(method),
        low=picture.low and picture.low.transpose(method),
        is_clear=None if clear is None else np.asarray(Image.fromarray(clear).transpose(method)),
    )


def unidentified(data: bytes) -> RejectedError:
    """Of bytes that no format claims."""
    for signature, (name, _) in _SIGNATURES.items():
        if data.startswith(signature):
            reason = "truncated" if _lacks_end(data) else "undecodable"
            return RejectedError(reason, f"starts like a {name} file, but its header cannot be read")
    return RejectedError("not_an_image", f"starts with {data[:16]!r}; allowed are {', '.join(FORMATS)}")


def undecodable(data: bytes, error: Exception) -> RejectedError:
    """Of bytes at which a decoder failed."""
    text = re.sub(r" at 0x[0-9a-f]+", "", f"{type(error).__name__}: {error}")  # addresses differ from run to run
    ends_early = isinstance(error, EOFError) or "truncated" in str(error).lower() or _lacks_end(data)
    return RejectedError("truncated" if ends_early else "undecodable", text)


def _lacks_end(data: bytes) -> bool:
    """Whether a file that failed to decode stops before its own end; not every decoder's message says so."""
    if data.startswith(b"RIFF"):  # WEBP's container says how long it is
        return len(data) < int.from_bytes(data[4:8], "little") + 8
    ends = (end for signature, (_, end) in _SIGNATURES.items() if data.startswith(signature))
    return any(not data.rstrip(b"\0").endswith(end) for end in ends)


def _open(data: bytes) -> ImageFile.ImageFile:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if not isinstance(image.info.get("xmp", b""), bytes):  # of another type than it should be, where Pillow fails
        del image.info["xmp"]
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _tag(image, _PLANAR_TAG) == _IN_PLANES:
        image.tile = [
            tile._replace(args=(_plane_order(image, _order(tile.args)), *tile.args[1:]))
            if tile.codec_name == "raw" and isinstance(tile.args, tuple)
            else tile
            for tile in image.tile
        ]
    return image


def _plane_order(image: TiffImagePlugin.TiffImageFile, letter: str) -> str:
    """Of the bits of a plane. Pillow takes one letter of what it calls that of the whole picture: right for colours in
    bytes alone, else pixels are wrong, or negative."""
    bits, prefix = _tag(image, _BITS_TAG, (1,)), image.tag_v2.prefix
    if len(bits) == 1:
        key = (prefix, _tag(image, _PHOTOMETRIC_TAG, 0), _tag(image, _FORMAT_TAG, (1,)), _tag(image, _FILL_TAG, 1))
        return TiffImagePlugin.OPEN_INFO[*key, bits, ()][1]
    return f"{letter};16{'L' if prefix == b'II' else 'B'}" if set(bits) == {16} else letter


def _load(data: bytes, rules: ImageRules) -> Picture:
    image = _open(data)
    check_size(*image.size, rules)
    side = least_side(rules)
    image.draft(None, (side, side))
    codec, kind = _stored_as(image)
    orders = {_order(tile.args) for tile in image.tile}
    image.load()
    low = None
    if image.format in ("PNG", "TIFF") and orders and orders <= _LOW_BYTES.keys():
        low = _load_as(data, _LOW_BYTES).convert("RGB")
        _check_compressed_planes(image, codec)
    elif image.format == "PNG" and kind == _GRAY_ALPHA:
        low = Image.merge("RGB", [_load_as(data, {kind: _AS_BYTES}).getchannel(1)] * 3)
    return Picture(
        image.convert("RGB") if _has_empty_alpha(image) else image,
        low,
        white=_white_of(image, codec),
        is_negative=_is_negative(image),
        is_unsigned=_tag(image, _BITS_TAG) == (32,) and _tag(image, _FORMAT_TAG, (1,)) == (1,),
        is_clear=_clear(image, low, kind),
    )


def _check_compressed_planes(image: Image.Image, codec: str) -> None:
    """libtiff's planes are read without their low bytes, whatever is asked for: no matter where those hardly count."""
    if codec == "libtiff" and _tag(image, _PLANAR_TAG) == _IN_PLANES:
        most = np.asarray(image)[:, :, :3].max()
        if most < _UPPER_BITS:
            raise RejectedError(
                "undecodable",
                f"16-bit colours in compressed planes: their upper 8 bits alone are read, and they go to {most}; "
                f"write it uncompressed, or with its colours side by side",
            )


def _stored_as(image: ImageFile.ImageFile) -> tuple[str, str]:
    """Pillow's names for the codec, and for the order of bits; empty where its tiles differ in them."""
    found = {(tile.codec_name, _order(tile.args)) for tile in image.tile}
    return found.pop() if len(found) == 1 else ("", "")


def _order(args: Any) -> str:
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _tag(image: Image.Image, tag: int, default: Any = None) -> Any:
    """Of a TIFF."""
    return image.tag_v2.get(tag, default) if isinstance(image, TiffImagePlugin.TiffImageFile) else default


def _load_as(data: bytes, orders: Mapping[str, str]) -> Image.Image:
    """With other bytes of its channels than Pillow would take: order of bits -> the one in its place."""
    image = _open(data)
    image.tile = [
        tile._replace(args=(order, *tile.args[1:]) if isinstance(tile.args, tuple) else order)
        for tile in image.tile
        for order in [orders[_order(tile.args)]]
    ]
    image.load()
    image.info.pop("transparency", None)
    return image


def _white_of(image: Image.Image, codec: str) -> float | None:
    if codec == "ppm":  # this decoder, and no other, scales by what the header calls the largest value
        return 65535.0
    bits = set(_tag(image, _BITS_TAG, ()))
    return float(2 ** max(bits) - 1) if len(bits) == 1 and max(bits) in range(9, 16) else None


def _has_empty_alpha(image: Image.Image) -> bool:
    """Whether nothing would be seen, in a format whose fourth byte is mostly padding; viewers show such as opaque."""
    is_padding = image.format == "BMP" or (image.format == "TIFF" and _tag(image, _EXTRA_TAG) is None)
    return is_padding and image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0)


def _is_negative(image: Image.Image) -> bool:
    """Pillow turns round what has 8 bits or fewer."""
    return image.mode.startswith(("I;16", "F")) and _tag(image, _PHOTOMETRIC_TAG) == _WHITE_IS_ZERO


def _clear(image: Image.Image, low: Image.Image | None, kind: str) -> np.ndarray | None:
    """By the one colour that a PNG calls transparent, compared at the depth that the file has."""
    if image.format != "PNG" or image.mode not in ("1", "L", "I;16", "RGB") or "transparency" not in image.info:
        return None
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image).astype(np.uint16)
    if low is not None:
        pixels = (pixels << 8) | np.asarray(low)
    depth = int(kind.partition(";")[2].rstrip("BL") or {"1": 1}.get(kind, 8))
    largest = 2**depth - 1
    key = (np.array(image.info.pop("transparency")) & largest) * (255 // largest if depth < 8 else 1)
    same = pixels == key
    return same if pixels.ndim == 2 else same.all(axis=2)
