"""A launched process and the one that started it."""

import json
import os
import subprocess
import sys


def test_a_rank_whose_starter_has_ended_already_ends_at_once():
    """Python takes seconds to start on a busy machine: too late to ask the kernel for a signal."""
    rank = [sys.executable, "-m", "farandole.train.rank"]
    spec = json.dumps({"parent": os.getppid()}) + "\n"  # not this process, which did start it
    done = subprocess.run(rank, input=spec, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
