"""What crosses the border between driver and rank comes out as it went in, and nothing else crosses it."""

import json
import os

import pytest

from farandole.core.rank_spec import (
    Assignment,
    Failure,
    Joined,
    Meeting,
    Phase,
    Place,
    RankSpec,
    RankState,
    Rendezvous,
    Result,
    World,
    meeting_from_json,
    message_from_json,
    spec_from_json,
    to_json,
)
from farandole.errors import ResourceError

PLACES = [Place("a", World(0, 2, 0, 1, 0, 2)), Place("b", World(1, 2, 0, 1, 1, 2))]
ASSIGNMENT = Assignment("train", {"train": {"num_ranks": 2}}, "/d", "abc")
SPEC = RankSpec(ASSIGNMENT, 1, PLACES, "10.0.0.2", "eth0", stall_seconds=60)
MESSAGES = [
    Rendezvous(4711),
    RankState(12, 1, Phase.READING, seconds=0.5, usual_seconds=None, reading="a.parquet, row group 3"),
    Joined(),
    Result({"metrics": {}}),
    Failure("the disk was eaten", exit_code=3, lost_peer=True, traceback="stack\nof two lines"),
]
REMEDY = "; driver and executors must run the same version of farandole"


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_comes_out_as_it_went_in(message):
    line = to_json(message)
    assert "\n" not in line
    found = message_from_json(line)
    assert (type(found), found) == (type(message), message)


def test_a_phase_comes_out_as_a_phase():
    assert isinstance(message_from_json(to_json(MESSAGES[1])).phase, Phase)


def test_what_a_rank_is_told_comes_out_as_it_went_in():
    assert spec_from_json(to_json(SPEC)) == SPEC
    assert SPEC.parent == os.getpid()
    assert SPEC.places[0].world.is_leader
    assert not SPEC.places[1].world.is_leader
    assert meeting_from_json(to_json(Meeting("10.0.0.1", 4711))) == Meeting("10.0.0.1", 4711)


@pytest.mark.parametrize("line", ["", "7", "[1]", "a library's greeting", '{"step": 1, "epo'])
def test_what_something_printed_is_no_message(line):
    assert message_from_json(line) is None


def without(told, *path):
    """Its JSON, but for the key at the end of this path."""
    plain = inner = json.loads(to_json(told))
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return json.dumps(plain)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("parent",), "RankSpec lacks ['parent'], has unknown []"),
        (("assignment", "task"), "Assignment lacks ['task'], has unknown []"),
        (("places", 1, "host"), "Place lacks ['host'], has unknown []"),
        (("places", 0, "world", "cross_size"), "World lacks ['cross_size'], has unknown []"),
    ],
)
def test_a_spec_that_lacks_something_is_refused(path, message):
    with pytest.raises(ResourceError) as caught:
        spec_from_json(without(SPEC, *path))
    assert str(caught.value) == message + REMEDY


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", "a rank's message has keys []"),
        ('{"news": 1}', "a rank's message has keys ['news']"),
        ('{"failure": {}, "more": 1}', "a rank's message has keys ['failure', 'more']"),
        ('{"failure": 7}', "Failure is a JSON object, received 7"),
        ('{"result": {}, "more": 1}', "Result lacks [], has unknown ['more']"),
        ('{"joined": true, "more": 1}', "Joined lacks [], has unknown ['more']"),
        ('{"rendezvous_port": 1, "more": 1}', "Rendezvous lacks [], has unknown ['more']"),
        (
            '{"step": 1, "phase": "computing", "beats": 3}',
            "RankState lacks ['epoch', 'reading', 'seconds', 'usual_seconds'], has unknown ['beats']",
        ),
        (
            to_json(MESSAGES[1]).replace('"reading", "sec', '"dozing", "sec'),
            "a rank is in phase 'dozing', expected one of starting, opening, reading, computing, summing, counting, "
            "evaluating, saving, logging, writing",
        ),
    ],
)
def test_a_message_of_another_version_is_refused(line, message):
    with pytest.raises(ResourceError) as caught:
        message_from_json(line)
    assert str(caught.value) == message + REMEDY


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"rendezvous_address": "a"}', "Meeting lacks ['rendezvous_port'], has unknown []"),
        ("[" + "1," * 99 + "1]", "Meeting is a JSON object, received [" + "1, " * 26 + "1"),
    ],
)
def test_a_meeting_of_another_version_is_refused(line, message):
    with pytest.raises(ResourceError) as caught:
        meeting_from_json(line)
    assert str(caught.value) == message + REMEDY
