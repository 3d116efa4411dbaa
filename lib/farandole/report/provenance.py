"""What a run was made from and by: the versions of its data, and the settings that are not the defaults."""

import json
import tomllib
from dataclasses import dataclass
from typing import Any

from farandole.config.load import Config
from farandole.core.dataset.manifest import Manifest

MAX_SETTING_CHARACTERS = 200
"""Of a value; a longer one is cut off, the resolved config has it whole."""


@dataclass(frozen=True)
class Setting:
    """A key of the config that has another value than the default."""

    key: str
    value: str
    default: str
    """Empty: there is no such key any more."""


@dataclass(frozen=True)
class StageVersion:
    """One stage's data set, by what it was made by, from, and what came out."""

    stage: str
    made_by: str
    config_fingerprint: str
    parent_fingerprint: str
    fingerprint: str
    """Of the data set itself, to the last byte; empty where it is not there any more."""


def changed_settings(config_toml: str) -> list[Setting]:
    """The keys of a resolved config whose values are not the defaults, in the order of the config.

    [paths] is left out: where a run lies decides nothing. Nothing is said of what is no TOML.
    """
    defaults = Config().model_dump(exclude={"paths"})
    try:
        tables = tomllib.loads(config_toml)
    except tomllib.TOMLDecodeError:
        return []
    found = []
    for table, keys in tables.items():
        if table == "paths" or not isinstance(keys, dict):
            continue
        for key, value in keys.items():
            known = defaults.get(table, {})
            if key not in known or known[key] != value:
                default = _as_text(known[key]) if key in known else ""
                found.append(Setting(f"{table}.{key}", _as_text(value), default))
    return found


def _as_text(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MAX_SETTING_CHARACTERS else f"{text[:MAX_SETTING_CHARACTERS]}…"


def stage_versions(clean: Manifest | None, balanced: Manifest) -> list[StageVersion]:
    """The versions of the data stages that a run stands on; without clean/, what balanced/ says of it."""
    if clean is None:
        return [StageVersion("preprocess", "", "", "", balanced.parent_fingerprint), _version(balanced)]
    return [_version(clean), _version(balanced)]


def _version(manifest: Manifest) -> StageVersion:
    return StageVersion(
        manifest.stage,
        manifest.created_by,
        manifest.config_fingerprint,
        manifest.parent_fingerprint,
        manifest.fingerprint(),
    )
