"""What driver and rank tell each other: JSON objects, one a line, never pickle.

The task that starts a rank writes a RankSpec to its stdin and, once the leader has told its Rendezvous, a Meeting. To
stdout the rank writes a RankState every second, Joined when it has met the others, and at last a Result or a Failure.
Both sides run the same farandole, so each object has exactly the keys of its class: others are refused.
"""

import json
import os
import time
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, TypeVar

from farandole.errors import ResourceError

T = TypeVar("T")


class Phase(StrEnum):
    """What the training thread of a rank is doing.

    One that stands still in SUMMING is a victim; one that does in any other phase is the culprit.
    """

    STARTING = "starting"
    OPENING = "opening"
    """A reader."""
    READING = "reading"
    """Waits for a batch."""
    COMPUTING = "computing"
    SUMMING = "summing"
    """Waits for the other ranks."""
    COUNTING = "counting"
    EVALUATING = "evaluating"
    SAVING = "saving"
    """Takes a copy of what a checkpoint holds."""
    LOGGING = "logging"
    WRITING = "writing"
    """The last checkpoint, as long as the disk takes."""


@dataclass(frozen=True)
class World:
    """Where a rank stands among the others; all counts are of ranks."""

    rank: int
    world_size: int
    local_rank: int
    local_size: int
    cross_rank: int
    cross_size: int

    @property
    def is_leader(self) -> bool:
        return self.rank == 0


@dataclass(frozen=True)
class Place:
    """Which host a rank is on, and where it stands among the others."""

    host: str
    """The same name for all ranks on it."""
    world: World


@dataclass(frozen=True)
class Assignment:
    """What all ranks of a launch are to do."""

    task: str
    """A key of farandole.train.rank.TASKS."""
    config: dict[str, Any]
    """As Config.model_dump gives it."""
    data_directory: str
    data_fingerprint: str
    """Of the manifest that the driver has read there."""
    model_directory: str = ""
    """Of the model to evaluate."""


@dataclass(frozen=True)
class RankSpec:
    """What one rank is told first."""

    assignment: Assignment
    rank: int
    places: list[Place]
    """By rank."""
    address: str
    """IP to listen on, and no other."""
    interface: str
    """That has this IP."""
    stall_seconds: int
    """How long Horovod waits for a rank that has not entered a sum."""
    parent: int = field(default_factory=os.getpid)
    """Process that starts the rank, and makes this: the rank ends with it."""


@dataclass(frozen=True)
class Meeting:
    """Where the ranks meet: told to each once the leader's rendezvous server is there."""

    rendezvous_address: str
    rendezvous_port: int


@dataclass(frozen=True)
class Rendezvous:
    """The leader's first message."""

    rendezvous_port: int


@dataclass(frozen=True)
class RankState:
    """A heartbeat: what a rank is doing, and for how long."""

    step: int
    """Optimizer steps of the run that are done; -1: none yet."""
    epoch: int
    phase: Phase
    seconds: float
    """Without any progress."""
    usual_seconds: float | None
    """What the phase takes as a rule; None: it never ended before."""
    reading: str
    """File and row group that is being read, or nothing."""


@dataclass(frozen=True)
class Joined:
    """The rank has met the others."""

    joined: bool = True


@dataclass(frozen=True)
class Result:
    """What a task has found."""

    result: dict[str, Any]


@dataclass(frozen=True)
class Failure:
    """Why a rank has ended without a result: what the driver needs to raise its error again."""

    message: str
    exit_code: int = 1
    """As in farandole.errors."""
    lost_peer: bool = False
    """It is only the consequence of another rank's failure."""
    traceback: str = ""
    time: float = field(default_factory=time.time)
    """Seconds since the epoch, to tell the first of several."""


@dataclass(frozen=True)
class Outcome:
    """How a rank has ended, as its task tells the driver."""

    rank: int
    host: str
    end: Result | Failure


Message = Rendezvous | RankState | Joined | Result | Failure


def to_json(told: RankSpec | Meeting | Message) -> str:
    """One line, without its end."""
    plain = asdict(told)
    return json.dumps({"failure": plain} if isinstance(told, Failure) else plain)


def spec_from_json(text: str) -> RankSpec:
    """Raises:
    ResourceError: it is not the spec of this version.
    """
    plain = _checked(RankSpec, json.loads(text))
    places = [_checked(Place, place) for place in plain["places"]]
    return RankSpec(
        **{
            **plain,
            "assignment": _made(Assignment, plain["assignment"]),
            "places": [Place(place["host"], _made(World, place["world"])) for place in places],
        }
    )


def meeting_from_json(text: str) -> Meeting:
    """Raises:
    ResourceError: it is not the meeting of this version.
    """
    return _made(Meeting, json.loads(text))


def message_from_json(text: str) -> Message | None:
    """What a rank has said; None: not ours, something printed it, or a killed process left half of it.

    Raises:
        ResourceError: it is a JSON object, but no message of this version.
    """
    try:
        plain = json.loads(text)
    except ValueError:
        return None
    if not isinstance(plain, dict):
        return None
    if "step" in plain:
        state = _made(RankState, plain)
        return replace(state, phase=_phase(state.phase))
    if "rendezvous_port" in plain:
        return _made(Rendezvous, plain)
    if "joined" in plain:
        return _made(Joined, plain)
    if "result" in plain:
        return _made(Result, plain)
    if plain.keys() == {"failure"}:
        return _made(Failure, plain["failure"])
    raise _stranger(f"a rank's message has keys {sorted(plain)}")


def _made(kind: type[T], plain: Any) -> T:
    return kind(**_checked(kind, plain))


def _checked(kind: type, plain: Any) -> dict[str, Any]:
    """The object, which has the keys of this class and no others."""
    if not isinstance(plain, dict):
        raise _stranger(f"{kind.__name__} is a JSON object, received {plain!r:.80}")
    names = {item.name for item in fields(kind)}
    if plain.keys() != names:
        raise _stranger(
            f"{kind.__name__} lacks {sorted(names - plain.keys())}, has unknown {sorted(plain.keys() - names)}"
        )
    return plain


def _phase(name: str) -> Phase:
    try:
        return Phase(name)
    except ValueError:
        raise _stranger(f"a rank is in phase {name!r}, expected one of {', '.join(Phase)}") from None


def _stranger(what: str) -> ResourceError:
    return ResourceError(f"{what}; driver and executors must run the same version of farandole")
