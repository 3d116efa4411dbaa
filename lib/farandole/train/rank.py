"""What a launched process runs: `python -m farandole.train.rank`, one per rank.

It speaks JSON lines with the task that started it, as core/rank_spec.py says. Everything that libraries print goes to
stderr, which is the rank's log file; SIGUSR1 adds the stacks of all threads to it.
"""

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from farandole.config.load import parse_config
from farandole.core.dataset.commit import is_disk_full
from farandole.core.dataset.manifest import Manifest, read_manifest
from farandole.core.rank_spec import (
    Assignment,
    Failure,
    Joined,
    Message,
    Phase,
    RankSpec,
    Rendezvous,
    Result,
    World,
    meeting_from_json,
    spec_from_json,
    to_json,
)
from farandole.errors import DataError, FarandoleError, OtherRankError, ResourceError
from farandole.train.progress import Progress

HEARTBEAT_SECONDS = 1.0


def main() -> NoReturn:
    faulthandler.register(signal.SIGUSR1)
    stdout = _take_stdout()
    # It takes longer than anything else here, so it begins before there is a spec.
    importing = ThreadPoolExecutor(1, "import").submit(_import_tensorflow)
    line = sys.stdin.readline()
    progress = Progress()
    beat = Heartbeat(stdout, progress)
    try:
        spec = spec_from_json(line)
        if os.getppid() != spec.parent:  # it ended before this process could ask the kernel to end with it
            os._exit(1)
        beat.start()
        threads = parse_config(spec.assignment.config).train.threads_per_rank
        world = _meet(spec, threads, beat, importing)
        progress.enter(Phase.STARTING)  # anew: how long the others took to come is not this rank's own
        beat.send(Joined())
        result = TASKS[spec.assignment.task](spec.assignment, world, progress)
    except BaseException as error:
        traceback.print_exc()
        beat.send(describe_failure(error))
        sys.stderr.flush()
        # Not a return: Horovod's threads wait for peers that may be gone, and would keep the process alive.
        os._exit(1)
    beat.send(Result(result))
    sys.stderr.flush()
    # Another rank may still be receiving the last sum, which ends with an error if this process does. So the parent
    # ends it when all have their results; Horovod's own shutdown would hang where a rank has failed.
    sys.stdin.read()
    os._exit(0)


def train(assignment: Assignment, world: World, progress: Progress) -> dict[str, Any]:
    """Trains one run to its end and evaluates it."""
    from farandole.train.loop import train_run

    data, manifest = _open_data(assignment)
    return train_run(parse_config(assignment.config), manifest, data, world, progress)


def evaluate(assignment: Assignment, world: World, progress: Progress) -> dict[str, Any]:
    """Evaluates a saved model on the val and test splits."""
    from farandole.train.evaluate import evaluate_saved_model

    data, manifest = _open_data(assignment)
    rules = parse_config(assignment.config).evaluate
    return evaluate_saved_model(Path(assignment.model_directory), rules, manifest, data, world, progress)


def _open_data(assignment: Assignment) -> tuple[Path, Manifest]:
    data = Path(assignment.data_directory)
    manifest = read_manifest(data)
    if manifest.fingerprint() != assignment.data_fingerprint:
        raise DataError(f"{data} was written anew after this job had started; run the same command again")
    return data, manifest


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"train": train, "evaluate": evaluate}


class Heartbeat:
    """Tells the parent every second that this process runs, and what it is doing."""

    def __init__(self, out: TextIO, progress: Progress) -> None:
        self._out, self._lock, self._progress = out, threading.Lock(), progress

    def start(self) -> None:
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def send(self, message: Message) -> None:
        with self._lock:
            self._out.write(to_json(message) + "\n")
            self._out.flush()

    def _beat(self) -> None:
        while True:
            self.send(self._progress.state())
            time.sleep(HEARTBEAT_SECONDS)


def describe_failure(error: BaseException) -> Failure:
    """What the driver needs to raise an error again."""
    from farandole.train.horovod.distributed import is_lost_peer

    own = isinstance(error, FarandoleError)
    message, exit_code = f"{type(error).__name__}: {error}", 1
    if isinstance(error, FarandoleError):
        message, exit_code = str(error), error.exit_code
    elif is_disk_full(error):  # as it would be for ranks that are started again
        message = f"{message}; make room in paths.work, and run the same command again"
        exit_code = ResourceError.exit_code
    return Failure(
        message,
        exit_code=exit_code,
        lost_peer=isinstance(error, OtherRankError) or (not own and is_lost_peer(error)),
        traceback="".join(traceback.format_exception(error)),
    )


def _meet(spec: RankSpec, threads: int, beat: Heartbeat, importing: Future[None]) -> World:
    """Joins the other ranks, as soon as TensorFlow is there."""
    from farandole.train.horovod.distributed import join_world, start_rendezvous

    own = spec.places[spec.rank]
    if own.world.is_leader:
        beat.send(Rendezvous(start_rendezvous(spec.address, spec.places)))
    importing.result()
    _set_up_tensorflow(threads)
    meeting = meeting_from_json(sys.stdin.readline())
    join_world(
        own,
        interface=spec.interface,
        rendezvous=(meeting.rendezvous_address, meeting.rendezvous_port),
        stall_seconds=spec.stall_seconds,
    )
    return own.world


def _import_tensorflow() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    # Keras imports these where it can, for wrappers and plots that no rank uses: a quarter of all that it imports.
    with hidden("sklearn", "matplotlib"):
        import tensorflow  # noqa: F401


def _set_up_tensorflow(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 0)
    tf.config.experimental.enable_op_determinism()


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Meanwhile, these packages cannot be imported, as if they were not installed; those that are there stay."""
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _take_stdout() -> TextIO:
    """Keeps stdout for the protocol, and sends what others print there to stderr."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


if __name__ == "__main__":
    main()
