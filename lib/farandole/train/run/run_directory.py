"""A run on disk: where its files lie, which configuration it belongs to, and whether it is finished.

Needs neither TensorFlow nor Horovod, since the driver asks it before any rank starts.
"""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w

from farandole.config.load import Config
from farandole.config.train import Augment
from farandole.core.dataset.commit import write_text
from farandole.core.dataset.manifest import Manifest
from farandole.core.fingerprint import fingerprint
from farandole.errors import ConfigError, DataError, ResourceError
from farandole.train.run.model_json import read_warm_start

VERSIONS_NAME = "versions.json"
"""Of a run: the names of the versions of clean/ and balanced/ that it was made from."""

# What may change between two starts of one run without changing what it computes, up to the rounding of sums.
_OPERATIONAL = {
    "run_name",
    "num_ranks",
    "min_ranks",
    "executors_wait_seconds",
    "slots_wait_seconds",
    "log_every_steps",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "reader_memory_bytes",
    "hang_seconds",
    "max_restarts",
    "network",
}


def run_settings(config: Config, manifest: Manifest) -> dict[str, Any]:
    """Everything that decides the weights at the end of a run, as plain values.

    Raises:
        ConfigError: train.warm_start names no finished run.
    """
    train = config.train.model_dump(exclude={*_OPERATIONAL, "warm_start"})
    if config.train.warm_start:  # by what it holds, wherever that lies
        train["warm_start"] = read_warm_start(warm_start_model(config.work, config.train.warm_start)).weights_sha256
    model = config.model.model_dump()
    # Absent when nothing is augmented, so that runs from before there was augmentation are still found.
    augment = {"augment": config.augment.model_dump()} if config.augment != Augment() else {}
    return {
        "model": model,
        **augment,
        "train": train,
        "data": {"fingerprint": manifest.fingerprint()},
    }


def warm_start_model(work: Path, warm_start: str) -> Path:
    """The model/ directory of the run that train.warm_start names: a name under runs/, or a path."""
    return work / "runs" / warm_start / "model"  # an absolute path replaces what is before it


class RunDirectory:
    """Paths of one run; making one touches nothing on disk."""

    def __init__(self, config: Config, manifest: Manifest) -> None:
        self.settings = run_settings(config, manifest)
        self.warm_start = warm_start_model(config.work, config.train.warm_start) if config.train.warm_start else None
        self.fingerprint = fingerprint(self.settings)
        self.name = config.train.run_name or f"{config.model.name}-{self.fingerprint[:8]}"
        self._work = config.work
        self._resolved = config.model_dump(exclude_none=True)  # TOML has no null
        self.path = config.work / "runs" / self.name
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"
        self.config = self.path / "config.toml"
        self.history = self.path / "metrics.jsonl"
        self.receipts = self.path / "receipts.jsonl"
        self.metrics = self.path / "metrics.json"
        self.report = self.path / "report.html"
        self.model = self.path / "model"
        self.tensorboard = self.path / "tensorboard"
        self._settings_file = self.path / "settings.json"
        self._versions_file = self.path / VERSIONS_NAME

    def is_finished(self) -> bool:
        """Whether the run is complete under the same settings: metrics.json is written when all but the report is.

        Raises:
            ConfigError: the directory belongs to other settings; says which.
            DataError: it, or a directory in it, is a link that leads out of paths.work.
        """
        check_links(self._work, self.path)
        self._check_settings()
        return self.metrics.exists()

    def prepare(self, versions: dict[str, str]) -> None:
        """Makes the directory, or checks that the one there belongs to the same settings. Raises as is_finished.

        Args:
            versions: of each stage the name of the version that is trained on.
        """
        check_links(self._work, self.path)
        self._check_settings()
        self.logs.mkdir(parents=True, exist_ok=True)
        write_text(self._versions_file, json.dumps(versions) + "\n")
        if not self._settings_file.exists():
            write_text(self.config, tomli_w.dumps(self._resolved))
            write_text(self._settings_file, json.dumps(self.settings, indent=1) + "\n")

    def check_written(self, *, num_epochs: int, wait_seconds: float = 60.0) -> None:
        """Looks for what the leader has written: it does so on its own host, which may see another directory.

        Args:
            num_epochs: whole ones that were trained; for each there is a receipt.
            wait_seconds: for a file server to show here what was written there.

        Raises:
            ResourceError: the model, the checkpoints or the receipts are missing.
        """
        expected = [self.model / "model.json", self.checkpoints, *([self.receipts] if num_epochs else [])]
        deadline = time.monotonic() + wait_seconds
        while missing := [path for path in expected if not path.exists()]:
            if time.monotonic() >= deadline:
                raise ResourceError(
                    f"training ended, but {' and '.join(map(str, missing))} are not there: the leader wrote elsewhere; "
                    f"set paths.work to a directory that the driver and all executors share"
                )
            time.sleep(0.5)

    def _check_settings(self) -> None:
        try:
            found = json.loads(self._settings_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except ValueError as error:
            raise DataError(f"{self._settings_file} is not JSON: {error}; remove {self.path} and run again") from error
        if found != self.settings:
            raise ConfigError(
                f"run {self.path} was made with other settings: {describe_difference(found, self.settings)}; "
                f"choose another train.run_name, or remove that directory"
            )


def versions_of_unfinished(work: Path) -> set[str]:
    """The names of the versions that unfinished runs were made from, and will be read again to finish them."""
    names: set[str] = set()
    for path in work.glob(f"runs/*/{VERSIONS_NAME}"):
        if not (path.parent / "metrics.json").exists():
            with suppress(OSError, ValueError, AttributeError):  # a run that is broken cannot be finished
                names.update(map(str, json.loads(path.read_text(encoding="utf-8")).values()))
    return names


def check_links(work: Path, run: Path) -> None:
    """Refuses a run's directory that leads elsewhere.

    Raises:
        DataError: it, or a directory in it, is a link that leads out of paths.work.
    """
    inside = [path for path in run.iterdir() if path.is_symlink()] if run.is_dir() else []
    for path in (run.parent, run, *inside):
        if not path.resolve().is_relative_to(work.resolve()):
            raise DataError(
                f"{path} is a link to {path.resolve()}, and a run writes nothing outside paths.work; "
                f"remove the link, or set another paths.work"
            )


def describe_difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str:
    """`train.learning_rate 0.001 -> 0.01, ...` for every value that differs between two nested tables."""
    parts = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            nested = describe_difference(before, after, f"{prefix}{key}.")
            parts += [nested] if nested else []
        elif before != after:
            parts.append(f"{prefix}{key} {before!r} -> {after!r}")
    return ", ".join(parts)
