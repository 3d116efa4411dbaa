"""Starts ranks again after one died or hung: the next try goes on at the newest checkpoint."""

from collections.abc import Callable
from typing import Any

from farandole.errors import RankError, ResourceError
from farandole.log import say

Results = list[dict[str, Any]]


def launch_with_restarts(
    launch: Callable[[int], Results], resume_point: Callable[[], tuple[int, str]], max_restarts: int
) -> Results:
    """Calls `launch` until it succeeds; a run of weeks outlives any number of lost hosts, as long as it gets on.

    Only a RankError is worth another try: bad data, a bad config or a NaN would come back at the same step.

    Args:
        launch: runs all ranks to the end of training; it is told how many restarts there were.
        resume_point: the step at which the newest checkpoint stands, and the same in words.
        max_restarts: how many failures in a row are put up with between which no newer checkpoint was written.

    Raises:
        RankError: of the FIRST failure since the newest checkpoint; later ones are often only its echo.
        ResourceError: there is no room to start again; says what had ended the ranks.
        FarandoleError: any other error of a rank, at once.
    """
    first: RankError | None = None
    restarts, in_a_row, (reached, _) = 0, 0, resume_point()
    while True:
        try:
            return launch(restarts)
        except ResourceError as error:
            raise error if first is None else ResourceError(f"{error}; ranks had to start again: {first}") from first
        except RankError as error:
            step, words = resume_point()
            if step > reached:
                first, in_a_row, reached = None, 0, step
            first = first or error
            if in_a_row == max_restarts:
                break
            restarts, in_a_row = restarts + 1, in_a_row + 1
            say(f"train: {error}; restart {in_a_row} of {max_restarts} {words}")
    if max_restarts == 0:
        raise first
    raise RankError(
        f"gave up after {max_restarts} restarts without a newer checkpoint; the first failure was: {first}"
    ) from first
