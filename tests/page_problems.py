"""What a page of README or docs names that is not there: links, files, config keys, flags, variables, modules.

Fenced blocks say by their info string what they are: `sh` runs here, and `sh cluster`, say, needs what is not here.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from farandole.config.load import Config, parse_config
from farandole.errors import ConfigError

ROOT = Path(__file__).parents[1]
ELSEWHERE = {"sh cluster", "sh docker", "sh root", "sh slow"}
"""Commands that do not run here: they need a cluster, Docker, root, or minutes to hours."""
KINDS = {"sh", "toml", "text", "python", "python duckdb", *ELSEWHERE}
FILE_ENDINGS = r"py|toml|md|conf|json|jsonl|html|parquet|safetensors|csv|log|png|svg|yaml"
NO_FILES = {"labels.csv", "spark-defaults.conf", "date=2026-01-31/source=web/", "../farandole.zip"}
NO_FILES |= {"images/s", "10.0.0.0/8"}
"""What looks like a file of ours, but is the reader's, or Spark's, or none."""
MADE_ELSEWHERE = r"(runs/RUN/)?evaluation/.*"
"""What evaluate writes; tests/jobs runs it."""
NO_KEYS = {"model.fit"}
"""Keras', that is."""


class Block(NamedTuple):
    """A fenced block."""

    file: str
    line: int
    kind: str
    text: str


def read_blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(path.name, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in found]


def problems(path: Path, text: str, clone: Path) -> list[str]:
    """What a page names that is not there. `clone` is where the commands ran."""
    return [
        *_blocks(text),
        *_links(path, text),
        *_keys(text),
        *_verbs(text),
        *_flags(text),
        *_variables(text),
        *_modules(text),
        *_files(path, text, clone),
    ]


def _blocks(text: str) -> Iterator[str]:
    kinds = re.findall(r"^```([^\n]*)\n.*?^```$", text, re.MULTILINE | re.DOTALL)
    yield from (f"a block is {kind!r}; known are {', '.join(sorted(KINDS))}" for kind in kinds if kind not in KINDS)
    if re.search(r"\n\n    \S", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)):
        yield "a block is indented; fence it, so that it is checked"
    for kind, body in re.findall(r"^```([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if kind == "toml":
            try:
                parse_config(tomllib.loads(body))
            except (ConfigError, tomllib.TOMLDecodeError) as error:
                yield f"a toml block is refused: {error}"


def _links(path: Path, text: str) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        file, _, anchor = target.partition("#")
        page = path.parent / file if file else path
        if re.match(r"https://", target):
            continue
        if not page.exists():
            yield f"the link {target} leads nowhere"
        elif anchor and anchor not in anchors(text if page == path else page.read_text(encoding="utf-8")):
            yield f"the link {target} names no heading"


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code(text: str) -> list[str]:
    """Inline code, and commands."""
    shell = re.findall(r"^```sh[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [*shell, *spans(text)]


def spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


def _keys(text: str) -> Iterator[str]:
    sections = "|".join(Config.model_fields)
    for snippet in code(text):
        for section in re.findall(r"^\[([a-z_]+)\]$", snippet):
            if section not in Config.model_fields:
                yield f"there is no config section [{section}]"
        value = r"(?:\s*=\s*(\"[^\"]*\"|[^\s`'\"]+))?"
        for section, key, given in re.findall(rf"(?<![\w./])({sections})\.([a-z_]+)\b(?!\.py){value}", snippet):
            if not re.fullmatch(FILE_ENDINGS, key) and f"{section}.{key}" not in NO_KEYS:
                yield from _key(section, key, given)


def _key(section: str, key: str, given: str) -> Iterator[str]:
    table: Any = Config.model_fields[section].annotation
    field = table.model_fields.get(key)
    if field is None:
        yield f"there is no config key {section}.{key}"
    elif given and given != "DIR":
        try:
            value = tomllib.loads(f"value = {given}")["value"]
        except tomllib.TOMLDecodeError:
            value = given  # a bare word
        try:
            parse_config({section: {key: value}})
        except ConfigError as error:  # but one that lacks other keys beside this one is no matter
            if f"{section}.{key}: " in str(error):
                yield str(error)


def _verbs(text: str) -> Iterator[str]:
    verbs = re.findall(r"^\./do (\w+)", (ROOT / "do").read_text(encoding="utf-8"), re.MULTILINE)
    for snippet in code(text):
        for verb, name in re.findall(r"\./do ([a-z]+)(?: ([a-z]+))?", snippet):
            if verb not in verbs:
                yield f"./do has no verb {verb}"
            elif verb == "bench" and name and not (ROOT / "bench" / f"{name}.py").exists():
                yield f"there is no bench {name}"


@cache
def known_flags() -> frozenset[str]:
    spark = subprocess.run(
        [Path(sys.executable).parent / "spark-submit", "--help"], capture_output=True, text=True, timeout=60
    )
    sources = [path.read_text(encoding="utf-8") for name in ("lib", "bench") for path in ROOT.glob(f"{name}/**/*.py")]
    # Of ours only what argparse is given; Spark's are those that its help lists.
    ours = re.findall(r'add_argument\(\s*"(--[a-z-]+)"', "\n".join(sources))
    return frozenset([*ours, *re.findall(r"--[a-z-]+", spark.stderr + spark.stdout), "--help"])


def _flags(text: str) -> Iterator[str]:
    docker = re.findall(r"^```sh docker\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for snippet in code(text):
        for flag in re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", snippet):
            if snippet not in docker and flag not in known_flags():
                yield f"no command has the flag {flag}"


def _variables(text: str) -> Iterator[str]:
    for snippet in code(text):
        for name in re.findall(r"(?<![\w{-])([A-Z][A-Z0-9]*_[A-Z0-9_]+)\b", snippet):
            if not re.search(rf"\b{name}\b", our_text()):
                yield f"nothing reads the environment variable {name}"


@cache
def our_text() -> str:
    folders = [path for name in ("lib", "conf", "docker", "bench") for path in ROOT.glob(f"{name}/**/*")]
    files = [path for path in folders if path.is_file() and path.suffix not in (".pyc", ".svg")]
    return "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "do", *files])


def _modules(text: str) -> Iterator[str]:
    for snippet in code(text):
        for name in re.findall(r"(?<![\w./-])(farandole(?:\.[a-z_]+)+)", snippet):
            path = ROOT / "lib" / name.replace(".", "/")
            if not re.search(rf"\.({FILE_ENDINGS})$", name) and not any(
                where.with_suffix(".py").exists() or where.is_dir() for where in (path, path.parent)
            ):
                yield f"there is no module {name}"


def _files(path: Path, text: str, clone: Path) -> Iterator[str]:
    trees = re.findall(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    words = [word for snippet in [*code(text), *trees] for word in re.split(r"[\s\"'`()]+", snippet)]
    for name in dict.fromkeys(re.sub(r"^[\w.]+\.\w+=", "", word).rstrip(",.;") for word in words):
        if not re.fullmatch(rf"[\w.=*-]+(/[\w.=*-]+)*/|[\w.=*-]+(/[\w.=*-]+)+|[\w*-]+\.({FILE_ENDINGS})", name):
            continue
        placeholder = re.search(r"(^|/)(?!RUN/|ID/)[A-Z]+(/|\.|$)", name) or re.fullmatch(MADE_ELSEWHERE, name)
        if name not in NO_FILES and not placeholder and not _exists(name, path, clone):
            yield f"there is no file {name}"


def _exists(name: str, path: Path, clone: Path) -> bool:
    """Whether it is in the repository, or in a work directory that the commands made."""
    pattern = re.sub(r"\b(RUN|ID)\b", "*", name.rstrip("/")).removeprefix("./")
    works = (clone / "work" / "digits", clone / "data" / "work")
    near = [path.parent, ROOT, ROOT / "lib" / "farandole", clone, *works]
    deep = [*works, *(ROOT / folder for folder in ("jobs", "lib", "conf", "bench", "docs", "docker"))]
    return any(next(folder.glob(pattern), None) for folder in near) or any(
        next(folder.rglob(pattern), None) for folder in deep
    )
