"""What lies in the source, as one table of records, and how to read one of them.

Every file under data.path is a record, hidden ones too: what is no image ends in quarantine, not in silence.
"""

import errno
import gzip
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from farandole.config.load import Config
from farandole.core.record.quality import RejectedError, check_num_bytes
from farandole.errors import ConfigError, DataError

LISTING = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),  # relative path with /, or digits/0000
        pa.field("source", pa.string(), nullable=False),  # what `open_source` needs
        pa.field("split", pa.string()),  # train, val, test, or null: not split yet
        pa.field("class_name", pa.string()),
        pa.field("num_bytes", pa.int64(), nullable=False),
        pa.field("modified_ns", pa.int64(), nullable=False),  # time of change; no part of the fingerprint
        pa.field("reason", pa.string()),  # why it is rejected already, else null
        pa.field("detail", pa.string()),  # what was found, for a person
    ]
)
"""Columns of a listing, one row per input record, sorted by image_id. A label table adds side columns."""

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What a split may be called, in any case."""
_NUM_DIGITS, _DIGITS_SIDE = 1797, 8


def list_records(config: Config) -> pa.Table:
    """Lists the source without reading an image.

    For data.source = "folder": when every folder directly under data.path is named train, val (valid, validation) or
    test, in any case, files are SPLIT/CLASS/FILE, else CLASS/FILE. Deeper folders belong to their class. Folders whose
    names start with a dot, and __MACOSX, are no classes.

    Returns:
        A table of schema LISTING.

    Raises:
        ConfigError: data.path does not exist.
        DataError: it is no directory, has no files, has no class folders, has a folder that is a symbolic link or
            cannot be listed, or mixes split folders with others.
    """
    rows = _list_digits() if config.data.source == "digits" else _list_folder(Path(config.data.path))
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["image_id"]), schema=LISTING)


def listing_fingerprint(listing: pa.Table) -> str:
    """SHA-256, as 64 hex digits, of all columns of a listing but the times of change."""
    digest = hashlib.sha256(repr(listing.schema.metadata).encode())
    for field in listing.schema:
        if field.name != "modified_ns":
            texts = listing[field.name].cast(pa.string()).to_pylist()
            digest.update(json.dumps([field.name, texts]).encode())
    return digest.hexdigest()


def open_source(config: Config) -> Callable[[str], bytes | np.ndarray]:
    """A function from a record's `source` to the bytes of its file, or to its pixels as uint8 [height, width].

    The function raises RejectedError: missing_image, too_large, unsafe_path or unreadable.
    """
    if config.data.source == "folder":
        root = config.data.path
        return lambda source: _read_file(f"{root}/{source}", config)
    # The bundled pixels are 0 to 16.
    pixels = np.rint(_read_digits()[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, _DIGITS_SIDE, _DIGITS_SIDE)
    return lambda source: pixels[int(source.removeprefix("digits/"))]


def _list_digits() -> list[dict[str, Any]]:
    names = (f"digits/{index:04d}" for index in range(_NUM_DIGITS))
    return [
        list_row(name, source=name, class_name=str(label), num_bytes=_DIGITS_SIDE**2)
        for name, label in zip(names, _read_digits()[:, -1].tolist(), strict=True)
    ]


def _read_digits() -> np.ndarray:
    """What sklearn.datasets.load_digits reads, int64 [1797, 65]: pixels, then the label. Importing that takes 1.5 s."""
    package = find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    with gzip.open(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", "rt") as file:
        return np.loadtxt(file, delimiter=",", dtype=np.int64)


def _list_folder(root: Path) -> list[dict[str, Any]]:
    check_folder(root)
    entries = list(walk(root))
    if not entries:
        raise DataError(f"data.path {str(root)!r} holds no files; expected SPLIT/CLASS/FILE or CLASS/FILE")
    has_splits = _has_splits(root, [path for path, _ in entries])
    rows = [_describe(path, status, has_splits) for path, status in entries]
    if all(row["class_name"] is None for row in rows):
        raise DataError(
            f"data.path {str(root)!r} holds {len(rows)} files but no class folders; "
            f"expected SPLIT/CLASS/FILE or CLASS/FILE"
        )
    return rows


def check_folder(root: Path) -> None:
    """Refuses a data.path that is no folder.

    Raises:
        ConfigError: it does not exist.
        DataError: it is something else.
    """
    if not root.exists():
        raise ConfigError(f"data.path {str(root)!r} does not exist; give the folder that holds the images")
    if not root.is_dir():
        raise DataError(f"data.path {str(root)!r} is not a directory; give the folder that holds the images")


def walk(root: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """Every file below root as its path relative to root, and its status; None for one that has just vanished."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            raise DataError(f"cannot list folder {printable(str(root / folder))!r}: {error.strerror}") from error
        for entry in entries:
            path = f"{folder}{entry.name}"
            if entry.is_symlink() and os.path.isdir(entry.path):  # entry.is_dir() raises where links go in circles
                raise DataError(
                    f"folder {printable(entry.path)!r} is a symbolic link; its files would be missed or read from "
                    f"outside data.path; replace it by the folder itself, or remove it"
                )
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{path}/")
            else:
                yield path, _status(entry)


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def _has_splits(root: Path, paths: list[str]) -> bool:
    """Whether the first folder is the split; refuses the mixture in which every label would be a split's name."""
    parts = [path.split("/") for path in paths]
    folders = {names[0] for names in parts if len(names) > 1 and not _is_hidden(names[0])}
    splits = {name for name in folders if name.lower() in SPLIT_FOLDERS}
    if not splits or splits == folders:
        return bool(splits)
    # A class may well be called "train"; but then it holds files, not folders alone.
    holds_files = {names[0] for names in parts if len(names) == 2}
    if splits - holds_files:
        raise DataError(
            f"data.path {str(root)!r} has the split folders {sorted(splits - holds_files)} beside "
            f"{[printable(name) for name in sorted(folders - splits)][:5]}, which are none; "
            f"expected only {', '.join(sorted(SPLIT_FOLDERS))} there; move the others out"
        )
    return False


def _describe(path: str, status: os.stat_result | None, has_splits: bool) -> dict[str, Any]:
    folders = path.split("/")[:-1]
    in_split = has_splits and bool(folders) and not _is_hidden(folders[0])
    split = SPLIT_FOLDERS[folders[0].lower()] if in_split else None
    classes = folders[1:] if has_splits else folders
    class_name = classes[0] if classes and not any(_is_hidden(name) for name in (folders[0], classes[0])) else None
    if class_name and printable(class_name) != class_name:
        class_name = None
    rejection = reject_file(path, status) or (None if class_name else ("missing_label", "not in a class folder"))
    return list_row(printable(path), split=split, class_name=class_name, status=status, rejection=rejection)


def reject_file(path: str, status: os.stat_result | None) -> tuple[str, str] | None:
    """Reason and detail for what `walk` found, where its name or its kind is enough to reject it."""
    if printable(path) != path or (status and stat.S_ISLNK(status.st_mode)):
        return "unsafe_path", "a symbolic link, or a name that is no UTF-8"
    if status and not stat.S_ISREG(status.st_mode):
        return "unreadable", "not a regular file"
    return None


def list_row(
    image_id: str,
    *,
    source: str | None = None,
    split: str | None = None,
    class_name: str | None = None,
    status: os.stat_result | None = None,
    num_bytes: int = 0,
    rejection: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """One row of a listing; `rejection` is reason and detail."""
    reason, detail = rejection or (None, None)
    return {
        "image_id": image_id,
        "source": source or image_id,
        "split": split,
        "class_name": class_name,
        "num_bytes": status.st_size if status else num_bytes,
        "modified_ns": status.st_mtime_ns if status else 0,
        "reason": reason,
        "detail": detail,
    }


def _is_hidden(folder: str) -> bool:
    return folder.startswith(".") or folder == "__MACOSX"


def printable(name: str) -> str:
    """The name with bytes that are no UTF-8 escaped, since Arrow and JSON hold nothing else."""
    return name.encode("utf-8", "backslashreplace").decode()


def _read_file(path: str, config: Config) -> bytes:
    try:
        # The folder may have changed since it was listed: no symbolic link is followed, no pipe is waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise RejectedError("unreadable", "not a regular file")
            check_num_bytes(status.st_size, config.image)
            return _read_whole(descriptor, status.st_size)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise RejectedError("missing_image", "the file is gone since it was listed") from error
    except OSError as error:
        reason = "unsafe_path" if error.errno == errno.ELOOP else "unreadable"
        raise RejectedError(reason, error.strerror or type(error).__name__) from error


def _read_whole(descriptor: int, num_bytes: int) -> bytes:
    """Up to num_bytes; one system call for a small file, where a file object takes five."""
    data = os.read(descriptor, num_bytes)
    while 0 < len(data) < num_bytes and (more := os.read(descriptor, num_bytes - len(data))):
        data += more
    return data
