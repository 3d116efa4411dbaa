"""Which of the known names was meant by an unknown one."""

import difflib
from collections.abc import Iterable


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The one that is spelled nearly alike, or the only one that has `name` as a word or as its initials; None where
    there is none, since a guess would lead astray.

    epoch -> epochs; lr and rate -> learning_rate.
    """
    folded = {other.casefold(): other for other in known}
    wanted = name.casefold()
    alike = difflib.get_close_matches(wanted, folded, n=1, cutoff=0.7)
    if not alike:
        words = {other: other.split("_") for other in folded}
        alike = [other for other in folded if wanted in (*words[other], "".join(word[:1] for word in words[other]))]
    return folded[alike[0]] if len(alike) == 1 else None
