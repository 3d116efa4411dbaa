"""What preprocess says of its input besides counts: why records are rejected, and which classes and splits look odd."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

from farandole.log import first_few, say

Example = tuple[str, str]
"""The id of a rejected record, and the detail."""
MAX_NAMED = 5
"""Classes that one line names."""

REMEDIES = {
    "missing_image": "put the files there, or mend the paths",
    "missing_label": "put them into a folder per class, or label them",
    "missing_value": "fill it by missing.columns",
    "unknown_label": "number classes from 0 on, or name them",
    "conflicting_label": "decide for one of the labels",
    "unsafe_path": "put the files themselves there, under plain names: cp -RL follows links, where this does not",
    "unreadable": "check permissions, and that they are files",
    "not_an_image": "check that these are encoded images, such as JPEG or PNG; raw pixels need data.pixel_shape",
    "undecodable": "replace them, or set data.pixel_scale where they are numbers on another scale",
    "truncated": "copy them again",
    "too_large": "raise image.max_pixels or image.max_file_bytes",
    "too_small": "lower image.min_side_pixels",
    "blank": "set image.reject_blank = false to keep them",
    "wrong_channels": "pixels are [height, width, channels], channels last",
    "nan_pixels": "set missing.pixels",
}
"""What to do about each of schema.REASONS."""


def explain(quarantine: Mapping[str, int], examples: Mapping[str, Example]) -> str:
    """How many records were rejected for which reason, the most frequent first, what was found in one of them where
    that is known, and what to do about it."""
    by_count = sorted(quarantine.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number} {reason} ({_found(reason, examples)}{REMEDIES[reason]})" for reason, number in by_count)


def _found(reason: str, examples: Mapping[str, Example]) -> str:
    record_id, detail = examples.get(reason, ("", ""))
    return f"such as {record_id!r}, {detail}; " if detail else ""


def near_names(class_names: Iterable[str]) -> list[list[str]]:
    """Classes whose names differ only in case, blanks, underscores, hyphens or Unicode form, in groups."""
    groups = defaultdict(list)
    for name in sorted(class_names):
        folded = unicodedata.normalize("NFKC", name).casefold().strip()
        groups[re.sub(r"(?<=\w)[\s_-]+(?=\w)", " ", folded)].append(name)
    return [group for group in groups.values() if len(group) > 1]


def warn_of_near_names(class_names: Iterable[str]) -> None:
    """One line about classes that may be one."""
    groups = near_names(class_names)
    if groups:
        named = first_few([" and ".join(map(repr, group)) for group in groups], MAX_NAMED)
        say(
            f"preprocess: warning: {len(groups)} classes have several names that nearly agree: {named}; "
            f"give them one name if they are one"
        )


def warn_of_unused(class_names: Iterable[str]) -> None:
    """One line about names that are no classes, as no image of them is kept."""
    names = [repr(name) for name in class_names]
    if names:
        say(f"preprocess: warning: {first_few(names, MAX_NAMED)}: no usable image, hence no class")
