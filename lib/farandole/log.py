"""What a job tells its user: short lines on stderr while it works, one error line at the end, stacks in a file."""

import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from rich.console import Console

from farandole.errors import FarandoleError


@cache
def console() -> Console:
    """The terminal, for progress bars; when stderr is no terminal, progress falls back to plain lines.

    Made when first asked for, as rich looks only then at what stderr is: spark-submit starts a job with a pipe, which
    session.own_stderr replaces.
    """
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(message: str) -> None:
    """Plain text on stderr, never styled or wrapped, so that scripts can read it; nothing in it steers a terminal.

    A log on a full disk, or a pipe that nobody reads any more, ends no work.
    """
    with suppress(OSError):
        console().print(_printable(message), markup=False)


def first_few(texts: Sequence[str], most: int) -> str:
    """The first of them, parted by commas, with dots behind where there are more."""
    return ", ".join([*texts[:most], *(["..."] if len(texts) > most else [])])


def on_terminal() -> bool:
    """Whether a person is watching: then progress is a bar, otherwise a plain line every few seconds."""
    return console().is_terminal


def error_line(error: BaseException) -> str:
    """The last line that a failed job prints: `error[CODE]: what is wrong, what was received; what to do`."""
    if isinstance(error, FarandoleError):
        return f"error[{error.exit_code}]: " + " ".join(str(error).split())
    return f"error[1]: {type(error).__name__}: {gist(str(error))}"


def _printable(text: str) -> str:
    """With control characters and half characters, as names and files may hold them, escaped."""
    signs = (sign if sign.isprintable() or sign == "\n" else ascii(sign)[1:-1] for sign in text)
    return text if text.isprintable() else "".join(signs)


def gist(text: str) -> str:
    """One line out of the text of a foreign error: the Python error that a task raised, or else what Java said.

    Spark's text holds the task's whole Python stack and a Java stack; the line below the last indented line of the
    former says what happened.
    """
    lines = text.strip().splitlines() or [""]
    starts = [i for i, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    for line in lines[starts[0] + 1 :] if starts else []:
        if line and not line[0].isspace():
            return line[:500]
    said = [line.lstrip(": ") for line in lines if not line.startswith(("\tat ", "An error occurred while calling"))]
    return (said or lines)[0][:500]


def write_stack(error: BaseException, directory: Path, job: str) -> Path | None:
    """Writes the error's stack to directory/job-DATE.log and returns that path, or None where it cannot be written."""
    path = directory / f"{job}-{time.strftime('%Y%m%d-%H%M%S')}.log"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError:
        return None
    return path
