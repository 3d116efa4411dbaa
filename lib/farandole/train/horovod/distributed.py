"""Horovod, and nothing else of it than this: gloo rendezvous, sums over ranks, and agreement between them.

No pickle crosses a socket: the rendezvous server holds addresses, the ops move numbers.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

import numpy as np

from farandole.core.rank_spec import Place
from farandole.errors import DataError, RankError, ResourceError

HOROVOD = "0.28.1+farandole"
"""What packages/horovod builds: a published one listens elsewhere, and lets sums wait for CYCLE_SECONDS."""
CYCLE_SECONDS = 0.02
"""How long Horovod's thread pauses at most while there are no sums; its look-out for stalled ranks needs an end."""
START_SECONDS = 300
"""How long ranks wait for each other at the start: some hosts read TensorFlow from a slower disk."""
MAX_REQUESTS = 64
"""How many requests the rendezvous server answers at a time, besides four of each rank."""


def start_rendezvous(address: str, places: Sequence[Place]) -> int:
    """Starts gloo's rendezvous server in a thread, on this address only, and returns its port. For the leader.

    Args:
        address: the IP to bind to; the other ranks must reach it.
        places: of every rank, which is how many entries the server waits for in each scope.
    """
    from horovod.runner.http.http_server import RendezvousHandler, RendezvousHTTPServer

    num_ranks = len(places)
    slots = threading.BoundedSemaphore(MAX_REQUESTS + 4 * num_ranks)
    # Each rank tells 136 bytes for each other one, in some scopes; room for twice that in eight of them.
    most_bytes = 2**16 + 8 * 272 * num_ranks**2

    class OnlyAddresses(RendezvousHandler):
        """Costs bounded memory, and tells nothing of the files here, as Horovod's own handler would."""

        def do_PUT(self) -> None:  # noqa: N802
            length = self.headers.get("Content-Length", "")
            with self.server.cache_lock:
                entries = [entry for scope in self.server.cache.values() for entry in scope.items()]
            held = sum(len(key) + len(value) + 128 for key, value in entries)
            if length.isdecimal() and held + int(length) <= most_bytes:
                super().do_PUT()
            else:
                self.send_error(413)

        def do_HEAD(self) -> None:  # noqa: N802
            self.send_error(405)

        def finish(self) -> None:
            super().finish()
            _read_the_rest(self.connection, most_bytes, seconds=float(self.timeout or 0))

    class FewAtATime(RendezvousHTTPServer):
        """Hangs up on whoever comes while all its threads are busy; none is for longer than Horovod's 3 seconds."""

        def process_request(self, request: Any, client_address: Any) -> None:
            if slots.acquire(blocking=False):
                super().process_request(request, client_address)
            else:
                self.shutdown_request(request)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                slots.release()

    server: Any = FewAtATime((address, 0), OnlyAddresses, 0)
    for place in places:
        world = place.world
        server.scope_size["global"] = world.world_size
        server.scope_size["local_" + place.host] = world.local_size
        server.scope_size[f"cross_{world.local_rank}"] = world.cross_size
    threading.Thread(target=server.serve_forever, name="rendezvous", daemon=True).start()
    return int(server.server_address[1])


def _read_the_rest(connection: socket.socket, most_bytes: int, seconds: float) -> None:
    """Lets a client that was answered, or refused, send the rest of its request: closed before, the connection would
    be reset, and the answer lost with it."""
    deadline = time.monotonic() + seconds
    with suppress(OSError):  # it is gone, or too slow
        connection.shutdown(socket.SHUT_WR)
        while most_bytes > 0 and (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            if not (data := connection.recv(2**16)):
                return
            most_bytes -= len(data)


def join_world(place: Place, *, interface: str, rendezvous: tuple[str, int], stall_seconds: int) -> None:
    """Starts Horovod in this process; returns when all ranks have joined.

    Args:
        place: this rank's.
        interface: the one to listen on, at its first IP and no other; the other ranks must reach it.
        rendezvous: IP and port of the leader's server.
        stall_seconds: how long Horovod waits for a rank that has not entered a collective.

    Raises:
        ResourceError: Horovod is not the one that packages/horovod builds; another try would find the same.
        RankError: it counts ranks otherwise.
    """
    if (found := version("horovod")) != HOROVOD:
        raise ResourceError(
            f"ranks need horovod {HOROVOD}, found {found}; install packages/horovod of farandole's sources"
        )
    world = place.world
    os.environ.update(
        HOROVOD_RANK=str(world.rank),
        HOROVOD_SIZE=str(world.world_size),
        HOROVOD_LOCAL_RANK=str(world.local_rank),
        HOROVOD_LOCAL_SIZE=str(world.local_size),
        HOROVOD_CROSS_RANK=str(world.cross_rank),
        HOROVOD_CROSS_SIZE=str(world.cross_size),
        HOROVOD_HOSTNAME=place.host,
        HOROVOD_CONTROLLER="gloo",
        HOROVOD_CPU_OPERATIONS="gloo",
        HOROVOD_GLOO_RENDEZVOUS_ADDR=rendezvous[0],
        HOROVOD_GLOO_RENDEZVOUS_PORT=str(rendezvous[1]),
        HOROVOD_CYCLE_TIME=str(1e3 * CYCLE_SECONDS),
        HOROVOD_GLOO_IFACE=interface,
        NCCL_SOCKET_IFNAME=f"={interface}",  # "=": this very name, not all that begin with it
        # How long the first ranks wait for the last; past gloo's own 30 s they would abort without a word.
        HOROVOD_GLOO_TIMEOUT_SECONDS=str(START_SECONDS),
        # Off by default: without it, a rank that skips a collective leaves the others waiting for ever.
        HOROVOD_STALL_CHECK_TIME_SECONDS=str(max(1, stall_seconds // 2)),
        HOROVOD_STALL_SHUTDOWN_TIME_SECONDS=str(stall_seconds),
    )
    import horovod.tensorflow as hvd

    with _starting_batch_threads():
        hvd.init()
    if (hvd.rank(), hvd.size()) != (world.rank, world.world_size):
        raise RankError(
            f"Horovod says rank {hvd.rank()} of {hvd.size()}; the launcher said {world.rank} of {world.world_size}"
        )


@contextmanager
def _starting_batch_threads() -> Iterator[None]:
    """Threads that are started meanwhile do not preempt others when they wake up.

    gloo's event loop spins while another thread holds the lock of a connection. If it wakes up on the processor of that
    very thread, and takes it, both stand still until the scheduler's next tick: 4 ms for a sum that takes one.
    """
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    with suppress(OSError):  # a sandbox may refuse it: then sums are slower
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # a thread starts with its creator's policy
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != before[0]:
            os.sched_setscheduler(0, *before)


def sum_tensors(tensors: Sequence[Any]) -> list[Any]:
    """Sums each tensor over ranks, inside or outside a tf.function.

    They travel as one group: the ring's chunk boundaries, hence the order of additions, hence the bits of the sum,
    never depend on which tensor happened to be ready first.
    """
    import horovod.tensorflow as hvd

    return list(hvd.grouped_allreduce(list(tensors), op=hvd.Sum))


def sum_integers(values: np.ndarray, name: str) -> np.ndarray:
    """Sums an int64 array, any shape, over ranks; wraps modulo 2**64, as checksums need."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    return hvd.allreduce(tf.constant(values, tf.int64), op=hvd.Sum, name=name).numpy()


def gather_integers(values: np.ndarray, name: str) -> np.ndarray:
    """Stacks every rank's int64 [n] to [world_size, n]; n must be the same on all ranks."""
    import horovod.tensorflow as hvd
    import tensorflow as tf

    return hvd.allgather(tf.constant(values[None, :], tf.int64), name=name).numpy()


def agree(fingerprint: str, what: str, parts: dict[str, str] | None = None) -> None:
    """Checks that all ranks hold the same fingerprint (hex), before anything is computed from what it names.

    Args:
        fingerprint: of `what`; its first 15 hex digits are compared, which fit an int64.
        what: for the message.
        parts: name -> hex fingerprint of each part, in the same order on all ranks, to say where they differ.

    Raises:
        DataError: names the first rank that differs from the leader, and the parts in which it does.
    """
    parts = parts or {}
    own = np.array([_short(fingerprint), len(parts)], np.int64)
    gathered = gather_integers(own, f"agree.{what}")
    different = np.flatnonzero((gathered != gathered[0]).any(axis=1))
    if not len(different):
        return
    names: list[str] = []
    if (gathered[:, 1] == gathered[0, 1]).all() and parts:
        by_part = gather_integers(np.array([_short(part) for part in parts.values()], np.int64), f"agree.{what}.parts")
        names = [name for name, column in zip(parts, by_part.T, strict=True) if (column != column[0]).any()]
    raise DataError(
        f"rank {different[0]} has another {what} than rank 0"
        + (f" (they differ in {', '.join(names[:5])})" if names else "")
        + "; all ranks must see the same files and the same software"
    )


def is_lost_peer(error: BaseException) -> bool:
    """Whether an error only says that another rank is gone, so that the other rank's own error is the one to show."""
    text = f"{type(error).__name__}: {error}"
    return any(sign in text for sign in ("HorovodInternalError", "Horovod has been shut down", "Gloo", "gloo"))


def _short(fingerprint: str) -> int:
    return int(fingerprint[:15], 16)
