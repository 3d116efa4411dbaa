"""The session's manners, seen from outside: what spark-submit leaves on stdout and stderr, and with which exit code."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyspark
import pytest
from pyspark import SparkContext

from farandole.errors import ConfigError, ResourceError
from farandole.spark import session
from farandole.spark.session import check_java, read_properties

ROOT = Path(__file__).parents[2]
LOCAL_CONF = ROOT / "conf" / "spark" / "local.conf"

EARLY = """
import sys
from farandole.spark.session import own_stderr, quiet_jvm
own_stderr()
print("a result")
quiet_jvm()
print("error[2]: unknown key 'ä'", file=sys.stderr)
sys.exit(2)
"""

LATE = f"""
import sys
from pathlib import Path
from farandole.spark.session import own_stderr, quiet_jvm, start_session
own_stderr()
spark = start_session("late", Path({str(LOCAL_CONF)!r}))
print(spark.conf.get("spark.ui.enabled"), spark.conf.get("spark.driver.host"), spark.conf.get("spark.executor.cores"))
try:
    spark.sparkContext.parallelize([0], 1).map(lambda number: 1 / number).collect()
except Exception as error:
    quiet_jvm()
    print("error[4]:", "ZeroDivisionError" in str(error), file=sys.stderr)
    sys.exit(4)
"""


def submit(tmp_path: Path, program: str, *arguments: str, stderr: int) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "program.py"
    path.write_text(program)
    programs = Path(sys.executable).parent
    names = {"PYSPARK_PYTHON", "SPARK_LOCAL_IP", "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "SPARK_CONF_DIR"}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [programs / "spark-submit", *arguments, path],
        env=environment | {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=stderr,
        encoding="utf-8",
        timeout=240,
    )


def test_an_early_error_is_the_last_line_on_a_pipe(tmp_path: Path) -> None:
    done = submit(tmp_path, EARLY, stderr=subprocess.PIPE)
    assert (done.returncode, done.stdout) == (2, "a result\n")
    assert done.stderr.endswith("\nerror[2]: unknown key 'ä'\n")


def test_an_early_error_is_the_last_line_in_a_file_that_others_write_as_well(tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as file:
        file.write("before\n")
        file.flush()
        done = submit(tmp_path, EARLY, stderr=file.fileno())
        os.write(file.fileno(), b"after\n")  # at the position that spark-submit left
    assert (done.returncode, done.stdout) == (2, "a result\n")
    written = (tmp_path / "stderr").read_text(encoding="utf-8")
    assert written.startswith("before\n")
    assert written.endswith("\nerror[2]: unknown key 'ä'\nafter\n")


def test_joined_output_stays_joined(tmp_path: Path) -> None:
    """Two ways into one pipe would mix up the order of lines."""
    joined = EARLY.replace('"a result"', "__import__('os').path.sameopenfile(1, 2)")
    done = submit(tmp_path, joined, stderr=subprocess.STDOUT)
    assert done.returncode == 2
    assert "\nTrue\n" in done.stdout
    assert "error[2]: unknown key 'ä'\n" in done.stdout


def test_a_failed_task_leaves_no_stack_and_local_properties_hold_below_the_command_line(tmp_path: Path) -> None:
    done = submit(
        tmp_path,
        LATE,
        "--conf",
        "spark.driver.host=localhost",
        "--conf",
        "spark.executor.cores=3",
        stderr=subprocess.PIPE,
    )
    assert (done.returncode, done.stdout) == (4, "false localhost 3\n")
    assert done.stderr.endswith("\nerror[4]: True\n")
    assert "Traceback" not in done.stderr
    assert "\tat org.apache" not in done.stderr


NAMELESS = """
import sys
from pathlib import Path
from farandole.spark.session import start_session
spark = start_session("nameless", Path(sys.argv[1]))
print("sum", spark.sparkContext.parallelize([1, 2]).sum())
"""


@pytest.fixture
def nameless(tmp_path: Path, nowhere: list[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command where this host's name leads nowhere, by the Spark in .venv as ./do leaves it."""
    (tmp_path / "program.py").write_text(NAMELESS)
    home = tmp_path / "spark"
    home.mkdir()
    for path in Path(pyspark.__file__).parent.iterdir():
        (home / path.name).symlink_to(path)
    (home / "conf").unlink(missing_ok=True)
    (home / "conf").symlink_to(LOCAL_CONF.parent)
    names = {"SPARK_LOCAL_IP", "SPARK_CONF_DIR", "SPARK_ENV_LOADED", "MASTER"}
    environment = {name: value for name, value in os.environ.items() if name not in names}

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*nowhere, *command],
            env=environment | {"SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.mark.parametrize("started", ["spark-submit", "spark-submit --master local[2]", "python"])
def test_a_host_name_that_leads_nowhere_matters_to_nobody_in_local_mode(nameless, tmp_path: Path, started: str) -> None:
    program, *options = started.split()
    path = tmp_path / "spark" / "bin" / program if program == "spark-submit" else Path(sys.executable)
    done = nameless(str(path), *options, "program.py", str(LOCAL_CONF))
    assert (done.returncode, done.stdout) == (0, "sum 3\n"), done.stderr[-2000:]


@pytest.mark.parametrize("options", ["--master spark://nowhere:7077", f"--properties-file {LOCAL_CONF}"])
def test_on_a_cluster_spark_itself_says_that_the_host_name_leads_nowhere(nameless, tmp_path, options: str) -> None:
    done = nameless(str(tmp_path / "spark/bin/spark-submit"), *options.split(), "program.py", str(LOCAL_CONF))
    assert done.returncode == 1
    assert "UnknownHostException: no-such-host" in done.stderr


@pytest.mark.parametrize(
    ("given", "then"),
    [({"LC_ALL": "C"}, "C.UTF-8"), ({}, "C.UTF-8"), ({"LC_ALL": "C.UTF-8"}, "C.UTF-8"), ({"LANG": "C.UTF-8"}, "")],
)
def test_a_locale_without_letters_gets_those_of_utf_8(tmp_path: Path, given: dict[str, str], then: str) -> None:
    command = f'. {LOCAL_CONF.parent / "spark-env.sh"}; printf %s "$LC_ALL"'
    done = subprocess.run(
        ["sh", "-c", command], env={"PATH": os.environ["PATH"], **given}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == (then, "")


def test_a_user_without_a_name_is_told_so_by_spark_submit_too(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\n[ $1 = -u ] && echo 12345\n")
    (tmp_path / "id").chmod(0o755)
    command = f"set -- org.apache.spark.deploy.SparkSubmit; . {LOCAL_CONF.parent / 'spark-env.sh'}"
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", command], env={"PATH": path, "LC_ALL": "C"}, capture_output=True, text=True)
    assert done.returncode == 4
    assert done.stderr.startswith("error[4]: user 12345 has no name here, and Spark does not start for such; add a ")


def test_a_user_without_a_name_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2**31 - 9)
    with pytest.raises(ResourceError, match=rf"user {2**31 - 9} has no name here, .* add a line for it to /etc/passwd"):
        session.check_user()


def test_an_interrupt_while_spark_starts_leaves_no_stack(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupt() -> None:
        for name, module in (("root", "java_gateway"), ("py4j.clientserver", "clientserver")):
            logger = logging.getLogger(name)
            if logger.isEnabledFor(logging.ERROR):
                logger.handle(logger.makeRecord(name, logging.ERROR, f"/py4j/{module}.py", 1, "a stack", (), None))
        raise KeyboardInterrupt

    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "pyspark-shell")
    monkeypatch.setattr(SparkContext, "_ensure_initialized", interrupt)
    with pytest.raises(KeyboardInterrupt):
        session.start_session("interrupted", LOCAL_CONF)
    assert caplog.records == []


@pytest.mark.parametrize("given", ["--conf spark.ui.showConsoleProgress=true pyspark-shell", "pyspark-shell"])
def test_without_spark_submit_there_is_no_bar_in_a_file(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setattr(SparkContext, "_gateway", None)
    monkeypatch.setattr(SparkContext, "_ensure_initialized", lambda: None)
    monkeypatch.delenv("PYSPARK_GATEWAY_PORT", raising=False)
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", given)
    session._connect()
    assert (
        os.environ["PYSPARK_SUBMIT_ARGS"] == f"--conf spark.ui.showConsoleProgress=false {given}"
    )  # the last one holds


def test_every_line_of_our_properties_is_read() -> None:
    assert read_properties(LOCAL_CONF)["spark.driver.bindAddress"] == "127.0.0.1"


def test_properties_take_blanks_or_an_equals_sign(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("# comment\n\nspark.a   1 2\nspark.b=x=y\n spark.c = -Da=b\n")
    assert read_properties(path) == {"spark.a": "1 2", "spark.b": "x=y", "spark.c": "-Da=b"}


def test_a_property_without_a_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    path.write_text("spark.a\n")
    with pytest.raises(ConfigError, match=r"a.conf' expects `property value` on each line, received 'spark.a'"):
        read_properties(path)


def test_missing_properties_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read Spark properties '.*no.conf': No such file or directory; restore"
    ):
        read_properties(tmp_path / "no.conf")


@pytest.mark.parametrize(("printed", "found"), [("11.0.2", "11"), ("1.8.0_402", "1"), ("25", "25")])
def test_a_java_that_spark_cannot_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, found: str
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{printed}\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ResourceError, match=rf"^Spark 4.2 needs Java 17 to 21, found {found}; install openjdk-17-jre"):
        check_java()


def test_no_java_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ResourceError, match=r"^Spark 4.2 needs Java 17 to 21, found none; install openjdk-17-jre-headless"
    ):
        check_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ResourceError, match="found none"):
        check_java()
