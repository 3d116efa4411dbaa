"""What the name of a folder says: a split, a tool that keeps files of its own there, or a class."""

import re
from functools import lru_cache

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What a split may be called, in any case."""

_TOOL_FOLDERS = frozenset(
    {
        "__macosx",  # macOS, in zip archives
        "__pycache__",
        "$recycle.bin",  # Windows
        "system volume information",
        "lost+found",  # Linux
        "cvs",
        "@eadir",  # Synology: a thumbnail of every picture
        "@tmp",
        "#recycle",
        "#snapshot",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "~snapshot",  # NetApp
        "_gsdata_",  # GoodSync
    }
)
"""Lower case. Further ones start with a dot: .git, .thumbnails, .Trash-1000, .ipynb_checkpoints."""

_SPLIT_WORD = re.compile(rf"({'|'.join(sorted(SPLIT_FOLDERS, key=len, reverse=True))})(?:sets?)?")
_PLAIN_WORD = re.compile(r"\d+|sets?|split|data|datasets?|images?|imgs?|photos?|pictures?|pics?|files?|folder")


def is_tool_folder(name: str) -> bool:
    """Whether a program keeps files of its own in folders of this name: thumbnails, versions, what was deleted."""
    return name.startswith(".") or name.casefold() in _TOOL_FOLDERS


@lru_cache(maxsize=1024)  # it is asked for every file
def split_of(name: str) -> str | None:
    """The split that a folder holds by its name, as train, val or test: Train, testing, train2017, val_set,
    TrainImages; None where the name says more than that, or something else."""
    words = _words(name)
    splits = [found[1] for word in words if (found := _SPLIT_WORD.fullmatch(word))]
    others = [word for word in words if not _SPLIT_WORD.fullmatch(word)]
    is_plain = len(splits) == 1 and all(_PLAIN_WORD.fullmatch(word) for word in others)
    return SPLIT_FOLDERS[splits[0]] if is_plain else None


def hints_at_split(name: str) -> bool:
    """Whether a name has the word for a split in it: also seg_train, PublicTest, test_a."""
    return any(_SPLIT_WORD.fullmatch(word) for word in _words(name))


def _words(name: str) -> list[str]:
    """TrainImages_2017 -> train, images, 2017; any other sign is a word, too."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word.casefold() for word in re.findall(r"[^\W\d_]+|\d+|[^\w\s.-]", parted)]
