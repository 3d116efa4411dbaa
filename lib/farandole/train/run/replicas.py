"""Whether all ranks still hold the same weights.

Every rank applies every update itself, which gives the same bits on processors of one kind. On another kind some
operations round otherwise (Muon's matrix products do with AVX2 and AVX-512), and then replicas would drift apart in
silence; faulty memory can do the same.
"""

import hashlib
from typing import Any

import numpy as np

from farandole.errors import RankError
from farandole.train.horovod.distributed import gather_integers


def compare_replicas(variables: list[Any], global_step: int) -> None:
    """Compares the Keras variables of all ranks, which call this together.

    Args:
        variables: of model and optimizer.
        global_step: after which this is, for the message.

    Raises:
        RankError: names the ranks whose variables are not those of most others, or of the leader if none are more.
    """
    found = gather_integers(np.array([checksum(variables)]), "replicas").reshape(-1)
    kinds, counts = np.unique(found, return_counts=True)
    if len(kinds) == 1:
        return
    common = kinds[counts == counts.max()]
    right = found[0] if found[0] in common else common[0]
    odd = [str(rank) for rank in np.flatnonzero(found != right)]
    raise RankError(
        f"after step {global_step} of the run rank {', '.join(odd[:5])}{' and others' if len(odd) > 5 else ''} of "
        f"{len(found)} ranks holds other weights than the rest; use hosts with processors of one kind, or look for "
        f"faulty memory"
    )


def checksum(variables: list[Any]) -> int:
    """64 bits, as a signed number, of the bytes of Keras variables in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for variable in variables:
        digest.update(np.ascontiguousarray(variable.numpy()).data)
    return int.from_bytes(digest.digest(), "little", signed=True)
