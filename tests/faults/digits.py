"""Digits on their way through the data stages, for tests that break them off."""

import hashlib
import os
import signal
from pathlib import Path
from typing import Any

from farandole.config.load import Config, parse_config
from farandole.spark.preprocess import clean_files
from farandole.spark.rebalance import move


def digits_config(work: Path, **changed: Any) -> Config:
    """8 x 8 pixels in gray; `changed` are tables of the config."""
    tables = {
        "data": {"source": "digits"},
        "image": {"height": 8, "width": 8, "channels": 1},
        "layout": {"num_files": 2},
    }
    return parse_config({"paths": {"work": str(work)}, **tables, **changed})


def bytes_of(*directories: Path) -> dict[str, str]:
    """SHA-256 of every file below, hidden ones included."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for directory in directories
        for path in directory.rglob("*")
        if path.is_file()
    }


def write_files_and_die(*arguments: Any) -> None:
    """In place of clean_files.write_files."""
    clean_files.write_files(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)


def write_and_die(*arguments: Any) -> None:
    """In place of move.write_from_spill."""
    move.write_from_spill(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)


def write_files_and_stay(*arguments: Any) -> None:
    """In place of clean_files.write_files: tells so through the named pipe in $PIPE, and never returns."""
    clean_files.write_files(*arguments)
    Path(os.environ["PIPE"]).write_text("written")
    signal.pause()
