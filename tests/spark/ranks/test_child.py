"""What a rank's process says, as the task that started it hears it."""

import pytest

from farandole.core.rank_spec import Failure, Meeting, RankState, Rendezvous
from farandole.spark.ranks.child import Child, Exited

PROGRAM = """
import sys
line = sys.stdin.readline()
print(7)
print('{"step": 3, "epoch": 0, "phase": "saving", "seconds": 0.5, "usual_seconds": null, "reading": ""}')
print('{"joined": true}')
print('{"rendezvous_port": 4711}')
print('{"news": 1}')
print(line, end="", file=sys.stderr)
print('{"half')
sys.exit(3)
"""


@pytest.fixture
def child(tmp_path):
    (tmp_path / "saying_rank.py").write_text(PROGRAM)
    child = Child("saying_rank", 0, tmp_path / "log", {"PYTHONPATH": str(tmp_path)})
    yield child
    child.kill()


def test_heartbeats_become_state_and_the_rest_becomes_messages(child):
    assert (child.state, child.has_joined) == (None, False)
    child.send(Meeting("10.0.0.1", 4711))
    assert child.next_message(30.0) == Rendezvous(4711)
    assert isinstance(child.state, RankState)
    assert (child.state.step, child.state.phase, child.has_joined) == (3, "saving", True)
    stranger = child.next_message(30.0)
    assert isinstance(stranger, Failure)
    assert (stranger.exit_code, stranger.message) == (
        4,
        "a rank's message has keys ['news']; driver and executors must run the same version of farandole",
    )
    assert child.next_message(30.0) == Exited(3)
    assert child.log_tail() == '{"rendezvous_address": "10.0.0.1", "rendezvous_port": 4711}'
