"""The order of the data stages, as make would see it: a stage runs when the version that it would write is not there.

A version is named by the settings of its stage and by what the stage reads; time stamps play no part. Spark is started
only when a stage has to run.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pyspark.sql import SparkSession

from farandole.config.data import Data
from farandole.config.jobs import Pipeline
from farandole.config.load import Config
from farandole.core.dataset.versions import Origin, Version, hold, is_version, read_versions, remove_old_versions
from farandole.errors import ConfigError
from farandole.log import say
from farandole.pipeline.clean_summary import check_quarantine, say_clean, warn_of_stale
from farandole.pipeline.origins import balanced_settings, clean_settings, decode_settings
from farandole.spark.preprocess.clean import preprocess
from farandole.spark.rebalance.rebalance import rebalance
from farandole.spark.source.listing import num_touched
from farandole.spark.source.records import list_source, source_fingerprint
from farandole.spark.stage_progress import told
from farandole.train.run.run_directory import versions_of_unfinished

Session = Callable[[], SparkSession]
"""Starts the Spark session, or gives the one that runs already."""


@contextmanager
def ensure_clean(session: Session, config: Config, *, asked: bool = False) -> Iterator[Version]:
    """The version of clean/ that the config makes, after running preprocess if it is not there; held while it is used.

    Args:
        session: called only when there is work to do.
        config: the pipeline.
        asked: the user asked for this very stage, so pipeline.run_missing_stages does not matter, nor does an older
            version where there is no source.

    Raises:
        ConfigError: the stage would have to run, and pipeline.run_missing_stages is false; or the source is not there.
        DataError: the input, or what lies in clean/, is bad, or too much of it is quarantined.
    """
    _make_work(config.work)
    _keep_source_apart(config.data, config.work)
    settings = clean_settings(config.data, config.image, config.sample, config.missing, config.split)
    check = config.pipeline.check_source
    unchecked = _unchecked(config.work / "clean", config.data, settings, check=check) if not (check and asked) else None
    directory, touched = (unchecked, 0) if unchecked else _make_clean(session, config, settings, asked)
    with hold(directory) as version:
        is_there = version.manifest.source == config.data.path  # copies often have times of their own
        warn_of_stale(version.manifest, directory, touched if is_there else 0)
        check_quarantine(config.data.max_quarantine_fraction, version.manifest, directory)
        yield version


@contextmanager
def ensure_balanced(session: Session, config: Config, *, asked: bool = False) -> Iterator[Version]:
    """The version of balanced/ that the config makes, after running the stages whose versions are not there; held while
    it is used.

    Raises:
        ConfigError: a stage would have to run, and pipeline.run_missing_stages is false.
        DataError: the input, or what lies in clean/ or balanced/, is bad.
    """
    with ensure_clean(session, config) as clean:
        origin, stage = (
            Origin(balanced_settings(config.balance, config.layout), clean.fingerprint),
            config.work / "balanced",
        )
        directory = stage / origin.version
        if is_version(directory):
            say(f"rebalance: up to date, {directory}")
        else:
            announce("rebalance", _why(stage, origin, "clean/"), config.pipeline, asked)
            with told(session(), "rebalance"):
                manifest = rebalance(session(), config.balance, config.layout, clean, directory, origin)
            sizes = [
                f"{name} {split.num_rows} rows in {len(split.files)} files" for name, split in manifest.splits.items()
            ]
            say(f"rebalance: {', '.join(sizes)}, in {directory}")
            _remove_old(directory, config.work, config.pipeline.keep_versions)
        with hold(directory) as version:
            yield version


def _make_clean(session: Session, config: Config, settings: str, asked: bool) -> tuple[Path, int]:
    """The directory of the version, after running preprocess if it is not there; and what `num_touched` says of it."""
    listing, stage = list_source(config.data, config.missing), config.work / "clean"
    parent = source_fingerprint(config.data, listing)
    origin = Origin(settings, parent, decode_settings(config.data, config.image, config.missing), config.data.path)
    directory = stage / origin.version
    if is_version(directory):
        say(f"preprocess: up to date, {directory}")
        return directory, num_touched(directory, listing)
    announce("preprocess", _why(stage, origin, "the input"), config.pipeline, asked)
    with told(session(), "preprocess"):
        manifest = preprocess(session(), config, listing, directory, origin)
    say_clean(manifest, directory)
    _remove_old(directory, config.work, config.pipeline.keep_versions)
    return directory, 0


def _unchecked(stage: Path, data: Data, settings: str, *, check: bool) -> Path | None:
    """The version that is taken without a look at the source: as pipeline.check_source says, or because there is none.

    Raises:
        ConfigError: there is none, and the versions of these settings were made from another place.
    """
    if check and _is_there(data):
        return None
    made = [(path, entry.source) for path, entry in read_versions(stage) if entry.config_fingerprint == settings]
    fitting = [directory for directory, source in made if source == data.path or not check]
    if fitting:
        why = "it is not there" if check else "pipeline.check_source is false"
        say(f"preprocess: {fitting[0]} is used without a look at data.path {data.path!r}, because {why}")
        return fitting[0]
    if made:
        raise ConfigError(
            f"data.path {data.path!r} does not exist; {made[0][0]} was made with the same settings from "
            f"{made[0][1]!r}: set pipeline.check_source=false to use it"
        )
    return None


def _is_there(data: Data) -> bool:
    """An empty folder is what is left of a file system that is not mounted."""
    path = Path(data.path)
    try:
        return data.source == "digits" or path.is_file() or (path.is_dir() and any(path.iterdir()))
    except OSError:  # it may be: what is in the way is said when it is listed
        return True


def _why(stage: Path, origin: Origin, input_name: str) -> str:
    """There is no version of this origin."""
    settings = {manifest.config_fingerprint for _, manifest in read_versions(stage)}
    if not settings:
        return f"{stage} has no version yet"
    return f"{input_name} changed" if origin.config_fingerprint in settings else "its configuration changed"


def _remove_old(made: Path, work: Path, keep: int) -> None:
    """Never the one that was just made: where the clock was set back, it is not the newest by its date."""
    for directory in remove_old_versions(made.parent, keep, {made.name, *versions_of_unfinished(work)}):
        say(f"removed {directory}, since pipeline.keep_versions = {keep}")


def _make_work(work: Path) -> None:
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"paths.work {str(work)!r} cannot be made: {error.strerror}; choose a directory that can be written"
        ) from None  # no stack could be written there


def _keep_source_apart(data: Data, work: Path) -> None:
    """What a stage writes must not be read as its input, so the source must be elsewhere."""
    for key in ("path", "label_table"):
        given = getattr(data, key)
        source = Path(data.path, given).resolve()
        for output in (work / "clean", work / "balanced"):
            if given and (source == output.resolve() or output.resolve() in source.parents):
                raise ConfigError(
                    f"data.{key} {given!r} lies in {output}, where versions are removed; choose another paths.work"
                )


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
