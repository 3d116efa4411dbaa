"""A launched process and the one that started it."""

import json
import os
import subprocess
import sys

import psutil


def test_a_rank_whose_starter_has_ended_already_ends_at_once():
    """Python takes seconds to start on a busy machine: too late to ask the kernel for a signal."""
    rank = [sys.executable, "-m", "farandole.train.rank"]
    spec = json.dumps({"parent": os.getppid()}) + "\n"  # not this process, which did start it
    done = subprocess.run(rank, input=spec, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_a_rank_that_is_stopped_while_python_starts_ends_with_its_starter(tmp_path):
    """The starter stops it at once and is killed; nothing in the rank itself has run by then."""
    starter = f"""
import os, signal
from pathlib import Path
from farandole.spark.ranks.child import Child
child = Child("farandole.train.rank", 0, Path({str(tmp_path / "log")!r}), {{}})
child.signal(signal.SIGSTOP)
print(child.pid, flush=True)
signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        rank = psutil.Process(int(process.stdout.readline()))
        assert rank.is_running()
        process.kill()
    psutil.wait_procs([rank], timeout=60)
    assert not rank.is_running()
