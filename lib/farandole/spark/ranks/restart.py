"""Starts ranks again after one died or hung: the next try goes on at the newest checkpoint."""

from collections.abc import Callable
from typing import Any

from farandole.errors import RankError
from farandole.log import say

Results = list[dict[str, Any]]


def launch_with_restarts(
    launch: Callable[[int], Results], resume_point: Callable[[], str], max_restarts: int
) -> Results:
    """Calls `launch` until it succeeds, at most 1 + max_restarts times.

    Only a RankError is worth another try: bad data, a bad config or a NaN would come back at the same step.

    Args:
        launch: runs all ranks to the end of training; it is told how many restarts there were.
        resume_point: where the newest checkpoint stands, in words.
        max_restarts: how many failures are put up with.

    Raises:
        RankError: of the FIRST failure, when every try failed; later ones are often only its echo.
        FarandoleError: any other error of a rank, at once.
    """
    first: RankError | None = None
    for restart in range(max_restarts + 1):
        try:
            return launch(restart)
        except RankError as error:
            first = first or error
            if restart < max_restarts:
                say(f"train: {error}; restart {restart + 1} of {max_restarts} {resume_point()}")
    assert first is not None
    if max_restarts == 0:
        raise first
    raise RankError(f"gave up after {max_restarts} restarts; the first failure was: {first}") from first
