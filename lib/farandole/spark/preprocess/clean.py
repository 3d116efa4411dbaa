"""The preprocess stage: raw records in, a clean data set out, every record kept, quarantined or deduplicated.

1. The listing becomes a Parquet file. Its row group N is part N, so nothing depends on how many executors there are.
2. Task N decodes part N into staging/, and notes what it rejects in staging/rejected.
3. Equal pictures are found by their digests, over a few columns without the images.
4. Spark fits what fills missing values of kept columns on the train split, and interpolates.
5. Tasks decide where the rows of a part go: to a file of a split by the hash of their id, to quarantine, or to
   deduplicated.
6. Task N writes file N of each split. So clean/data does not depend on how the input was cut into files, either.
7. The manifest, last.
"""

import math
import shutil
from collections import Counter
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812 - what every Spark user calls it

from farandole import __version__
from farandole.config.data import Missing
from farandole.config.load import Config
from farandole.core.dataset.commit import new_directory, write_text
from farandole.core.dataset.manifest import FILE_NAME, Fill, Manifest, SplitEntry, Stats
from farandole.core.dataset.sample import Sample
from farandole.core.dataset.schema import SPLITS
from farandole.core.dataset.versions import Origin
from farandole.errors import DataError
from farandole.spark.preprocess.check_splits import check_splits, warn_of_spared
from farandole.spark.preprocess.clean_files import CleanFile, sample_of, write_files
from farandole.spark.preprocess.decode_parts import rows_per_row_group
from farandole.spark.preprocess.duplicates import drop_duplicates
from farandole.spark.preprocess.fill_columns import interpolate
from farandole.spark.preprocess.fit_fills import fit_fills
from farandole.spark.preprocess.place_parts import PartCounts, SplitCounts, groups_of_parts, place_parts
from farandole.spark.preprocess.remarks import warn_of_near_names
from farandole.spark.preprocess.reuse import plan_reuse
from farandole.spark.preprocess.side_inputs import check_types, stats_of
from farandole.spark.preprocess.split_groups import check_groups
from farandole.spark.preprocess.stage_parts import stage_parts
from farandole.spark.preprocess.staged_images import StagedImages
from farandole.spark.preprocess.usable import with_usable_splits, with_used_classes
from farandole.spark.source.listing import LISTING_NAME
from farandole.spark.source.records import Source, prepare
from farandole.spark.source.table.rows import GROUP, ORDER, SIDE
from farandole.spark.tasks import errors_in_one_line, run_tasks, spark_path

MAX_ITEMS_PER_TASK = 16
"""Groups and files."""


def preprocess(spark: SparkSession, config: Config, listing: pa.Table, target: Path, origin: Origin) -> Manifest:
    """Writes a version of clean/ from a listing of `records.list_source`, in one step; returns its manifest.

    The same records give the same bytes in clean/data, for any number of executors and however they are cut into files,
    as long as their ids are the same. Of pictures that are equal after resizing one is kept: of the test split before
    val before the rest, then the one whose file has the smallest hash, then the smallest id. Equal pictures under
    different labels are all rejected.

    Args:
        spark: whose executors see the source and `target` under the same paths as this process.
        config: sections data, image, sample, missing and split are used.
        listing: of the source.
        target: the version's directory; pictures are taken over from those beside it.
        origin: of the version; goes into the manifest.

    Raises:
        DataError: as `check_splits`, before a picture is written.
        ConflictError: another process is writing the same directory.
        ResourceError: the disk is full.
    """
    with new_directory(target) as directory, errors_in_one_line("preprocess"):
        staging = directory / "staging"
        staging.mkdir()
        source = prepare(spark, config.data, config.missing, config.image, listing, staging)
        check_types(config.sample.inputs, source.side_columns)
        warn_of_near_names(source.class_names)
        old = plan_reuse(
            spark, target.parent, config.image, staging, settings=origin.decode_fingerprint, decoders=created_by()
        )
        staged, scale = stage_parts(spark, config.missing, config.split, config.image, source, old, staging)
        source = with_usable_splits(source, staged)
        check_groups(spark, config.split, source, staging)
        splits = drop_duplicates(spark, config.split, source, config.sample.inputs, staging)
        fills = fit_fills(spark, config.missing, splits, source, staging)
        _interpolate_columns(spark, config.missing, source, staging)
        groups = groups_of_parts(source)
        counts = run_tasks(
            spark,
            "preprocess: place rows",
            len(groups),
            lambda group: place_parts(splits, source, fills, config.sample.inputs, directory, group, groups[group]),
            num_tasks=_num_tasks(spark, len(groups)),
        )
        source, counts, labels = with_used_classes(source, counts)
        check_splits(config.split, source, counts)
        warn_of_spared(source, splits, counts)
        sample = sample_of(config.image, config.sample.inputs, source.class_names)
        stats, max_rows = _stats(sample, counts), rows_per_row_group(config.image)
        images = StagedImages(staging)
        files = run_tasks(
            spark,
            "preprocess: write",
            source.num_files,
            lambda number: write_files(sample, max_rows, source, labels, images, directory, len(groups), number),
            num_tasks=_num_tasks(spark, source.num_files),
        )
        manifest = _manifest(sample, stats, source, fills, counts, files, origin, scale)
        (staging / LISTING_NAME).replace(directory / LISTING_NAME)  # for the next run's plan_reuse
        shutil.rmtree(staging)
        write_text(directory / FILE_NAME, manifest.to_json())
    return manifest


def _num_tasks(spark: SparkSession, num_items: int) -> int:
    """Spark tasks: enough that slots end together, few enough that starting them costs little beside small pictures."""
    return max(min(spark.sparkContext.defaultParallelism, num_items), -(-num_items // MAX_ITEMS_PER_TASK))


def _interpolate_columns(spark: SparkSession, missing: Missing, source: Source, staging: Path) -> None:
    """Writes staging/interpolated/COLUMN/part=N for the columns that are interpolated."""
    for index, name in enumerate(source.side_columns):
        rule = missing.columns.get(name)
        if rule is None or rule.policy != "interpolate":
            continue
        rows = spark.read.parquet(spark_path(staging / "parts", is_pattern=True)).select(
            "part",
            "id",
            *(
                F.col(f"`{prefix}{name.replace('`', '``')}`").alias(alias)
                for prefix, alias in ((SIDE, "value"), (ORDER, "order"), (GROUP, "group"))
            ),
        )
        found = interpolate(rows)
        target = spark_path(staging / "interpolated" / str(index))
        found.repartition("part").write.partitionBy("part").parquet(target)


def created_by(scale: str = "") -> str:
    """For the manifest: what decoded the pictures, and on which scale of numbers, where all of them decided that: the
    next run takes none of these over, since more pictures may decide otherwise."""
    decoders = f"farandole {__version__}, pillow {version('pillow')}, simplejpeg {version('simplejpeg')}"
    return f"{decoders}, {scale}" if scale else decoders


def _manifest(
    sample: Sample,
    stats: dict[str, Stats],
    source: Source,
    fills: dict[str, Fill],
    parts: list[PartCounts],
    files: list[dict[str, CleanFile]],
    origin: Origin,
    scale: str,
) -> Manifest:
    quarantine = sum((Counter(part.quarantine) for part in parts), Counter())
    return Manifest(
        stage="preprocess",
        created_by=created_by(scale),
        **asdict(origin),
        sample=sample,
        splits={split: _split_entry(split, _of_split(parts, split), files, source.class_names) for split in SPLITS},
        stats=stats,
        quarantine=dict(sorted(quarantine.items())),
        input_rows=source.input_rows,
        deduplicated_rows=sum(part.num_deduplicated for part in parts),
        side_columns=source.side_columns,
        fills=fills,
    )


def _of_split(parts: list[PartCounts], split: str) -> list[SplitCounts]:
    return [part.splits[split] for part in parts if split in part.splits]


def _split_entry(
    split: str, counts: list[SplitCounts], numbered: list[dict[str, CleanFile]], class_names: list[str]
) -> SplitEntry:
    """Every row that was sent to a file has arrived, as the checksums show."""
    class_counts = np.sum([np.zeros(len(class_names), np.int64), *(part.class_counts for part in counts)], axis=0)
    files = [of_split[split] for of_split in numbered if split in of_split]
    sent, arrived = (sum(part.id_checksum for part in parts) % 2**64 for parts in (counts, files))
    num_rows = sum(file.entry.num_rows for file in files)
    if (num_rows, arrived) != (class_counts.sum(), sent):
        raise DataError(
            f"clean split {split} has {num_rows} rows of id_checksum {arrived:016x}, sent to it were "
            f"{class_counts.sum()} of {sent:016x}: rows were lost between tasks; run preprocess again"
        )
    return SplitEntry(
        num_rows=num_rows,
        class_counts=dict(zip(class_names, class_counts.tolist(), strict=True)),
        id_checksum=f"{sent:016x}",
        files=[file.entry for file in files],
    )


def _stats(sample: Sample, parts: list[PartCounts]) -> dict[str, Stats]:
    """By input; DataError where one has no value."""
    moments = {
        name: {split: [part.numbers[name] for part in _of_split(parts, split)] for split in SPLITS}
        for name in sample.numbers
    }
    height, width, channels = sample.features["image"].shape
    pixels = {"image": _pixel_stats(_of_split(parts, "train"), height * width, channels)}
    return pixels | {name: stats_of(name, splits) for name, splits in moments.items()}


def _pixel_stats(train: list[SplitCounts], pixels_per_image: int, num_channels: int) -> Stats:
    """Mean and standard deviation from exact sums, in integers up to one last division: n * sum(x*x) - sum(x)**2."""
    n = sum(int(part.class_counts.sum()) for part in train) * pixels_per_image
    if n == 0:  # refused by check_splits, which has the numbers
        return Stats(mean=[0.0] * num_channels, std=[0.0] * num_channels)
    sums = [sum(part.sums[channel] for part in train) for channel in range(num_channels)]
    squares = [sum(part.squares[channel] for part in train) for channel in range(num_channels)]
    return Stats(
        mean=[total / n for total in sums],
        std=[math.sqrt(n * square - total * total) / n for total, square in zip(sums, squares, strict=True)],
    )
