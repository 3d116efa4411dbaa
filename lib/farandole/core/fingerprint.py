"""Stable hashes: of configuration, of files, and of image ids, a column at a time."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

# pandas hashes string columns with SipHash under a 16-byte key. The key is fixed, because ids hashed
# today must equal ids hashed by a resumed run tomorrow.
_HASH_KEY = "farandole-ids-v1"


def fingerprint(value: Any) -> str:
    """SHA-256, as 64 hex digits, of a JSON-like value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pixel_digest(pixels: np.ndarray) -> bytes:
    """16 bytes of BLAKE2b over the shape and the pixels of an image, uint8 [height, width, channels]; equal images have
    equal ones, whatever file they come from."""
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def content_hash(digest: bytes) -> int:
    """What is stored of a pixel digest: its first 8 bytes, as a signed number."""
    return int.from_bytes(digest[:8], "little", signed=True)


def original_hash(original: bytes | np.ndarray) -> int:
    """A signed 64-bit number for a picture as its source holds it, whatever a config makes of it.

    Args:
        original: the bytes of a file; or pixels, whose shape and type count. uint8 pixels have the content_hash of
            their pixel_digest, [height, width] the one of [height, width, 1].
    """
    if isinstance(original, bytes):
        return content_hash(hashlib.blake2b(original, digest_size=8).digest())
    if original.dtype == np.uint8:
        return content_hash(pixel_digest(original[:, :, None] if original.ndim == 2 else original))
    digest = hashlib.blake2b(f"{original.shape}{original.dtype.str}".encode(), digest_size=8)
    digest.update(np.ascontiguousarray(original).data)
    return content_hash(digest.digest())


def mix64(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer, elementwise: a bijection of uint64 that scatters near values (Steele et al. 2014)."""
    z = values.astype(np.uint64, copy=True)
    with np.errstate(over="ignore"):
        z += np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hash_ids(ids: pa.Array | pa.ChunkedArray | Iterable[str]) -> np.ndarray:
    """One uint64 per image id, shape [n]; the same id gives the same hash in every process and version."""
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        strings = np.asarray(ids.to_numpy(zero_copy_only=False) if isinstance(ids, pa.Array)
                             else ids.to_numpy(), dtype=object)  # fmt: skip
    else:
        strings = np.asarray(list(ids), dtype=object)
    if len(strings) == 0:
        return np.empty(0, dtype=np.uint64)
    import pandas as pd  # here because it takes half a second, which a job that finds all up to date should not pay

    return pd.util.hash_array(strings, encoding="utf8", hash_key=_HASH_KEY, categorize=False)


def row_keys(id_hashes: np.ndarray, copies: np.ndarray | int, seed: int, purpose: str) -> np.ndarray:
    """One pseudo-random uint64 per (image id, copy), shape [n]: what orders, selects and checks rows.

    Args:
        id_hashes: uint64 [n], from hash_ids.
        copies: int [n] or one int, 0 for the image itself.
        seed: the user's seed.
        purpose: keys drawn for different purposes are independent.
    """
    salt = int.from_bytes(hashlib.blake2b(f"{seed}:{purpose}".encode(), digest_size=8).digest(), "little")
    copy_bits = mix64(np.asarray(copies, dtype=np.int64).astype(np.uint64))
    return mix64(mix64(id_hashes ^ np.uint64(salt)) ^ copy_bits)


def group_checksum(counts: np.ndarray) -> int:
    """Checksum of how many rows each group has, int64 [groups]: sums of it (modulo 2**64) are those of the sums."""
    with np.errstate(over="ignore"):
        return int((mix64(np.arange(len(counts))) * counts.astype(np.uint64)).sum(dtype=np.uint64))


def id_checksum(id_hashes: np.ndarray, copies: np.ndarray | int) -> int:
    """Order-independent checksum of a multiset of (image id, copy): the sum of their keys modulo 2**64.

    Checksums of disjoint sets add up (modulo 2**64) to the checksum of their union, so ranks can sum theirs.
    """
    with np.errstate(over="ignore"):
        return int(row_keys(id_hashes, copies, seed=0, purpose="checksum").sum(dtype=np.uint64))
