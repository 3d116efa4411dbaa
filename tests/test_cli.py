"""Exit codes and the last line on stderr."""

import pytest

from farandole.cli import run_job
from farandole.config.load import Config
from farandole.errors import ConfigError, DataError, FarandoleError, GateError, RankError, ResourceError, error_for
from farandole.log import error_line


@pytest.fixture
def run(monkeypatch, tmp_path, capfd):
    """Runs a job that raises `error`; returns the exit code and the lines on stderr."""
    (tmp_path / "c.toml").write_text(f'[paths]\nwork = "{tmp_path}/work"\n')

    def run(error, *arguments):
        def job(config: Config) -> None:
            if error is not None:
                raise error

        monkeypatch.setattr("sys.argv", ["jobs/x.py", "--config", str(tmp_path / "c.toml"), *arguments])
        with pytest.raises(SystemExit) as stop:
            run_job("x", "A job.", job, quiet=lambda: None)
        return stop.value.code, capfd.readouterr().err.splitlines()

    return run


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConfigError, 2), (DataError, 3), (ResourceError, 4), (GateError, 5), (RankError, 1), (FarandoleError, 1)],
)
def test_each_error_has_its_exit_code_and_one_last_line(run, error, code):
    assert run(error("what,\n received; remedy"))[0] == code
    _, lines = run(error("what,\n received; remedy"))
    assert lines[-1] == f"error[{code}]: what, received; remedy"


def test_success_and_usage(run):
    code, lines = run(None)
    assert (code, len(lines)) == (0, 1)
    assert lines[0].startswith("config: ")
    assert run(None, "--nonsense")[1][-1] == "error[2]: unrecognized arguments: --nonsense; see --help"
    code, lines = run(None, "--set", "train.epoch=3")
    assert (code, lines[1:]) == (2, ["error[2]: unknown key 'train.epoch'; did you mean train.epochs?"])


def test_the_demo_has_the_demos_settings_and_ones_own_data_the_documented_ones(monkeypatch, tmp_path, capfd):
    given = []
    for settings, line, rows in (
        ([], "config: conf/digits.toml, the demo, as there is no --config", 64),
        (["data.source=folder", "data.path=/x"], "config: the defaults that --help prints, as --set names a", 256),
    ):
        arguments = [argument for setting in settings for argument in ("--set", setting)]
        monkeypatch.setattr("sys.argv", ["jobs/x.py", *arguments])
        with pytest.raises(SystemExit):
            run_job("x", "A job.", given.append, quiet=lambda: None)
        assert capfd.readouterr().err.startswith(line)
        assert given[-1].layout.rows_per_row_group == rows
    assert given[0].balance.strategy == "oversample"
    assert given[1].balance.strategy == "none"


def test_an_empty_config_is_a_mistake_and_no_wish_for_the_demo(monkeypatch, capfd):
    monkeypatch.setattr("sys.argv", ["jobs/x.py", "--config", ""])
    with pytest.raises(SystemExit) as stop:
        run_job("x", "A job.", lambda config: None, quiet=lambda: None)
    message = "error[2]: cannot read config '': Is a directory; give one with --config"
    assert (stop.value.code, capfd.readouterr().err.splitlines()[-1]) == (2, message)


def test_the_stack_goes_to_a_file_that_is_named(run, tmp_path):
    code, lines = run(ZeroDivisionError("division by zero"))
    assert (code, lines[-1]) == (1, "error[1]: ZeroDivisionError: division by zero")
    (log,) = (tmp_path / "work" / "logs").iterdir()
    assert lines[-2] == f"the stack is in {log}"
    assert "Traceback" in log.read_text()


def test_interrupt_is_130(run):
    code, lines = run(KeyboardInterrupt())
    assert (code, lines[-1]) == (130, "error[130]: interrupted; run the same command again to continue")


def test_what_comes_up_on_the_way_out_of_an_interrupt_is_one(run):
    """As when PySpark tells the JVM that a call has ended, and that call was cut off in the middle."""
    error = RuntimeError("Answer from Java side is empty")
    error.__context__ = ValueError("in between")
    error.__context__.__context__ = KeyboardInterrupt()
    code, lines = run(error)
    assert (code, lines[1:]) == (130, ["error[130]: interrupted; run the same command again to continue"])


def test_spark_stacks_are_cut_down_to_the_error_inside():
    text = (
        "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
        ": org.apache.spark.SparkException: Job aborted: org.apache.spark.api.python.PythonException: "
        "Traceback (most recent call last):\n"
        '  File "x.py", line 1, in f\n    1 / 0\nZeroDivisionError: division by zero\n\n\tat org.x(X.scala:1)\n'
    )
    assert error_line(RuntimeError(text)) == "error[1]: RuntimeError: ZeroDivisionError: division by zero"


def test_a_dead_worker_is_said_in_java_s_words():
    text = (
        "An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.\n"
        ": org.apache.spark.SparkException: Job aborted: Python worker exited unexpectedly (crashed)\n"
        "\tat org.x(X.scala:1)\n"
    )
    expected = "org.apache.spark.SparkException: Job aborted: Python worker exited unexpectedly (crashed)"
    assert error_line(RuntimeError(text)) == f"error[1]: RuntimeError: {expected}"


def test_a_code_that_crossed_a_process_boundary_finds_its_class():
    assert [type(error_for(code, "x")) for code in (1, 2, 3, 4, 5)] == [
        RankError, ConfigError, DataError, ResourceError, GateError,
    ]  # fmt: skip


def test_letters_that_java_lost_are_told_with_the_remedy(run, monkeypatch):
    lost = ("--set", "data.label_column=K??fer")
    for variable in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(variable, raising=False)
    assert run(None, *lost)[0] == 0  # outside spark-submit
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "1")
    assert run(None, "--set", "data.label_column=what?")[0] == 0
    assert run(None, *lost) == (
        2,
        [
            "error[2]: in the locale C Java turns letters beyond ASCII into question marks; "
            "received 'data.label_column=K??fer'; set LC_ALL=C.UTF-8"
        ],
    )
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert run(None, *lost)[0] == 0
