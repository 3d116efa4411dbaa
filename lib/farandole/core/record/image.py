"""One picture: bytes or an array in, uint8 [height, width, channels] out, or a reason why not.

The rules, in the order in which they are applied:

1.  Formats: JPEG (with MPO), PNG, BMP, GIF, TIFF, WEBP, PPM (with PGM, PBM, PFM). Nothing else is opened, whatever
    the file is called; other bytes are `not_an_image`.
2.  The header is checked before pixels are decoded: `too_large` above image.max_pixels (and above Pillow's own limit
    of 178,956,970), `too_small` below image.min_side_pixels.
3.  Of an animation or a file with several pages, the first picture is taken.
4.  A JPEG that is larger than the target is decoded at 1/2, 1/4 or 1/8, but never below 1.4 times the target's longer
    side; the last step is always an anti-aliased resize.
5.  Bytes that end early are `truncated`; any other failure of a decoder is `undecodable`. A PNG or JPEG that fails
    is tried once more without what no rule uses, such as texts and colour profiles, or what has a wrong CRC.
6.  The EXIF orientation is applied once. An EXIF block that cannot be parsed counts as none.
7.  16-bit gray and colour, and integers of 32 bits: which number is white is one answer for all pictures, in
    core/record/pixel_scale.py. 65535, which is assumed, divides by 256. Numbers above white, and those that leave its
    upper 4 bits unused, are `undecodable`. A header that says it (12-bit TIFF, PGM) goes first. TIFF's "white is zero"
    is turned round. Of 16-bit colours in compressed planes the high bytes alone are known: pictures that use 14 bits or
    fewer of them are `undecodable`.
8.  Floats: likewise, white is 1 or 255. Up to a quarter of that above or below the scale is cut off, as resizing
    leaves such; more is `undecodable`. Where 255 is white, so are fractions below a 16th of it that stay below 1 or are
    negative as well. NaN and Inf are `nan_pixels`.
9.  Transparency (an alpha channel, or a transparent palette entry or colour) is composed over white. The one colour
    that a PNG calls transparent is compared at the file's own depth. Alpha of a BMP, or of a TIFF that does not name
    it, is none where it is 0 all over.
10. Palette, 1-bit, CMYK (with Adobe's inverted kind), YCbCr, HSV and LAB become RGB by Pillow's formulas; colour
    profiles are ignored.
11. image.channels = 3 repeats a gray picture three times; 1 takes ITU-R 601-2 luma of a colour picture.
12. image.resize: bilinear with anti-aliasing. A picture that has the target's size already is not touched.
13. `blank`: one colour all over after the resize, that is, as a model would see it; the border of "pad" is not counted.
"""

import io
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from farandole.config.data import Image as ImageRules
from farandole.core.record.picture_file import Picture, load_picture, undecodable, unidentified, upright
from farandole.core.record.pixel_scale import ASSUMED, PixelScale, Seen, to_uint8
from farandole.core.record.plain_jpeg import decode_plain
from farandole.core.record.quality import RejectedError, check_not_blank, check_num_bytes, check_size

RULES_VERSION = 3
"""The version of the rules, raised when one of them gives other pixels: what was made before is stale then."""


def decode(data: bytes, rules: ImageRules, scale: PixelScale = ASSUMED, seen: Seen | None = None) -> np.ndarray:
    """Decodes, converts and resizes the bytes of one image file by the rules above.

    Args:
        data: the file.
        rules: [image].
        scale: which number is white.
        seen: where a picture that depends on `scale` is counted.

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
            picture = upright(load_picture(data, rules))
            return _finish(_eight_bits(picture, scale, Seen() if seen is None else seen), rules)
    except (RejectedError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise RejectedError("too_large", str(error)) from error
    except UnidentifiedImageError as error:
        raise unidentified(data) from error
    except Exception as error:  # decoders raise nearly anything on hostile bytes; one record must not end the job
        raise undecodable(data, error) from error


def from_array(
    array: np.ndarray, rules: ImageRules, scale: PixelScale = ASSUMED, seen: Seen | None = None
) -> np.ndarray:
    """Converts and resizes one picture that is an array already, by the same rules.

    Args:
        array: [height, width] or [height, width, 1, 3 or 4 (alpha last)] of uint8, uint16, int32 or a float type.
        rules: [image].
        scale: which number is white.
        seen: where a picture that depends on `scale` is counted.

    Returns:
        uint8 [rules.height, rules.width, rules.channels].

    Raises:
        RejectedError: wrong_channels for another shape or type, else as for `decode`.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and not (array.ndim == 3 and array.shape[2] in (3, 4)):
        last = "; channels come last" if array.ndim == 3 and array.shape[0] in (1, 3, 4) else ""
        raise RejectedError(
            "wrong_channels", f"an array of shape {list(array.shape)}; no rule makes it a picture{last}"
        )
    check_size(array.shape[1], array.shape[0], rules)
    pixels = to_uint8(array, scale, Seen() if seen is None else seen)
    return _finish(_opaque(Image.fromarray(np.ascontiguousarray(pixels))), rules)


def encode(pixels: np.ndarray, rules: ImageRules) -> bytes:
    """The stored form of uint8 [height, width, channels]: the bytes themselves, or a JPEG by image.encoding."""
    if rules.encoding == "raw":
        return pixels.tobytes()
    buffer = io.BytesIO()
    _picture(pixels).save(buffer, "JPEG", quality=rules.jpeg_quality)
    return buffer.getvalue()


def _eight_bits(picture: Picture, scale: PixelScale, seen: Seen) -> Image.Image:
    """With the numbers of `picture` as 0 to 255, and without what is transparent."""
    image, low, clear = picture.image, picture.low, picture.is_clear
    if low is not None:
        high = np.asarray(image.convert("RGBA"))
        deep = (high[:, :, :3].astype(np.uint16) << 8) | np.asarray(low)
        pixels = to_uint8(deep, scale, seen, picture.white)
        image = Image.fromarray(pixels if image.mode == "RGB" else np.dstack([pixels, high[:, :, 3]]))
    elif image.mode.startswith("I;16") or image.mode in ("I", "F"):
        array = np.asarray(image)
        array = array.astype(np.uint16) if image.mode.startswith("I;16") else array
        array = array.view(np.uint32) if picture.is_unsigned else array
        pixels = to_uint8(array, scale, seen, picture.white)
        image = Image.fromarray(255 - pixels if picture.is_negative else pixels)
    if clear is not None:
        image = image.convert("L") if image.mode == "1" else image
        image.paste("white", mask=Image.fromarray(clear))
    return _opaque(image)


def _opaque(image: Image.Image) -> Image.Image:
    """Over white, where anything is transparent."""
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


def _finish(image: Image.Image, rules: ImageRules) -> np.ndarray:
    mode = "RGB" if rules.channels == 3 else "L"
    fitted = _fit(image if image.mode == mode else image.convert(mode), rules)
    pixels = np.asarray(fitted).reshape(fitted.height, fitted.width, rules.channels)
    check_not_blank(pixels, rules)
    return _pad(pixels, rules)


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
