"""`python -m farandole NAME`: mistakes are told before a JVM starts, here where there is none at all."""

import os
import subprocess
import sys

import pytest


@pytest.fixture
def call(tmp_path):
    def call(*arguments):
        environment = {key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ}
        return subprocess.run(
            [sys.executable, "-m", "farandole", *arguments],
            cwd=tmp_path,
            env={**environment, "PATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=200,
        )

    return call


def test_jobs_are_listed_with_what_they_do(call):
    done = call("--help")
    assert done.returncode == 0
    assert "\n  train      balanced/ID/ -> runs/RUN/: ranks on Spark train data-parallel." in done.stdout
    for arguments, received in (((), "''"), (("trian",), "'trian'")):
        done = call(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("usage: farandole NAME")
        last = (
            f"error[2]: the first argument must be one of evaluate, preprocess, rebalance, train; received {received}"
        )
        assert done.stderr.splitlines()[-1] == last


@pytest.mark.parametrize(
    ("setting", "error"),
    [
        ("train.epoch=3", "unknown key 'train.epoch'; did you mean train.epochs?"),
        ("model.arguments={filter=[3]}", "model.arguments of simple_cnn are filters, hidden_units; received filter"),
        ("evaluate.run=.", "evaluate.run: "),
    ],
)
def test_mistakes_need_no_java(call, setting, error):
    done = call("train", "--set", setting)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error[2]: {error}")


def test_help_names_the_command(call):
    done = call("train", "--help")
    assert done.stdout.startswith("usage: farandole train [-h] [--config FILE]")
