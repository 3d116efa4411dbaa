"""./do without a network: its verbs, what runs once all is installed, what it says when something is missing."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("sh", "dirname", "cat", "cksum", "sed", "tr", "id", "env", "grep", "sort", "ln")
JOBS = ("train", "preprocess", "rebalance", "evaluate")
SOURCES = ("pyproject.toml", "constraints.txt", "packages/horovod/pyproject.toml", "packages/horovod/backend.py")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with nothing installed, on a machine that has neither apt nor Java nor Python."""
    shutil.copy(ROOT / "do", tmp_path / "do")
    for file in SOURCES:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    for folder in ("bin", "bench"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bench" / "data.py").write_text('"""Measures.\n\n    ./do bench data [--rows N]\n"""\n')
    (tmp_path / "bench" / "inputs.py").write_text('"""What ./do bench data reads."""\n')
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or tool)
    return tmp_path


def install(clone: Path, *, java: str = "17.0.15") -> None:
    """As ./do leaves it, with programs that only print how they were called."""
    programs = clone / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("ruff", "mypy", "pytest", "spark-submit"):
        script(programs / name, f'echo {name} "$@"')
    script(clone / "bin" / "java", f"echo 'openjdk version \"{java}\" 2025-04-15' >&2")
    sources = b"".join((clone / file).read_bytes() for file in SOURCES)
    stamp = subprocess.run(["cksum"], input=sources, capture_output=True, check=True)
    (clone / ".venv" / "installed").write_bytes(stamp.stdout)


def machine(clone: Path, *, java: str) -> None:
    """All that an installation needs; uv prints how it was called."""
    script(clone / "bin" / "g++", "echo 'g++ (Debian 12.2.0-14) 12.2.0'")
    script(clone / "bin" / "make", "echo GNU Make 4.3")
    script(clone / "bin" / "java", f"echo 'openjdk version \"{java}\" 2025-04-15' >&2")
    script(clone / "bin" / "python3", '[ "$1" = -c ] || echo Python 3.12.4')
    script(clone / "bin" / "uv", 'if [ "$1" = --version ]; then echo uv 0.13.9; else echo uv "$@"; fi')


def script(path: Path, body: str) -> None:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def do(clone: Path, *arguments: str, at: str | Path = os.sep, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [f"./{os.path.relpath(clone / 'do', at)}", *arguments],
        env={"PATH": str(clone / "bin")} | environment,
        cwd=at,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_alone_it_lists_its_verbs(clone: Path) -> None:
    done = do(clone)
    assert done.returncode == 0
    verbs = re.findall(r"\./do (\w+)", done.stdout)
    assert verbs == [*JOBS, "test", "bench", "soak", "lint", "fmt"]
    assert sorted(JOBS) == sorted(path.stem for path in ROOT.glob("jobs/*.py"))


def test_an_unknown_verb_is_a_usage_error(clone: Path) -> None:
    done = do(clone, "tarin")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "error[2]: ./do has no verb 'tarin'; its verbs are above"


def test_once_installed_it_goes_straight_to_the_program(clone: Path) -> None:
    install(clone)
    assert do(clone, "test", "-k", "a b").stdout == "pytest -k a b\n"
    *checks, tests = do(clone, "test").stdout.splitlines()
    assert checks == ["ruff check", "ruff format --check", "mypy"]
    assert tests.startswith("pytest -n auto ")
    assert do(clone, "lint").stdout.splitlines() == ["ruff check", "ruff format --check", "mypy"]


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_where_the_caller_is(clone: Path, tmp_path_factory: pytest.TempPathFactory, job: str) -> None:
    install(clone)
    script(clone / ".venv" / "bin" / "spark-submit", 'pwd; echo "$@"')
    elsewhere = tmp_path_factory.mktemp("a folder")
    for place in (elsewhere, clone):
        done = do(clone, job, "--config", "my own.toml", "--set", "paths.work=work", at=place)
        assert done.stdout == f"{place}\n{clone}/jobs/{job}.py --config my own.toml --set paths.work=work\n"


def test_bench_installs_what_it_compares_with(clone: Path) -> None:
    install(clone)
    script(clone / "bin" / "uv", 'if [ "$1" = --version ]; then echo uv 0.13.9; else echo uv "$@"; fi')
    script(clone / ".venv" / "bin" / "python", 'echo python "$@"')
    done = do(clone, "bench", "data", "--rows", "9")
    installs = "uv pip install --quiet --compile-bytecode --python .venv --constraints constraints.txt --group bench\n"
    assert done.stdout == f"{installs}python bench/data.py --rows 9\n"
    for arguments in ((), ("--repetitions", "3")):  # without a name
        (clone / "bench" / "training.py").write_text('"""\n    ./do bench training [--repetitions N]\n"""\n')
        called = " ".join(["python bench/training.py", *arguments])
        assert do(clone, "bench", *arguments).stdout == f"{installs}{called}\n"


def test_a_bench_that_there_is_not_is_a_usage_error(clone: Path) -> None:
    install(clone)
    done = do(clone, "bench", "tada")
    assert done.returncode == 2
    assert done.stderr == (
        "error[2]: ./do bench measures: data or, without a name, all that concerns training; received 'tada'\n"
    )
    assert do(clone, "bench", "inputs").stderr == done.stderr.replace("tada", "inputs")  # a module of them


def test_a_failing_check_fails_the_tests(clone: Path) -> None:
    install(clone)
    script(clone / ".venv" / "bin" / "mypy", "exit 7")
    done = do(clone, "test")
    assert done.returncode == 7
    assert "pytest" not in done.stdout


def test_our_spark_finds_our_configuration_and_one_of_the_users_own_finds_theirs(clone: Path) -> None:
    install(clone)
    spark = clone / ".venv/lib/python3.12/site-packages/pyspark"
    spark.mkdir(parents=True)
    (clone / "conf" / "spark").mkdir(parents=True)
    script(clone / ".venv" / "bin" / "spark-submit", 'echo "${SPARK_CONF_DIR-none}"')
    for _ in range(2):
        assert do(clone, "train", SPARK_HOME="/opt/spark").stdout == "none\n"
        assert (spark / "conf").resolve() == clone / "conf" / "spark"
        assert not (clone / "conf" / "spark" / "spark").is_symlink()
    assert do(clone, "train", SPARK_CONF_DIR="/etc/spark").stdout == "/etc/spark\n"


def test_without_apt_one_line_names_what_is_missing(clone: Path) -> None:
    done = do(clone, "test")
    assert done.returncode == 4
    assert done.stderr == (
        "error[4]: missing here: g++ make python3-venv python3-dev openjdk-17-jre-headless "
        "(names as in Debian); install them, then run ./do again\n"
    )


def test_where_python_does_not_fit_uv_fetches_one(clone: Path) -> None:
    machine(clone, java="17.0.15")
    (clone / ".venv").mkdir()
    script(clone / "bin" / "python3", 'case "$2" in *sysconfig*) exit 1 ;; esac')  # fits: no; other_python: yes
    script(clone / "bin" / "uv", 'if [ "$1" = --version ]; then echo uv 0.13.9; else echo uv "$@"; fi')
    assert do(clone, "lint").stdout.splitlines()[:3] == [
        "uv python install --quiet --no-bin 3.12",
        "uv venv --quiet --clear --python 3.12 .venv",
        "uv pip install --quiet --compile-bytecode --python .venv --constraints constraints.txt -e . --group dev",
    ]
    (clone / ".venv" / "installed").unlink()
    script(clone / "bin" / "uv", 'if [ "$1" = --version ]; then echo uv 0.13.9; else exit 1; fi')
    done = do(clone, "lint")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == (
        "error[4]: TensorFlow needs Python 3.11 to 3.13, which uv cannot fetch, see above; put one with headers on PATH"
    )


@pytest.mark.parametrize("source", SOURCES)
def test_other_dependencies_than_those_installed_are_installed_first(clone: Path, source: str) -> None:
    install(clone)
    with (clone / source).open("a") as file:
        file.write("# another\n")
    done = do(clone, "test")
    assert done.returncode == 4  # it set out to install, which cannot be done here
    assert "missing here: g++ make" in done.stderr


@pytest.mark.parametrize("version", ["11.0.2", "1.8.0_402", "25", "170.1"])
def test_a_java_that_spark_cannot_use_is_named(clone: Path, version: str) -> None:
    install(clone, java=version)
    done = do(clone, "train")
    assert done.returncode == 4
    refused = (
        f"error[4]: Spark 4.2 needs Java 17 to 21, found {version}; "
        "install openjdk-17-jre-headless, or point JAVA_HOME to one\n"
    )
    assert done.stderr == refused
    (clone / ".venv" / "installed").unlink()  # now there is more to install, which is not begun
    machine(clone, java=version)
    done = do(clone, "train")
    assert done.returncode == 4
    assert done.stderr.endswith(refused)
    assert not done.stdout


@pytest.mark.parametrize("version", ["17", "17.0.15", "21.0.2", "19"])
def test_before_it_installs_it_says_what_was_found(clone: Path, version: str) -> None:
    machine(clone, java=version)
    done = do(clone, "train")
    found = f"found: g++ 12.2.0, make 4.3, Java {version}, uv 0.13.9, Python 3.12.4"
    assert done.stderr.splitlines()[0] == found
    script(clone / "bin" / "python3", 'case "$2" in *sysconfig*) exit 1 ;; esac; [ "$1" = -c ] || echo Python 3.14.1')
    note = " (does not fit TensorFlow 2.21, which has wheels for 3.11 to 3.13: uv fetches 3.12)"
    assert do(clone, "train").stderr.splitlines()[0] == found.replace("3.12.4", "3.14.1") + note
