"""Checkpoints: tensors in safetensors, position and checksum in a JSON beside them, never a pickle.

checkpoints/step-000000123.safetensors      model and optimizer variables, accounting
checkpoints/step-000000123.json             written last: without it, the other file does not count
"""

import json
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from farandole.core.dataset.commit import sync_directory, write_text
from farandole.core.fingerprint import file_sha256
from farandole.errors import DataError, RankError
from farandole.log import say

SHARING_SECONDS = 60.0
"""How long after one host another one may see a file: network file systems remember what a directory holds."""


class Position(BaseModel):
    """Where training stands: all that a resume needs, besides the tensors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    epoch: int = 0
    """The epoch that is being trained, from 0."""
    step: int = 0
    """How many steps of this epoch are done."""
    global_step: int = 0
    """How many optimizer steps are done in all."""
    images: int = 0
    """How many rows were trained in all, over all ranks."""
    wall_seconds: float = 0.0
    """Time spent in training steps, evaluation not counted."""
    wait_seconds: float = 0.0
    """How much of wall_seconds the leader waited for data."""
    checkpoint_seconds: float = 0.0
    """Time spent in writing checkpoints, beside the training."""
    checkpoint_pause_seconds: float = 0.0
    """Time for which training stood still for checkpoints."""
    run_fingerprint: str = ""
    sha256: str = ""
    """The SHA-256 of the safetensors file that belongs to it, in hex digits."""


@dataclass(frozen=True)
class Checkpoint:
    position: Position
    tensors: dict[str, np.ndarray]


def save_checkpoint(directory: Path, position: Position, tensors: dict[str, np.ndarray], keep: int) -> None:
    """Writes one checkpoint and removes all but the newest `keep`. Each file appears whole or not at all."""
    target = directory / f"step-{position.global_step:09d}.safetensors"
    complete = position.model_copy(update={"sha256": save_weights(target, tensors)})
    write_text(target.with_suffix(".json"), json.dumps(complete.model_dump()) + "\n")
    for old in sorted(directory.glob("step-*.json"))[:-keep]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def newest_checkpoint(directory: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None. A torn one is skipped with a warning, not repaired.

    Raises:
        RankError: one cannot be read at all: it may be whole, and ranks that are started again may see it.
    """
    for path in sorted(directory.glob("step-*.json"), reverse=True):
        try:
            return _load(path)
        except (OSError, ValidationError, SafetensorError, DataError, UnicodeDecodeError) as error:
            reason, cause = " ".join(str(error).split()), error.__cause__ or error
            if isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
                raise RankError(
                    f"checkpoint {path} cannot be read: {reason}; where it never can be, remove it"
                ) from error
            say(f"warning: checkpoint {path.with_suffix('.safetensors')} is damaged and skipped: {reason}")
    return None


def await_checkpoint(directory: Path, global_step: int, patience_seconds: float = SHARING_SECONDS) -> Checkpoint:
    """The checkpoint of this step, which another rank has found whole, as soon as it can be read here, too.

    Raises:
        RankError: it could not be read for so long.
    """
    path, deadline = directory / f"step-{global_step:09d}.json", time.monotonic() + patience_seconds
    while True:
        try:
            return _load(path)
        except (OSError, ValidationError, DataError) as error:
            if time.monotonic() > deadline:
                raise RankError(
                    f"{path.with_suffix('.safetensors')} was read by another rank, but not here within "
                    f"{patience_seconds:.0f} s: {' '.join(str(error).split())}; do all hosts share paths.work?"
                ) from error
            time.sleep(0.2)


def remove_left_over(directory: Path, global_step: int) -> None:
    """Removes the damaged checkpoints that a resume at this step has skipped, as they would push good ones out of the
    newest few, and what a writer that was killed has left half written."""
    for path in directory.glob("step-*.*"):
        if path.stem > f"step-{global_step:09d}":
            path.unlink()
    for path in directory.glob(".step-*.partial"):
        path.unlink()


def newest_position(directory: Path) -> Position | None:
    """Where the newest checkpoint stands, from its JSON alone; None where there is none that can be read."""
    for path in sorted(directory.glob("step-*.json"), reverse=True):
        try:
            return Position.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            continue
    return None


def save_weights(path: Path, tensors: dict[str, np.ndarray]) -> str:
    """Writes named arrays by way of a sibling and a rename, synced; returns the SHA-256 of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.touch()
        mode = stat.S_IMODE(partial.stat().st_mode)
        save_file({name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}, partial)
        partial.chmod(mode)  # safetensors lets only the owner read, and models are for others, too
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        sha256 = file_sha256(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    sync_directory(path.parent)
    return sha256


def load_weights(path: Path, sha256: str) -> dict[str, np.ndarray]:
    """Reads weights after comparing the file with its SHA-256.

    Raises:
        DataError: the file is missing, is not what the hash says, or holds no tensors.
    """
    try:
        found = file_sha256(path)
        if found != sha256:
            raise DataError(f"{path} has SHA-256 {found}, expected {sha256}; the file was changed or damaged")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read weights {path}: {error}") from error


def variable_tensors(variables: list[Any], prefix: str) -> dict[str, np.ndarray]:
    """Keras variables as named arrays of their own; names carry the index, since paths need not be unique."""
    # numpy() may show TensorFlow's own memory, in which training goes on while a checkpoint is being written.
    return {f"{prefix}/{i:04d}/{variable.path}": np.array(variable.numpy()) for i, variable in enumerate(variables)}


def assign_variables(variables: list[Any], tensors: dict[str, np.ndarray], prefix: str) -> None:
    """Puts arrays from variable_tensors back.

    Raises:
        DataError: names are missing, too many, or of another shape: the tensors belong to another model or optimizer.
    """
    expected = {f"{prefix}/{i:04d}/{variable.path}": tuple(variable.shape) for i, variable in enumerate(variables)}
    found = {name: tensor.shape for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}
    wrong = [f"{name} {found.get(name, 'missing')}, expected {expected.get(name, 'none')}"
             for name in sorted({*expected, *found}) if found.get(name) != expected.get(name)]  # fmt: skip
    if wrong:
        raise DataError(
            f"the weights belong to another {prefix}; shapes found and expected: {'; '.join(wrong[:10])}"
            + (f"; and {len(wrong) - 10} more" if len(wrong) > 10 else "")
        )
    for name, variable in zip(expected, variables, strict=True):
        variable.assign(tensors[name])


def _load(path: Path) -> Checkpoint:
    position = Position.model_validate_json(path.read_bytes())
    return Checkpoint(position, load_weights(path.with_suffix(".safetensors"), position.sha256))
