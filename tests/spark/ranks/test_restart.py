"""Which failures are worth another try, and which one is shown in the end."""

import pytest

from farandole.core.rank_spec import Failure, Outcome, Result
from farandole.errors import DataError, RankError, ResourceError
from farandole.spark.ranks.launch import describe_lost_task, first_cause, lost_spark
from farandole.spark.ranks.restart import launch_with_restarts


class Launcher:
    """Fails with each of these errors in turn, then succeeds."""

    def __init__(self, *errors):
        self.errors, self.calls = list(errors), 0

    def __call__(self, restart):
        assert restart == self.calls
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return [{"rank": 0}]


def test_a_dead_rank_is_started_again_and_the_user_is_told(capfd):
    launch = Launcher(RankError("rank 1 on h: killed"), RankError("rank 0 on h: hangs"))
    assert launch_with_restarts(launch, lambda: (9, "from epoch 1, step 4"), 2) == [{"rank": 0}]
    assert capfd.readouterr().err.splitlines() == [
        "train: rank 1 on h: killed; restart 1 of 2 from epoch 1, step 4",
        "train: rank 0 on h: hangs; restart 2 of 2 from epoch 1, step 4",
    ]


def test_giving_up_shows_the_first_failure():
    first = RankError("rank 1 on h: killed")
    launch = Launcher(first, *(RankError(f"echo {i}") for i in range(9)))
    with pytest.raises(
        RankError,
        match="gave up after 2 restarts without a newer checkpoint; the first failure was: rank 1 on h: killed",
    ) as caught:
        launch_with_restarts(launch, lambda: (0, "from the start"), 2)
    assert caught.value.__cause__ is first
    assert launch.calls == 3


def test_restarts_count_anew_when_a_newer_checkpoint_was_written(capfd):
    steps = iter([0, 0, 7, 7, 8, 8, 8, 8])  # the first is asked for before anything runs
    errors = [RankError(f"rank 1 on h: loss {number}") for number in range(7)]
    launch = Launcher(*errors)
    with pytest.raises(
        RankError, match=r"gave up after 2 restarts without .* the first failure was: .* loss 3"
    ) as caught:
        launch_with_restarts(launch, lambda: (step := next(steps), f"from step {step}"), 2)
    assert caught.value.__cause__ is errors[3]
    assert [line.split("; ")[1] for line in capfd.readouterr().err.splitlines()] == [
        "restart 1 of 2 from step 0",
        "restart 1 of 2 from step 7",
        "restart 2 of 2 from step 7",
        "restart 1 of 2 from step 8",
        "restart 2 of 2 from step 8",
    ]


def test_no_room_to_start_again_does_not_hide_why():
    launch = Launcher(RankError("rank 1 on h: killed"), ResourceError("the cluster offers 1 slot"))
    with pytest.raises(
        ResourceError, match=r"^the cluster offers 1 slot; ranks had to start again: rank 1 on h: killed"
    ):
        launch_with_restarts(launch, lambda: (0, "from the start"), 3)
    with pytest.raises(ResourceError, match=r"^the cluster offers 0 slots$"):
        launch_with_restarts(Launcher(ResourceError("the cluster offers 0 slots")), lambda: (0, "from the start"), 3)


def test_without_restarts_the_error_is_the_ranks_own():
    launch = Launcher(RankError("rank 1 on h: killed"))
    with pytest.raises(RankError, match=r"^rank 1 on h: killed$"):
        launch_with_restarts(launch, lambda: (0, "from the start"), 0)


def test_bad_data_would_be_as_bad_again():
    launch = Launcher(DataError("NaN"))
    with pytest.raises(DataError, match="NaN"):
        launch_with_restarts(launch, lambda: (0, "from the start"), 3)
    assert launch.calls == 1


def test_a_task_that_spark_lost_is_named_by_rank_and_host(tmp_path):
    (tmp_path / "host-1").write_text("node7")
    text = (
        "An error occurred\n: org.apache.spark.SparkException: Job aborted due to stage failure: Could not recover "
        "from a failed barrier ResultStage. Most recent failure reason: Stage failed because barrier task "
        "ResultTask(0, 1) finished unsuccessfully.\nExecutorLostFailure (executor 1 exited caused by one of the "
        "running tasks) Reason: Command exited with code 137\n\tat java"
    )
    assert describe_lost_task(text, tmp_path) == (
        "rank 1 on node7: Spark lost its task: ExecutorLostFailure (executor 1 exited caused by one of the running "
        "tasks) Reason: Command exited with code 137"
    )
    assert describe_lost_task(text, tmp_path / "gone").startswith("rank 1: Spark lost its task: ExecutorLost")
    assert describe_lost_task(": it was", tmp_path) == "Spark lost the stage that runs the ranks: it was"


def test_a_spark_that_was_told_to_end_is_no_reason_to_try_again():
    text = "An error occurred\n: org.apache.spark.SparkException: Job 0 cancelled because SparkContext was shut down\n"
    error = lost_spark(text)
    assert str(error) == "Spark was stopped from outside; run the same command again to continue"
    assert not isinstance(error, RankError)
    assert lost_spark("Job aborted due to stage failure") is None


def test_the_first_failure_that_has_no_cause_elsewhere_is_shown(tmp_path):
    outcomes = [
        Outcome(0, "node6", Failure("lost a peer", lost_peer=True, time=1.0)),
        Outcome(1, "node7", Failure("late", time=3.0)),
        Outcome(2, "node8", Failure("bad data", exit_code=3, traceback="stack", time=2.0)),
        Outcome(3, "node9", Result({})),
    ]
    error = first_cause(outcomes, tmp_path)
    assert (type(error), str(error)) == (DataError, "rank 2 on node8: bad data")
    assert str(error.__cause__) == "rank 2 on node8 said:\nstack"
    (tmp_path / "rank-2.log").touch()
    assert str(first_cause(outcomes, tmp_path)) == f"rank 2 on node8: bad data (log: {tmp_path / 'rank-2.log'})"
    assert str(first_cause(outcomes[:1], tmp_path)) == "rank 0 on node6: lost a peer"
    assert first_cause(outcomes[3:], tmp_path) is None
