"""A record of the source looked at once more by the driver, for a report: one picture, not the data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from farandole.config.data import Data, Image
from farandole.core.record.quality import RejectedError
from farandole.spark.source.digits import digit_loader
from farandole.spark.source.folder import file_loader


def describe_source(data: Data) -> str:
    """Where the records come from, for people."""
    if data.source == "digits":
        return "digits, which come with scikit-learn"
    labels = f", labels in {data.label_table}" if data.label_table else ""
    return f"{data.source} {data.path}{labels}"


def record_loader(data: Data, rules: Image) -> Callable[[str], bytes | np.ndarray] | None:
    """A function from a record's `source` to its file, or its pixels; None of a table, which has no such way.

    The function raises RejectedError where there is nothing to read, or it must not be read.
    """
    if data.source == "digits":
        return lambda source: digit_loader()(source)  # which takes a moment, and none of them is rejected
    if data.source != "folder":
        return None
    load, root = file_loader(data, rules), Path(data.path).resolve()

    def inside(source: str) -> bytes:
        if not (root / source).resolve().is_relative_to(root):  # as a label table may say, which was rejected for it
            raise RejectedError("unsafe_path", "it leads out of data.path")
        return load(source)

    return inside
