"""A rank that joins another over lo, sums in each way that there is, and prints what came out: RANK PORT

Horovod's thread would pause for eleven days between two sums: what ends a pause can only be a tensor.
"""

import json
import sys

import numpy as np
import psutil
import tensorflow as tf

from farandole.core.rank_spec import Place, World
from farandole.train.horovod import distributed

rank, port = map(int, sys.argv[1:])
distributed.CYCLE_SECONDS = 1e6
distributed.join_world(
    Place("here", World(rank, 2, rank, 2, 0, 1)), interface="lo", rendezvous=("127.0.0.1", port), stall_seconds=120
)


@tf.function
def in_a_graph(x: tf.Tensor) -> list[tf.Tensor]:
    doubled = distributed.sum_tensors([x * 2, x + 1])
    return distributed.sum_tensors(doubled)


found = []
for _ in range(3):  # the first one is told in another way than those that Horovod knows already
    found += [tensor.numpy().tolist() for tensor in in_a_graph(tf.constant([1.0 + rank, 5.0]))]
    found += [tensor.numpy().tolist() for tensor in distributed.sum_tensors([tf.constant(1.0 + rank)])]
    found += [distributed.sum_integers(np.array([rank, 3]), "sum").tolist()]
    found += [distributed.gather_integers(np.array([rank, 3]), "gather").tolist()]
connections = psutil.Process().net_connections("inet")
addresses = {connection.laddr.ip for connection in connections}
print(json.dumps({"found": found, "addresses": sorted(addresses)}), flush=True)
sys.stdin.read()  # until the other one has its figures, too
psutil.Process().kill()  # an end by Horovod's own rules would wait for the thread
