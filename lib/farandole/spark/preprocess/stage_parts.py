"""All parts are decoded, those with numbers of an unknown scale once more when that is known."""

from pathlib import Path

from pyspark.sql import SparkSession

from farandole.config.data import Image, Missing, Split
from farandole.core.record.pixel_scale import CHOICES, PixelScale, Seen, decide_scale
from farandole.log import say
from farandole.spark.preprocess.decode_parts import Staged, stage_part
from farandole.spark.preprocess.reuse import OldPictures
from farandole.spark.source.records import Part, Source
from farandole.spark.tasks import run_tasks

DECODE_TASKS_PER_SLOT, MAX_PARTS_PER_TASK = 4, 16
"""Parts take unequal time to decode; more than these are not given to one task."""


def stage_parts(
    spark: SparkSession, missing: Missing, split: Split, rules: Image, source: Source, old: OldPictures, staging: Path
) -> tuple[list[Staged], str]:
    """Decodes all records into staging, as `stage_part` does.

    Returns:
        What is known of each part, and which scale of numbers was decided: empty where none had to be.
    """

    def decode(numbers: list[int], scale: PixelScale) -> list[Staged]:
        wanted = DECODE_TASKS_PER_SLOT * spark.sparkContext.defaultParallelism
        return run_tasks(
            spark,
            "preprocess: decode",
            len(numbers),
            lambda index: stage_part(Part(staging, numbers[index], source), missing, split, rules, old, scale),
            num_tasks=max(min(wanted, len(numbers)), -(-len(numbers) // MAX_PARTS_PER_TASK)),
            failure_mark=staging / "failed",
        )

    staged = decode([*range(source.num_parts)], source.scale)
    if old.files:
        say(f"preprocess: reused {sum(part.num_reused for part in staged)} of {source.input_rows} pictures")
    seen = sum((part.seen for part in staged), Seen())
    decided = decide_scale(seen)
    for kind in CHOICES:
        _say_decision(kind, getattr(decided, kind), seen)
    again = [number for number, part in enumerate(staged) if _differs(part.seen, source.scale, decided)]
    for number, part in zip(again, decode(again, decided), strict=True):
        staged[number] = part
    return staged, ", ".join(f"{kind} to {getattr(decided, kind):g}" for kind in CHOICES if _number_of(kind, seen))


def _differs(seen: Seen, assumed: PixelScale, decided: PixelScale) -> bool:
    return any(getattr(assumed, kind) != getattr(decided, kind) for kind, _ in seen)


def _number_of(kind: str, seen: Seen) -> int:
    return sum(number for (found, _), number in seen.items() if found == kind)


def _say_decision(kind: str, white: float, seen: Seen) -> None:
    total = _number_of(kind, seen)
    above = sum(number for (found, least), number in seen.items() if found == kind and least > white)
    if total:
        called = {"floats": "floats", "integers": "16-bit numbers"}[kind]
        beyond = f"; {above} hold more" if above else ""
        say(
            f"preprocess: {total} pictures are {called}, taken as 0 to {white:g} by what all of them hold{beyond}; "
            f"data.pixel_scale sets another scale"
        )
