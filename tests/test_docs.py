"""README and docs: every command that can run here runs, and what they name is there: links, files, keys, flags.

Fenced blocks say by their info string what they are: `sh` runs here, and `sh cluster`, say, needs what is not here.
All `sh` blocks run once, in order, in a copy of the repository whose conf/digits.toml trains for two epochs only.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from page_problems import ROOT, Block, problems, read_blocks

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CLONED_TO = "/opt/farandole"
"""Where the repository lies in what README shows."""


BLOCKS = [block for path in DOCS for block in read_blocks(path)]
COMMANDS = [block for block in BLOCKS if block.kind in ("sh", "python")]


@dataclass(frozen=True)
class Session:
    """What somebody has who types all commands, from README's first one on."""

    clone: Path
    results: dict[Block, tuple[int, str]] = field(default_factory=dict)

    def result(self, block: Block) -> tuple[int, str]:
        """Exit code and output, after running those before it; each runs once."""
        for command in COMMANDS[: COMMANDS.index(block) + 1]:
            if command not in self.results:
                self.results[command] = run(command, self.clone)
        return self.results[block]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    clone = tmp_path_factory.mktemp("docs").resolve()
    for name in ("jobs", "conf", "lib", "bench"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    (clone / ".venv").symlink_to(sys.prefix)
    digits = clone / "conf" / "digits.toml"
    digits.write_text(digits.read_text().replace("epochs = 20", "epochs = 2"))
    (clone / "do").write_text('#!/bin/sh\n[ "$1" = train ] && shift && exec spark-submit jobs/train.py "$@"\n')
    (clone / "do").chmod(0o755)  # as test_do.py has it, without the installing
    make_photos(clone / "data" / "photos")
    for block in BLOCKS:
        if name := re.match(r"# ([a-z]+\.toml)\n", block.text):
            (clone / name[1]).write_text(here(block.text, clone))
    return Session(clone)


def make_photos(folder: Path) -> None:
    """80 pictures of two classes, one that is none, and one that is there twice."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(40):
            Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(folder / label / f"{number}.jpg")
    (folder / "cat" / "text.jpg").write_text("no picture")
    shutil.copy(folder / "dog" / "1.jpg", folder / "dog" / "copy.jpg")


def here(text: str, clone: Path) -> str:
    """The text with the example's folder below the clone."""
    return re.sub(r"(?<![\w.*}])/data/", f"{clone}/data/", text)


def run(block: Block, clone: Path) -> tuple[int, str]:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": str(clone / "lib"), "SPARK_CONF_DIR": str(clone / "conf" / "spark")}
    program = ["bash", "-euc"] if block.kind == "sh" else [sys.executable, "-c"]
    done = subprocess.run(
        [*program, here(block.text, clone)],
        env=environment, cwd=clone, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: f"{block.file}:{block.line}")
def test_every_command_runs(session: Session, block: Block) -> None:
    code, output = session.result(block)
    assert code == 0, output[-2000:]


def test_duckdb_reads_a_data_set(session: Session) -> None:
    pytest.importorskip("duckdb", reason="./do bench installs it")
    picture, counts = (block for block in BLOCKS if block.kind == "python duckdb")
    session.result(COMMANDS[0])
    code, output = run(picture, session.clone)
    assert (code, output.endswith(" (8, 8, 1)\n")) == (0, True), output
    code, output = run(counts, session.clone)
    assert (code, output.startswith("[('test', '0', 34)")) == (0, True), output


def test_readme_shows_what_train_prints(session: Session) -> None:
    command = BLOCKS[0]
    assert command.text == "./do train\n"
    output = session.result(command)[1].replace(str(session.clone), CLONED_TO)
    printed = {shape(line) for line in output.splitlines()}
    shown = [line for line in BLOCKS[1].text.splitlines() if line != "..."]
    assert len(shown) > 8
    assert [line for line in shown if shape(line) not in printed] == []


def shape(line: str) -> str:
    """The line without the figures that another run has; what is counted before training is the same in every one."""
    line = re.sub(r"-[0-9a-f]{8}\b", "-ID", line)
    return line if line.startswith(("preprocess:", "rebalance:")) else re.sub(r"\d+(\.\d+)?", "N", line)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_what_a_page_names_is_there(session: Session, path: Path) -> None:
    session.result(COMMANDS[-1])
    assert problems(path, path.read_text(encoding="utf-8"), session.clone) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](docs/nowhere.md)", "the link docs/nowhere.md leads nowhere"),
        ("![a](docs/nowhere.png)", "the link docs/nowhere.png leads nowhere"),
        ("[a](docs/data.md#no-such)", "the link docs/data.md#no-such names no heading"),
        ("# Ours\n\n[a](#theirs)", "the link #theirs names no heading"),
        ("`train.epoch`", "there is no config key train.epoch"),
        ("`--set train.epoch=3`", "there is no config key train.epoch"),
        (
            '`train.precision = "float64"`',
            "train.precision: Input should be 'float32' or 'bfloat16'; received 'float64'",
        ),
        ("`--set train.epochs=no`", "train.epochs: Input should be a valid integer; received 'no'"),
        ("`[dada]`", "there is no config section [dada]"),
        ("```toml\n[train]\nepoch = 3\n```", "a toml block is refused: unknown key 'train.epoch'"),
        ("```toml\n[train\n```", "a toml block is refused: Expected ']'"),
        ("`./do tarin`", "./do has no verb tarin"),
        ("```sh slow\n./do bench tada\n```", "there is no bench tada"),
        ("`./do bench data [--pixels 3]`", "no command has the flag --pixels"),
        ("`./do bench data --pixels 3`", "no command has the flag --pixels"),
        ("```sh cluster\nspark-submit --propertes-file a\n```", "no command has the flag --propertes-file"),
        ("`CONF_DIR`", "nothing reads the environment variable CONF_DIR"),
        ("`SPARK_CONFDIR`", "nothing reads the environment variable SPARK_CONFDIR"),
        ("`farandole.core.nothing.decode`", "there is no module farandole.core.nothing.decode"),
        ("`lib/farandole/core/nothing.py`", "there is no file lib/farandole/core/nothing.py"),
        ("`conf/nothing.toml`", "there is no file conf/nothing.toml"),
        ("`--config conf/nothing.toml`", "there is no file conf/nothing.toml"),
        ("`runs/RUN/nothing.json`", "there is no file runs/RUN/nothing.json"),
        ("`nothing.json`", "there is no file nothing.json"),
        ("```text\nnothing.json   written last\n```", "there is no file nothing.json"),
        ("```bash\nls\n```", "a block is 'bash'; known are"),
        ("A:\n\n    ls\n", "a block is indented; fence it"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, text: str, problem: str) -> None:
    (found,) = problems(ROOT / "README.md", text, tmp_path)
    assert found.startswith(problem)
