"""What Pillow needs help with in PNG: metadata that it refuses, and the depth of what is transparent."""

import zlib

import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_USED = (b"tRNS", b"eXIf")
"""Chunks that a rule uses, of those that a reader may leave out."""
_ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""What texts are called in which an orientation may stand."""
_MAX_TEXT_BYTES = 65_536


def without_metadata(data: bytes) -> bytes | None:
    """A PNG without the chunks that no rule uses, or whose CRC is wrong; None where that leaves out nothing, or for
    other files. Critical chunks stay, whatever they hold."""
    if not data.startswith(PNG_SIGNATURE):
        return None
    kept, at = [PNG_SIGNATURE], len(PNG_SIGNATURE)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if _is_needed(data[at:end]):
            kept.append(data[at:end])
        at = end
    found = b"".join(kept)
    return found if len(found) < len(data) else None


def _is_needed(chunk: bytes) -> bool:
    kind, body = chunk[4:8], chunk[8:-4]
    if not kind or kind[:1].isupper():
        return True
    if zlib.crc32(kind + body) != int.from_bytes(chunk[-4:], "big"):
        return False
    return kind in _USED or (body.startswith(_ORIENTED) and len(body) < _MAX_TEXT_BYTES)


def matches_key(pixels: np.ndarray, key: int | tuple[int, ...], data: bytes) -> np.ndarray:
    """Where pixels have the one colour that a PNG calls transparent.

    Args:
        pixels: [height, width] or [height, width, 3], as Pillow scales them: to 8 bits, or all 16.
        key: the colour as the tRNS chunk has it, on the scale of the file.
        data: the file.

    Returns:
        bool [height, width].
    """
    depth = data[24]  # of the header, which comes first
    largest = 2**depth - 1
    colour = (np.array(key) & largest) * (255 // largest if depth < 8 else 1)
    same = pixels == colour
    return same if pixels.ndim == 2 else same.all(axis=2)
