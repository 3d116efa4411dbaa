"""Places that a config names: made absolute once, when it is loaded, so that no process can read them otherwise.

A job's ranks and tasks run in directories of their own, where a relative path would mean another place.
"""

import os
import re
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

RUN_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
"""What train.run_name may be; as train.warm_start anything else is a path."""


def absolute(text: str, base: str = "") -> str:
    """A path as the user wrote it -> the absolute one, without a trailing slash; "" stays "".

    ~ is the home directory, ${NAME} an environment variable, file:// a local path.

    Args:
        text: what the config says.
        base: the directory that a relative path stands in; the current one by default.

    Raises:
        PydanticCustomError: of type "location"; a variable or a user is unknown, the scheme of a URL is not served, or
            there is a NUL. Its text follows the name of the key.
    """
    if not text:
        return text
    expanded = re.sub(r"\$\{(\w+)\}", lambda found: _variable(found, text), text)
    if expanded.startswith("~"):
        expanded = os.path.expanduser(expanded)
        if expanded.startswith("~"):
            raise _refusal(f"{text!r}: no home directory is known for it; write ./~NAME for a file of that name")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/", expanded)
    if scheme:
        expanded = _local(expanded, scheme[1], text)
    if "\0" in expanded:
        raise _refusal(f"{text!r} has a NUL in it, which no path can have; remove it")
    return str(Path(base, expanded).absolute())


def run_or_path(text: str) -> str:
    """The name of a run as it is, anything else as an absolute path. Raises as `absolute`."""
    return text if re.fullmatch(RUN_NAME, text) else absolute(text)


Location = Annotated[str, AfterValidator(absolute)]
RunOrPath = Annotated[str, AfterValidator(run_or_path)]


def _variable(found: re.Match[str], text: str) -> str:
    try:
        return os.environ[found[1]]
    except KeyError:
        raise _refusal(f"{text!r} names the environment variable {found[1]}, which is not set; set it") from None


def _local(url: str, scheme: str, text: str) -> str:
    parts = urlsplit(url)
    if scheme.lower() != "file" or parts.netloc not in ("", "localhost"):
        raise _refusal(
            f"{text!r} is a {scheme}: address, and only local and mounted paths are served; "
            f"mount it, or copy the files, and give that path"
        )
    return unquote(url.split(":", 1)[1].removeprefix(f"//{parts.netloc}"))


def _refusal(message: str) -> PydanticCustomError:
    return PydanticCustomError("location", "{said}", {"said": message})
