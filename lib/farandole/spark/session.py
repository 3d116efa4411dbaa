"""A job's Spark session, and its manners on the terminal: our lines on stderr, the JVM quiet, Ctrl-C in one place."""

import contextlib
import io
import logging
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from importlib.resources.abc import Traversable
from typing import Any

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from farandole.errors import ConfigError, ResourceError
from farandole.log import on_terminal

# They log a failed task's Python and Java stack. The same stack is in the exception, which the job writes to its log.
_STACK_LOGGERS = (
    "org.apache.spark.executor.Executor",
    "org.apache.spark.scheduler.TaskSetManager",
    "org.apache.spark.scheduler.DAGScheduler",
    "org.apache.spark.api.python.PythonRunner",
)


def start_session(
    app_name: str, local_conf: Traversable, choose: Callable[[Mapping[str, str]], dict[str, str]] = lambda given: {}
) -> SparkSession:
    """The session that spark-submit's arguments ask for; without a master it is local mode on all cores.

    In local mode the Spark properties in the file local_conf hold as well, below --conf and --properties-file.
    `choose` is given all properties, and returns those that take their place.

    Raises:
        ConfigError: local_conf cannot be read, or a line of it is not `property value`.
        ResourceError: there is no Java, or one that Spark cannot use; or the user has no name.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # else workers take any python3 that is on PATH
    # py4j logs an interrupt, with its stack, to the root logger, and what comes of it to its own.
    logging.getLogger().addFilter(lambda record: record.module != "java_gateway")
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    check_user()
    check_java()
    _connect()
    conf = SparkConf().set("spark.master", chosen_master()).setAppName(app_name)
    if re.match(r"local($|\[)", conf.get("spark.master") or ""):
        for key, value in read_properties(local_conf).items():
            conf.setIfMissing(key, value)
    for key, value in choose(dict(conf.getAll())).items():
        conf.set(key, value)
    conf.setIfMissing("spark.ui.showConsoleProgress", str(on_terminal()).lower())
    spark = SparkSession.builder.config(conf=conf).getOrCreate()
    for logger in _STACK_LOGGERS:
        _log4j().setLevel(logger, _level_off())
    _leave_interrupts_to_python()
    return spark


def chosen_master() -> str:
    """The master that start_session will use, told before Spark has started."""
    _connect()
    return SparkConf().get("spark.master") or "local[*]"


def _connect() -> None:
    """Starts the JVM, or finds the one of spark-submit."""
    if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        # Without spark-submit Spark takes this for its shell, which has a bar also where no terminal shows it.
        given = os.environ.get("PYSPARK_SUBMIT_ARGS", "pyspark-shell")
        bar = f"--conf spark.ui.showConsoleProgress={str(on_terminal()).lower()}"
        os.environ["PYSPARK_SUBMIT_ARGS"] = f"{bar} {given}"  # of two values the last one holds
    SparkContext._ensure_initialized()


def check_user() -> None:
    """Refuses a user without a name, whom neither Java nor Spark starts for.

    Raises:
        ResourceError: names the number.
    """
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise ResourceError(
            f"user {os.geteuid()} has no name here, and Spark does not start for such; "
            f"add a line for it to /etc/passwd, or run as another user"
        ) from None


def read_properties(path: Traversable) -> dict[str, str]:
    """Reads Spark properties, one `property value` or `property=value` a line; # starts a comment line.

    Raises:
        ConfigError: the file cannot be read, or a line has no value.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except OSError as error:
        raise ConfigError(f"cannot read Spark properties {str(path)!r}: {error.strerror}; restore the file") from error
    properties = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        pair = re.split(r"\s*=\s*|\s+", line, maxsplit=1)
        if len(pair) != 2:
            raise ConfigError(f"{str(path)!r} expects `property value` on each line, received {line!r}")
        properties[pair[0]] = pair[1]
    return properties


def check_java() -> None:
    """Refuses a machine on which Spark 4.2 does not start.

    Raises:
        ResourceError: no Java, or one outside 17 to 21.
    """
    version = _java_version()
    if version is None or not 17 <= version <= 21:
        raise ResourceError(
            f"Spark 4.2 needs Java 17 to 21, found {version or 'none'}; "
            f"install openjdk-17-jre-headless, or point JAVA_HOME to such a Java"
        )


def _java_version() -> int | None:
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # spark-submit's JVM is up, and this is the one that will be used
        SparkContext._ensure_initialized()
        text = SparkContext._jvm.System.getProperty("java.specification.version")
        return int(text.split(".")[0])
    home = os.environ.get("JAVA_HOME")
    java = f"{home}/bin/java" if home else shutil.which("java")
    if java is None:
        return None
    try:
        text = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60).stderr
    except OSError:
        return None
    found = re.search(r'version "(\d+)', text)
    return int(found[1]) if found else None


def own_stderr() -> None:
    """Writes this process's stderr where the user sent that of spark-submit. A job calls this first of all.

    spark-submit joins a Python program's stderr with its stdout, and neither is a terminal then. The parent process is
    its JVM, whose stderr is the user's. Does nothing outside spark-submit, and with `2>&1`, where joined is right.
    """
    if "PYSPARK_GATEWAY_PORT" not in os.environ:
        return
    parent = f"/proc/{os.getppid()}/fd"
    try:
        wanted, joined = os.stat(f"{parent}/2"), os.stat(f"{parent}/1")
        if stat.S_ISCHR(wanted.st_mode) or (stat.S_ISFIFO(wanted.st_mode) and not os.path.samestat(wanted, joined)):
            target = os.open(f"{parent}/2", os.O_WRONLY | os.O_NOCTTY)
            sys.stderr.flush()
            os.dup2(target, 2)
            os.close(target)
        elif not os.path.samestat(wanted, joined):
            SparkContext._ensure_initialized()
            sys.stderr = _JvmStderr()
    except OSError:  # no /proc, or another user's process: everything stays on stdout
        return


class _JvmStderr(io.TextIOBase):
    """sys.stderr through the JVM: it alone knows the position in a file, and sockets cannot be reopened."""

    def write(self, text: str) -> int:
        data = bytearray(text, "utf-8", "backslashreplace")
        _call_jvm(lambda: SparkContext._jvm.System.err.write(data))
        return len(text)


def quiet_jvm() -> None:
    """Lets the JVM log nothing from now on, so that what the job prints next is the last line on stderr.

    Works with and without a SparkContext, and after Ctrl-C; does nothing where there is no JVM, or it is gone.
    """
    if SparkContext._gateway is None and "PYSPARK_GATEWAY_PORT" not in os.environ:
        return
    SparkContext._ensure_initialized()
    _call_jvm(lambda: _log4j().setAllLevels("", _level_off()))
    if on_terminal():  # Spark's progress bar leaves the cursor in its line
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def _call_jvm(call: Callable[[], object]) -> None:
    # py4j gives every thread a connection of its own. The main thread's may hold the answer to a call that Ctrl-C cut
    # off, and would give it to the next one; a fresh thread is safe. A JVM that is gone or hangs is left alone.
    def attempt() -> None:
        with contextlib.suppress(Exception):
            call()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(timeout=20)


def _log4j() -> Any:
    return SparkContext._jvm.org.apache.logging.log4j.core.config.Configurator


def _level_off() -> Any:
    return SparkContext._jvm.org.apache.logging.log4j.Level.OFF


def _leave_interrupts_to_python() -> None:
    # Ctrl-C reaches both processes. If the JVM died of it, Python could neither clean up nor say what happened; so the
    # JVM waits for Python and ends with its exit code. PySpark's own handler calls the JVM in the middle of another
    # call, which breaks the connection: KeyboardInterrupt alone will do, as the end of the job cancels all its tasks.
    signals = SparkContext._jvm.sun.misc
    signals.Signal.handle(signals.Signal("INT"), signals.SignalHandler.SIG_IGN)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
