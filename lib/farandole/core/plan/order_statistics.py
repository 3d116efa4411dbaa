"""Exact order statistics of 64-bit keys that lie on many machines: only counts and a bounded number of keys move.

To cut a class at its k-th smallest key one would sort the class. Instead the leading bits of the keys are counted;
that names the bin which holds the k-th key, and its rank inside that bin. Bins that hold a wanted key are refined by
further bits until few keys remain in them. Those, and no others, are fetched and sorted; equal ones travel as one.

Every pass refines by two bits or more, and none is made where nearly all keys are wanted, since these travel anyhow. So
a few passes do, however many keys are wanted.
"""

from collections.abc import Callable, Sequence

import numpy as np

from farandole.errors import DataError

MAX_KEYS = 2**21
"""How many keys may be fetched at once, 16 bytes each; fewer rows than that are sorted without counting first."""
MAX_BINS = 2**17
"""How many bins a histogram has at most, 8 bytes each, unless more keys than that are wanted."""
_MIN_BITS, _MAX_BITS, _MAX_DEPTH_BITS = 2, 16, 40
_MAX_KEYS_PER_RANK = 4
"""More keys than max_keys are fetched where no more than these remain for each that is wanted."""

Measure = Callable[[np.ndarray, np.ndarray], np.ndarray]
Combine = Callable[[np.ndarray, np.ndarray], np.ndarray]
Scan = Callable[[Measure, Combine], np.ndarray]
"""Calls measure(groups int64 [n], keys uint64 [n]) on every batch of rows and joins the results by combine."""


def keys_at_ranks(
    scan: Scan,
    group_counts: Sequence[int] | np.ndarray,
    ranks: Sequence[np.ndarray],
    *,
    max_keys: int = MAX_KEYS,
    max_bins: int = MAX_BINS,
) -> list[np.ndarray]:
    """For every group, the keys at the given places of its sorted keys.

    Args:
        scan: passes over all (group, key) pairs, in any order and any batches.
        group_counts: keys of each group, [num_groups]; checked.
        ranks: for every group, int64 [r], 0 for its smallest key; may be empty.
        max_keys: fetch keys only when no more than these remain.
        max_bins: of one histogram.

    Returns:
        For every group uint64 [r], in the order of its ranks.

    Raises:
        DataError: the scan finds other counts than group_counts says.
    """
    wanted = np.repeat(np.arange(len(ranks)), [len(places) for places in ranks])
    rank = np.concatenate([np.asarray(places, dtype=np.int64) for places in ranks] or [np.empty(0, np.int64)])
    nodes, node = np.unique(wanted.astype(np.uint64), return_inverse=True)  # bins: group, then the leading bits
    sizes = np.asarray(group_counts, dtype=np.int64)[nodes.astype(np.int64)]
    depth, max_depth = 0, min(_MAX_DEPTH_BITS, 64 - len(ranks).bit_length())  # a group and its bits are one number
    while sizes.sum() > max(max_keys, _MAX_KEYS_PER_RANK * len(rank)) and depth < max_depth:
        bits = min(max(int(np.log2(max_bins / len(nodes))), _MIN_BITS), _MAX_BITS, max_depth - depth)
        histogram = scan(_counter(nodes, depth, bits), np.add)
        _check_sizes(histogram.reshape(len(nodes), -1).sum(axis=1), sizes)
        ends = np.cumsum(histogram)
        place = (np.cumsum(sizes) - sizes)[node] + rank
        child = np.searchsorted(ends, place, side="right")
        rank = place - (ends - histogram)[child]
        kept, node = np.unique(child, return_inverse=True)
        nodes = (nodes[kept >> bits] << np.uint64(bits)) | (kept & ((1 << bits) - 1)).astype(np.uint64)
        sizes, depth = histogram[kept], depth + bits
    found, ends = _fetch(scan, nodes, sizes, depth)
    keys = found[np.searchsorted(ends, (np.cumsum(sizes) - sizes)[node] + rank, side="right")]
    return np.split(keys, np.cumsum([len(places) for places in ranks])[:-1]) if ranks else []


def _locate(nodes: np.ndarray, depth: int, groups: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the keys that fall into one of the nodes, and the index of that node."""
    shifted = np.zeros_like(keys) if depth == 0 else keys >> np.uint64(64 - depth)
    codes = (groups.astype(np.uint64) << np.uint64(depth)) | shifted
    node = np.minimum(np.searchsorted(nodes, codes), len(nodes) - 1)
    inside = np.flatnonzero(nodes[node] == codes)
    return inside, node[inside]


def _counter(nodes: np.ndarray, depth: int, bits: int) -> Measure:
    def count(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
        inside, node = _locate(nodes, depth, groups, keys)
        leading = (keys[inside] << np.uint64(depth)) >> np.uint64(64 - bits)
        return np.bincount((node << bits) | leading.astype(np.int64), minlength=len(nodes) << bits)

    return count


def _fetch(scan: Scan, nodes: np.ndarray, sizes: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """All keys in the nodes, sorted by node and then by key, equal ones perhaps as one; and the number of those up to
    each of them."""
    if len(nodes) == 0:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)

    def pick(groups: np.ndarray, keys: np.ndarray) -> np.ndarray:
        inside, node = _locate(nodes, depth, groups, keys)
        order = np.lexsort((keys[inside], node))
        pairs = np.stack([node.astype(np.uint64), keys[inside]])[:, order]
        first = np.flatnonzero(np.diff(pairs, axis=1, prepend=pairs[:, :1] ^ np.uint64(1)).any(axis=0))
        return np.concatenate([pairs[:, first], np.diff(first, append=len(order)).astype(np.uint64)[None]])

    node, keys, numbers = scan(pick, lambda one, other: np.concatenate([one, other], axis=1))
    order, numbers = np.lexsort((keys, node)), numbers.astype(np.int64)
    found = np.zeros(len(nodes), np.int64)
    np.add.at(found, node.astype(np.int64), numbers)
    _check_sizes(found, sizes)
    return keys[order], np.cumsum(numbers[order])


def _check_sizes(found: np.ndarray, expected: np.ndarray) -> None:
    if not np.array_equal(found, expected):
        at = int(np.flatnonzero(found != expected)[0])
        raise DataError(
            f"{found[at]} rows were found where {expected[at]} were counted: the data differ from their manifest, or "
            f"two rows share a 64-bit key; run preprocess again, or change balance.seed"
        )
