"""What a job says of clean/, and what it refuses, by the counts in the manifest."""

from pathlib import Path

from farandole.core.dataset.manifest import Manifest
from farandole.core.metrics.classification import FEW_ROWS
from farandole.errors import DataError
from farandole.log import first_few, say
from farandole.spark.preprocess.remarks import MAX_NAMED, explain


def say_clean(manifest: Manifest, directory: Path) -> None:
    """Where all records went, and a warning of classes with few test rows.

    Args:
        manifest: of clean/.
        directory: clean/.
    """
    kept = sum(split.num_rows for split in manifest.splits.values())
    rejected = ", ".join(f"{count} {name}" for name, count in sorted(manifest.quarantine.items())) or "none"
    say(
        f"preprocess: {manifest.input_rows} records = {kept} kept + {sum(manifest.quarantine.values())} quarantined "
        f"({rejected}) + {manifest.deduplicated_rows} deduplicated, in {directory}"
    )
    test = manifest.splits["test"].class_counts
    few = sorted((count, name) for name, count in test.items() if count < FEW_ROWS)
    if few and sum(test.values()):
        named = first_few([f"{name!r} {count}" for count, name in few], MAX_NAMED)
        say(
            f"preprocess: warning: {len(few)} of {len(test)} classes have fewer than {FEW_ROWS} test rows, "
            f"so their figures say little: {named}"
        )


def warn_of_stale(manifest: Manifest, directory: Path, num_touched: int = 0) -> None:
    """What may have changed since without a change of the listing, by which a version is found.

    Args:
        manifest: of clean/.
        directory: clean/.
        num_touched: files of the source that have another time of change than they had.
    """
    remedy = f"remove {directory}, and the next job makes it anew"
    unreadable = manifest.quarantine.get("unreadable", 0)
    if unreadable:
        say(f"preprocess: warning: {unreadable} files could not be read for it; once they can be, {remedy}")
    if num_touched:
        say(
            f"preprocess: warning: {num_touched} files were written to since, and are as long as before: if they hold "
            f"other pictures now, {remedy}"
        )


def check_quarantine(max_fraction: float, manifest: Manifest, directory: Path) -> None:
    """Refuses to go on with a data set of which too much was rejected.

    Args:
        max_fraction: of the records.
        manifest: of clean/.
        directory: clean/.

    Raises:
        DataError: names the reasons.
    """
    rejected = sum(manifest.quarantine.values())
    if rejected > max_fraction * manifest.input_rows:
        raise DataError(
            f"{rejected} of {manifest.input_rows} records are quarantined, more than "
            f"data.max_quarantine_fraction = {max_fraction} allows: {explain(manifest.quarantine, {})}; "
            f"they are listed in {directory / 'quarantine'}"
        )
