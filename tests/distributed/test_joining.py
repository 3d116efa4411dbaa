"""What packages/horovod changes, in the Horovod that is installed: two ranks, wherever the host's name leads."""

import json
import os
import subprocess
import sys

import pytest

from distributed.ranks import ENVIRONMENT
from farandole.core.rank_spec import Place, World
from farandole.train.horovod.distributed import start_rendezvous

SUMS = [[12.0, 40.0], [10.0, 24.0], 3.0, [1, 6], [[0, 3], [1, 3]]]


@pytest.mark.parametrize("name", ["the host's own", "one that leads nowhere"])
def test_sums_need_neither_a_host_name_nor_the_end_of_a_pause(name: str, nowhere: list[str]) -> None:
    port = start_rendezvous("127.0.0.1", [Place("here", World(rank, 2, rank, 2, 0, 1)) for rank in range(2)])
    prefix = nowhere if name == "one that leads nowhere" else []
    ranks = [
        subprocess.Popen(
            [*prefix, sys.executable, "-m", "distributed.joined_rank", str(rank), str(port)],
            env=os.environ | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        lines = [rank.stdout.readline() for rank in ranks if rank.stdout]
    finally:
        for rank in ranks:
            rank.kill()
            rank.communicate()
    assert [json.loads(line) for line in lines] == [{"found": SUMS * 3, "addresses": ["127.0.0.1"]}] * 2
