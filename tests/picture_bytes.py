"""Image files that Pillow does not write: any depth, kind of pixels and extra chunk."""

import struct
import zlib

import numpy as np


def png_chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    """A chunk; with another CRC than its own if one is given."""
    return (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body) if crc is None else crc)
    )


def make_png(values: np.ndarray, depth: int, colour: int, extra: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG of [height, width] or [height, width, channels]; `extra` stands before its pixels, `after` behind them."""
    height, width = values.shape[:2]
    rows = values.reshape(height, -1)
    if depth < 8:
        bits = (rows[:, :, None] >> np.arange(depth)[::-1]) & 1
        lines = [np.packbits(row.astype(np.uint8).ravel()).tobytes() for row in bits]
    else:
        lines = [row.astype(f">u{depth // 8}").tobytes() for row in rows]
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        + extra
        + png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + line for line in lines)))
        + after
        + png_chunk(b"IEND", b"")
    )


def make_tiff(
    values: np.ndarray,
    kind: str,
    photometric: int,
    *,
    order: str = "<",
    bits: int | None = None,
    in_planes: bool = False,
    is_compressed: bool = False,
) -> bytes:
    """A TIFF of [height, width] or [height, width, channels], of 1 or 12 bits if `bits` says so.

    In planes a channel's numbers lie together, not a pixel's.
    """
    height, width = values.shape[:2]
    samples = values.shape[2] if values.ndim == 3 else 1
    planes = np.moveaxis(values.reshape(height, width, samples), 2, 0) if in_planes else [values]
    strips = [plane.astype(np.dtype(kind).newbyteorder(order)).tobytes() for plane in planes]
    if bits == 1:
        strips = [np.packbits(plane.reshape(height, width), axis=1).tobytes() for plane in planes]
    if bits == 12:
        pairs = values.reshape(-1, 2).tolist()
        strips = [b"".join((first << 12 | second).to_bytes(3, "big") for first, second in pairs)]
    strips = [zlib.compress(strip) for strip in strips] if is_compressed else strips
    sizes, data = [len(strip) for strip in strips], b"".join(strips)
    depth = bits or np.dtype(kind).itemsize * 8
    fields = [(256, [width]), (257, [height]), (258, [depth] * samples), (259, [8 if is_compressed else 1])]
    fields += [(262, [photometric]), (273, [8 + sum(sizes[:at]) for at in range(len(sizes))]), (277, [samples])]
    fields += [(278, [height]), (279, sizes), (284, [2 if in_planes else 1])]
    fields += [(339, [3 if kind == "f4" else 1] * samples)]
    start = 8 + len(data)
    end = start + 2 + 12 * len(fields) + 4
    entries, tail = b"", b""
    for tag, numbers in fields:
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        place = packed if len(numbers) == 1 else struct.pack(f"{order}I", end + len(tail))
        tail += packed if len(numbers) > 1 else b""
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + place
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + data + struct.pack(f"{order}H", len(fields)) + entries + b"\0" * 4 + tail
