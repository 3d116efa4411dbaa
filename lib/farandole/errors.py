"""What can go wrong, and the exit code that tells it to a script.

FarandoleError            1  anything that has no code of its own
 ├── ConfigError          2  bad config or usage
 ├── DataError            3  bad or unsafe data, refused
 │    └── OtherRankError  3  the same, on the ranks beside the one that met it
 ├── ResourceError        4  slots, GPU, memory, disk or Java missing
 ├── GateError            5  a figure that was asked for was not reached
 ├── ConflictError        1  another process is writing the same output
 └── RankError            1  a rank died or raised an error that is none of the above

Messages say what is wrong, what was received, and what to do, in one line.
"""


class FarandoleError(Exception):
    """Base of every error that farandole raises on purpose."""

    exit_code = 1


class ConfigError(FarandoleError):
    """A config file, a --set or the usage of a job is wrong."""

    exit_code = 2


class DataError(FarandoleError):
    """Input or stored data is bad, unsafe, missing or not what its manifest says."""

    exit_code = 3


class OtherRankError(DataError):
    """A rank stops for what another brought into a sum over ranks: the other's error is the one to show."""


class ResourceError(FarandoleError):
    """The machine or the cluster lacks what the job needs."""

    exit_code = 4


class GateError(FarandoleError):
    """A required figure, such as a least accuracy, was not reached."""

    exit_code = 5


class ConflictError(FarandoleError):
    """Another process is writing the same output."""


class RankError(FarandoleError):
    """A rank died, or raised an error of its own."""


def error_for(exit_code: int, message: str) -> FarandoleError:
    """The error of the tree that has this exit code: how a rank's failure crosses a process boundary as plain JSON."""
    for kind in (ConfigError, DataError, ResourceError, GateError):
        if kind.exit_code == exit_code:
            return kind(message)
    return RankError(message)
