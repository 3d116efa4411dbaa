"""Versions of a stage: immutable directories STAGE/ID, named by what they were made of, and who still needs them.

A process that reads a version holds a shared lock on its manifest.json, which goes with the process, however it ends. A
version is removed only by who gets that lock alone; so where a file system has no locks, none is removed.
"""

import fcntl
import os
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from farandole.core.dataset.manifest import FILE_NAME, Manifest, read_manifest
from farandole.core.fingerprint import fingerprint
from farandole.errors import ConflictError, DataError


@dataclass(frozen=True)
class Origin:
    """What a version is made of; its manifest says so."""

    config_fingerprint: str
    """Of the config sections that the stage used."""
    parent_fingerprint: str
    """Of what it reads."""
    decode_fingerprint: str = ""
    """Of preprocess: of all that decides the pixels of a picture."""
    source: str = ""
    """Of preprocess: data.path, under which the raw records were found."""

    @property
    def fingerprint(self) -> str:
        """SHA-256, as 64 hex digits, of what decides the content."""
        return fingerprint([self.config_fingerprint, self.parent_fingerprint])

    @property
    def version(self) -> str:
        """The name of the directory."""
        return self.fingerprint[:8]


@dataclass(frozen=True)
class Version:
    """A finished version, which this process holds."""

    directory: Path
    manifest: Manifest

    @property
    def names(self) -> dict[str, str]:
        """By stage, this version and the one that it was made of."""
        parent = {"clean": self.manifest.parent_fingerprint[:8]} if self.directory.parent.name == "balanced" else {}
        return {**parent, self.directory.parent.name: self.directory.name}

    @property
    def parent(self) -> Path:
        """Of balanced/: the directory of the version that it was made of; it may be gone."""
        return self.directory.parent.with_name("clean") / self.names["clean"]

    @property
    def fingerprint(self) -> str:
        """Of its origin: what the next stage takes for its parent."""
        return Origin(self.manifest.config_fingerprint, self.manifest.parent_fingerprint).fingerprint


def list_versions(stage: Path) -> list[Path]:
    """The directories of all finished versions, the newest first.

    Args:
        stage: their parent; it may be missing.
    """
    made = {}
    for path in stage.glob(f"*/{FILE_NAME}"):
        if not path.parent.name.startswith("."):  # being written, or removed
            with suppress(FileNotFoundError):
                made[path.parent] = path.stat().st_mtime_ns
    return sorted(made, key=lambda path: (made[path], path.name), reverse=True)


def read_versions(stage: Path) -> Iterator[tuple[Path, Manifest]]:
    """As `list_versions`, with their manifests; those that cannot be used are passed over."""
    for directory in list_versions(stage):
        with suppress(DataError):
            yield directory, read_manifest(directory)


def is_version(directory: Path) -> bool:
    """Whether it was finished."""
    return (directory / FILE_NAME).exists()


@contextmanager
def hold(directory: Path) -> Iterator[Version]:
    """A version that nobody removes meanwhile.

    Raises:
        ConflictError: it was removed just now.
        DataError: as `read_manifest`.
    """
    path = directory / FILE_NAME
    with _open(path) as file:
        with suppress(OSError):  # without locks nobody removes anything
            fcntl.flock(file.fileno(), fcntl.LOCK_SH)
        with _open(path) as now:
            if not os.path.sameopenfile(file.fileno(), now.fileno()):
                raise _removed(directory)
        yield Version(directory, read_manifest(directory))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise _removed(path.parent) from error


def _removed(directory: Path) -> ConflictError:
    return ConflictError(f"{directory} was removed by another process just now; run again")


def remove_old_versions(stage: Path, keep: int, needed: Collection[str]) -> list[Path]:
    """Removes all but the newest versions, and those that somebody needs.

    Args:
        stage: their parent.
        keep: how many stay, whoever needs them.
        needed: names of others that stay.

    Returns:
        Those that are gone.
    """
    return [path for path in list_versions(stage)[keep:] if path.name not in needed and _remove(path)]


def _remove(directory: Path) -> bool:
    """Unless a process holds it, or it is not ours to remove."""
    aside = directory.with_name(f".{directory.name}.tmp-{uuid.uuid4().hex}")
    try:
        with (directory / FILE_NAME).open("rb+") as file:  # for writing, which file servers ask of a lock of one's own
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            directory.rename(aside)
    except OSError:
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True
