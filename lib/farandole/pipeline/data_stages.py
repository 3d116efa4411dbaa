"""The order of the data stages, as make would see it: a stage runs when its output is missing or stale, else not.

Stale means that the fingerprint of the config sections it uses, or of its input, is not the one in its manifest; time
stamps play no part. Spark is started only when a stage has to run.
"""

from collections.abc import Callable
from pathlib import Path

from pyspark.sql import SparkSession

from farandole.config.data import Data
from farandole.config.jobs import Pipeline
from farandole.config.load import Config
from farandole.core.dataset.manifest import FILE_NAME, Manifest, read_manifest
from farandole.core.fingerprint import fingerprint
from farandole.core.record.image import RULES_VERSION
from farandole.errors import ConfigError
from farandole.log import say
from farandole.pipeline.clean_summary import check_quarantine, say_clean
from farandole.spark.preprocess.clean import preprocess
from farandole.spark.rebalance.rebalance import rebalance
from farandole.spark.source.records import list_source, source_fingerprint

Session = Callable[[], SparkSession]
"""Starts the Spark session, or gives the one that runs already."""


def ensure_clean(session: Session, config: Config, *, asked: bool = False) -> Manifest:
    """The manifest of clean/, after running preprocess if it is missing or stale.

    Args:
        session: called only when there is work to do.
        config: the pipeline.
        asked: the user asked for this very stage, so pipeline.run_missing_stages does not matter.

    Raises:
        ConfigError: the stage would have to run, and pipeline.run_missing_stages is false.
        DataError: the input, or what lies in clean/, is bad, or too much of it is quarantined.
    """
    _make_work(config.work)
    _keep_source_apart(config.data, config.work)
    listing = list_source(config.data, config.missing)
    sections = {"data", "image", "missing", "split"}
    settings = fingerprint(config.model_dump(include=sections, exclude={"data": {"max_quarantine_fraction"}}))
    own = fingerprint([settings, RULES_VERSION])
    parent = source_fingerprint(config.data, listing)
    reason = _why_stale(config.work / "clean", own, parent, "the input")
    if reason is None:
        say("preprocess: up to date")
        manifest = read_manifest(config.work / "clean")
    else:
        announce("preprocess", reason, config.pipeline, asked)
        manifest = preprocess(session(), config, listing, config_fingerprint=own, parent_fingerprint=parent)
        say_clean(manifest, config.work / "clean")
    check_quarantine(config.data.max_quarantine_fraction, manifest, config.work / "clean")
    return manifest


def ensure_balanced(session: Session, config: Config, *, asked: bool = False) -> Manifest:
    """The manifest of balanced/, after running the stages that are missing or stale.

    Raises:
        ConfigError: a stage would have to run, and pipeline.run_missing_stages is false.
        DataError: the input, or what lies in clean/ or balanced/, is bad.
    """
    clean = ensure_clean(session, config)
    own = fingerprint(config.model_dump(include={"balance", "layout"}))
    reason = _why_stale(config.work / "balanced", own, clean.fingerprint(), "clean/")
    if reason is None:
        say("rebalance: up to date")
        return read_manifest(config.work / "balanced")
    announce("rebalance", reason, config.pipeline, asked)
    manifest = rebalance(session(), config, clean, config_fingerprint=own)
    sizes = {name: (split.num_rows, len(split.files)) for name, split in manifest.splits.items()}
    say("rebalance: " + ", ".join(f"{name} {rows} rows in {files} files" for name, (rows, files) in sizes.items()))
    return manifest


def _make_work(work: Path) -> None:
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"paths.work {str(work)!r} cannot be made: {error.strerror}; choose a directory that can be written"
        ) from None  # no stack could be written there


def _keep_source_apart(data: Data, work: Path) -> None:
    """What a stage writes replaces what was there, so the source must be elsewhere."""
    for key in ("path", "label_table"):
        given = getattr(data, key)
        source = Path(data.path, given).resolve()
        for output in (work / "clean", work / "balanced"):
            if given and (source == output.resolve() or output.resolve() in source.parents):
                raise ConfigError(
                    f"data.{key} {given!r} lies in {output}, which is written anew; choose another paths.work"
                )


def _why_stale(directory: Path, own: str, parent: str, input_name: str) -> str | None:
    """None when the directory holds what would be computed, else why it does not."""
    if not (directory / FILE_NAME).exists():
        return f"{directory} does not exist" if not directory.exists() else f"{directory} has no manifest"
    manifest = read_manifest(directory)
    if manifest.config_fingerprint != own:
        return "its configuration changed"
    if manifest.parent_fingerprint != parent:
        return f"{input_name} changed"
    return None


def announce(stage: str, reason: str, pipeline: Pipeline, asked: bool) -> None:
    """Says that a stage runs, and why.

    Raises:
        ConfigError: nobody asked for it, and pipeline.run_missing_stages is false.
    """
    if not asked and not pipeline.run_missing_stages:
        raise ConfigError(
            f"{stage} has to run first, because {reason}, and pipeline.run_missing_stages is false; "
            f"run spark-submit jobs/{stage}.py with the same --config and --set"
        )
    say(f"{stage}: running, because {reason}")
