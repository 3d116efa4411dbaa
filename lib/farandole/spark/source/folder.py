"""A folder of images as records, and how to read one of them.

Every file under data.path is a record, hidden ones too: what is no image ends in quarantine, not in silence.
"""

import errno
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from farandole.config.data import Data, Image
from farandole.core.record.quality import RejectedError, check_num_bytes
from farandole.errors import ConfigError, DataError
from farandole.log import first_few
from farandole.spark.source.folder_names import SPLIT_FOLDERS, hints_at_split, is_tool_folder, split_of
from farandole.spark.source.listing import escape_name, list_row, make_listing


def list_folder(data: Data) -> pa.Table:
    """Lists data.path without reading an image.

    When every folder directly under it has the name of a split (folder_names.split_of), files are SPLIT/CLASS/FILE,
    else CLASS/FILE. Deeper folders belong to their class. What lies at any depth in a folder of a tool
    (folder_names.is_tool_folder) has no class.

    Returns:
        A table of schema LISTING.

    Raises:
        ConfigError: data.path does not exist.
        DataError: it is no directory, has no files, has no class folders or one around all of them, has a folder that
            is a symbolic link or cannot be listed, or mixes split folders with others.
    """
    root = Path(data.path)
    check_folder(root)
    entries = list(walk(root))
    if not entries:
        raise DataError(f"data.path {str(root)!r} holds no files; expected SPLIT/CLASS/FILE or CLASS/FILE")
    paths = [path for path, _ in entries]
    has_splits = _has_splits(root, paths)
    if not has_splits:
        _refuse_one_folder(root, paths)
    rows = [_describe(path, status, has_splits) for path, status in entries]
    if all(row["class_name"] is None for row in rows):
        raise DataError(
            f"data.path {str(root)!r} holds {len(rows)} files but no class folders; "
            f"expected SPLIT/CLASS/FILE or CLASS/FILE"
        )
    return make_listing(rows)


def file_loader(data: Data, rules: Image) -> Callable[[str], bytes]:
    """A function from a record's `source` to the bytes of its file.

    The function raises RejectedError: missing_image, too_large, unsafe_path or unreadable.
    """
    return lambda source: _read_file(f"{data.path}/{source}", rules)


def check_folder(root: Path) -> None:
    """Refuses a data.path that is no folder.

    Raises:
        ConfigError: as `check_there`.
        DataError: it is something else.
    """
    check_there(root, "the images")
    if not root.is_dir():
        raise DataError(f"data.path {str(root)!r} is not a directory; give the folder that holds the images")


def check_there(root: Path, what: str) -> None:
    """Refuses a data.path that is not there; `what` it should hold.

    Raises:
        ConfigError: it does not exist, or a folder on the way is closed.
    """
    try:
        root.stat()
    except OSError as error:
        is_gone = isinstance(error, FileNotFoundError | NotADirectoryError)
        why = "does not exist" if is_gone else f"cannot be reached: {error.strerror}"
        raise ConfigError(f"data.path {str(root)!r} {why}; give the folder that holds {what}") from error


def walk(root: Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """Every file below root as its path relative to root, and its status; None for one that has just vanished.

    Raises:
        DataError: a folder is a symbolic link, cannot be listed, or does not tell of its files. In a tool's folder that
            is passed over.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        is_tools = any(is_tool_folder(name) for name in folder.split("/")[:-1])
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            if is_tools:  # lost+found is root's alone
                continue
            raise DataError(f"cannot list folder {escape_name(str(root / folder))!r}: {error.strerror}") from error
        for entry in entries:
            path = f"{folder}{entry.name}"
            if entry.is_symlink() and os.path.isdir(entry.path):  # entry.is_dir() raises where links go in circles
                if is_tools or is_tool_folder(entry.name):
                    continue
                raise DataError(
                    f"folder {escape_name(entry.path)!r} is a symbolic link; its files would be missed or read from "
                    f"outside data.path; replace it by the folder itself, or remove it"
                )
            if entry.is_dir(follow_symlinks=False):
                pending.append(f"{path}/")
            else:
                yield path, _status(entry, is_tools)


def _status(entry: os.DirEntry[str], is_tools: bool) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except OSError as error:
        if is_tools or isinstance(error, FileNotFoundError):
            return None
        raise DataError(
            f"cannot look at {escape_name(entry.path)!r}: {error.strerror}; check the permissions of its folder"
        ) from error


def _has_splits(root: Path, paths: list[str]) -> bool:
    """Whether the first folder is the split; refuses the mixture in which every label would be a split's name."""
    parts = [path.split("/") for path in paths]
    parts = [names for names in parts if len(names) > 1 and not is_tool_folder(names[0])]
    folders = {names[0] for names in parts}
    splits = {name for name in folders if split_of(name)}
    if splits and splits == folders:
        return True
    # A class may well be called "train", or "crash test"; but then it holds files rather than folders.
    direct = Counter(names[0] for names in parts if len(names) == 2)
    deeper = Counter(names[0] for names in parts if len(names) > 2)
    hinting = {name for name in folders if hints_at_split(name) and deeper[name] > direct[name]}
    if len(hinting) > 1 or hinting & splits:
        others = [escape_name(name) for name in sorted(folders - hinting)][:5]
        raise DataError(
            f"data.path {str(root)!r} has the split folders {[escape_name(name) for name in sorted(hinting)][:5]}"
            f"{f' beside {others}, which are none' if others else ''}; expected only "
            f"{', '.join(sorted(SPLIT_FOLDERS))} there: rename them, and move the others out"
        )
    return False


def _refuse_one_folder(root: Path, paths: list[str]) -> None:
    """Refuses the folder around a data set, as archives have it: it would be the only class."""
    parts = [path.split("/") for path in paths]
    parts = [names for names in parts if len(names) > 1 and not is_tool_folder(names[0])]
    inside = {names[1] for names in parts if len(names) > 2 and not is_tool_folder(names[1])}
    if len({names[0] for names in parts}) == 1 and len(inside) > 1:
        name, found = escape_name(parts[0][0]), first_few([repr(escape_name(name)) for name in sorted(inside)], 5)
        raise DataError(
            f"data.path {str(root)!r} holds one folder, {name!r}, which would be the only class; in it are "
            f"{found}: give data.path = {str(root / name)!r}"
        )


def _describe(path: str, status: os.stat_result | None, has_splits: bool) -> dict[str, Any]:
    folders = path.split("/")[:-1]
    tools = [name for name in folders if is_tool_folder(name)]
    split = split_of(folders[0]) if has_splits and folders and folders[0] not in tools else None
    classes = folders[1:] if has_splits else folders
    class_name = classes[0] if classes and not tools and escape_name(classes[0]) == classes[0] else None
    no_class = f"in a tool's folder, {escape_name(tools[0])!r}" if tools else "not in a class folder"
    rejection = reject_file(path, status) or (None if class_name else ("missing_label", no_class))
    return list_row(escape_name(path), split=split, class_name=class_name, status=status, rejection=rejection)


def reject_file(path: str, status: os.stat_result | None) -> tuple[str, str] | None:
    """Reason and detail for what `walk` found, where its name or its kind is enough to reject it."""
    if status and stat.S_ISLNK(status.st_mode):
        return "unsafe_path", "a symbolic link"
    if escape_name(path) != path:
        return "unsafe_path", "its name is no UTF-8"
    if status and not stat.S_ISREG(status.st_mode):
        return "unreadable", "not a regular file"
    return None


def _read_file(path: str, rules: Image) -> bytes:
    try:
        # The folder may have changed since it was listed: no symbolic link is followed, no pipe is waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise RejectedError("unreadable", "not a regular file")
            check_num_bytes(status.st_size, rules)
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
