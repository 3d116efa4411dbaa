"""Ranks on hosts, by hand and over many clusters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farandole.core.rank_spec import Place, World
from farandole.errors import ResourceError
from farandole.spark.ranks.placement import Seat, plan_places


def test_three_ranks_on_two_hosts_by_hand():
    assert plan_places([Seat("a"), Seat("b"), Seat("a")]) == [
        Place("a", World(0, 3, local_rank=0, local_size=2, cross_rank=0, cross_size=2)),
        Place("b", World(1, 3, local_rank=0, local_size=1, cross_rank=1, cross_size=2)),
        Place("a", World(2, 3, local_rank=1, local_size=2, cross_rank=0, cross_size=1)),
    ]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_every_place_is_taken_once(hosts):
    seated = plan_places([Seat(host) for host in hosts])
    assert [place.host for place in seated] == hosts
    places = [place.world for place in seated]
    assert [place.rank for place in places] == list(range(len(hosts)))
    for host in set(hosts):
        local = [place.local_rank for place, own in zip(places, hosts, strict=True) if own == host]
        assert sorted(local) == list(range(hosts.count(host)))
    for number in {place.local_rank for place in places}:
        across = [place for place in places if place.local_rank == number]
        assert sorted(place.cross_rank for place in across) == list(range(len(across)))
        assert {place.cross_size for place in across} == {len(across)}


def test_two_ranks_on_one_gpu_are_refused():
    seats = [Seat("a", gpus=("0",)), Seat("b", gpus=("0",)), Seat("a", gpus=("1", "0"))]
    with pytest.raises(ResourceError, match=r"ranks 0 and 2 on a were both assigned GPU 0; set spark.task.resource"):
        plan_places(seats)
