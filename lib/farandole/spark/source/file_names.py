"""Which files the names in a label table mean, where they are not spelled as the folder has them."""

import unicodedata
from collections import defaultdict
from collections.abc import Collection
from pathlib import PurePosixPath

_IMAGE_SUFFIXES = frozenset([".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"])


def find_names(names: list[str], files: Collection[str]) -> list[str]:
    """Each name as the folder spells it, or as it is where the folder has no such file.

    A name that is no file's is looked for with slashes in place of backslashes and in any Unicode form, and then as
    that of an image without its extension. One that could mean several files means none.

    Args:
        names: of a table, paths relative to the folder, "" where there is none.
        files: paths relative to the folder.
    """
    known = set(files)
    if all(name in known or not name for name in names):
        return names
    spellings: dict[str, set[str]] = defaultdict(set)
    stems: dict[str, set[str]] = defaultdict(set)
    for file in files:
        spellings[_plain(file)].add(file)
        path = PurePosixPath(file)
        if path.suffix.lower() in _IMAGE_SUFFIXES:
            stems[_plain(str(path.with_suffix("")))].add(file)
    return [name if name in known else _only(spellings, name) or _only(stems, name) or name for name in names]


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", normal_path(name.replace("\\", "/")))


def _only(found: dict[str, set[str]], name: str) -> str | None:
    files = found.get(_plain(name), set())
    return next(iter(files)) if len(files) == 1 else None


def normal_path(name: str) -> str:
    """The path without empty and "." steps, so that it is what `folder.walk` gives and never has "//" in it."""
    steps = "/".join(step for step in name.split("/") if step not in ("", "."))
    return f"/{steps}" if name.startswith("/") else steps
