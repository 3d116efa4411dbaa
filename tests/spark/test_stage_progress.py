"""What is said while Spark works, and that its bar is gone before ours is drawn."""

import re
import threading
import time

from farandole.spark import stage_progress
from farandole.spark.stage_progress import describe_stages, end_bar, told


def test_tasks_that_are_done_are_told_while_the_others_run(spark, tmp_path, monkeypatch):
    monkeypatch.setattr(stage_progress, "TELL_SECONDS", 0.05)
    go, said = tmp_path / "go", threading.Event()

    def look(message: str) -> None:
        if "1 of 2 tasks done" in message:
            assert re.fullmatch(r"preprocess: 1 of 2 tasks done, \d+ s so far", message)
            said.set()
            go.touch()

    def work(number: int) -> None:
        while number and not go.exists():
            time.sleep(0.02)

    monkeypatch.setattr(stage_progress, "say", look)
    with told(spark, "preprocess"):
        spark.sparkContext.parallelize(range(2), 2).foreach(work)
    assert said.is_set()
    assert describe_stages(spark) == "at work on the driver"


def test_a_terminal_has_sparks_bar_instead(spark, monkeypatch):
    monkeypatch.setattr(stage_progress, "on_terminal", lambda: True)
    with told(spark, "preprocess"):
        assert "stage progress" not in [thread.name for thread in threading.enumerate()]


def test_sparks_bar_can_be_ended_more_than_once(spark):
    for _ in range(2):  # what is seen of it: tests/jobs, in a terminal
        end_bar(spark)
