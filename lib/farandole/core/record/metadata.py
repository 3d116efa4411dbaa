"""Files without their metadata, for a second try: what no rule uses must not cost a picture."""

import zlib

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_USED = (b"tRNS", b"eXIf")
"""Chunks that a rule uses, of those that a reader may leave out."""
_PNG_ORIENTED = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""What texts are called in which an orientation may stand."""
_MAX_TEXT_BYTES = 65_536
_COLOUR_BYTE, _TRANSPARENT_BYTES = 25, {0: 2, 2: 6}
"""Where a PNG says what its colours are, and how long its transparent colour is at least, by that."""
_JPEG_USED = {0xE0: (b"JFIF\0", 14), 0xE1: (b"Exif\0\0", 8), 0xEE: (b"Adobe", 12)}
"""Marker of the segments that a rule uses, of an application's -> what they start with, and their least bytes."""
_APPLICATIONS, _COMMENT, _SCAN = range(0xE0, 0xF0), 0xFE, 0xDA


def without_metadata(data: bytes) -> bytes | None:
    """A PNG or JPEG without what no rule uses, or has a wrong CRC; None where that is nothing, and for other files.

    What is critical stays, whatever it holds.
    """
    if data.startswith(_PNG):
        found = _bare_png(data)
    elif data.startswith(_JPEG):
        found = _bare_jpeg(data)
    else:
        return None
    return found if len(found) < len(data) else None


def _bare_png(data: bytes) -> bytes:
    kept, at = [_PNG], len(_PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if _is_needed(data[at:end], data[_COLOUR_BYTE : _COLOUR_BYTE + 1]):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def _is_needed(chunk: bytes, colour: bytes) -> bool:
    kind, body = chunk[4:8], chunk[8:-4]
    if not kind or kind[:1].isupper():
        return True
    if zlib.crc32(kind + body) != int.from_bytes(chunk[-4:], "big"):
        return False
    if kind == b"tRNS" and len(body) < _TRANSPARENT_BYTES.get(colour[0] if colour else 0, 0):
        return False
    return kind in _PNG_USED or (body.startswith(_PNG_ORIENTED) and len(body) < _MAX_TEXT_BYTES)


def _bare_jpeg(data: bytes) -> bytes:
    """Up to the first scan."""
    kept, at = [data[:2]], 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"", bytes([_SCAN])):
        marker, end = data[at + 1], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        start, least = _JPEG_USED.get(marker, (b"", 0))
        is_used = marker in _JPEG_USED and body.startswith(start) and len(body) >= least
        if is_used or (marker not in _APPLICATIONS and marker != _COMMENT):
            kept.append(data[at:end])
        at = end
    return b"".join([*kept, data[at:]])
