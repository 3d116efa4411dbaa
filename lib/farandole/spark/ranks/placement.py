"""Which rank runs where: a pure function of what the tasks of the barrier stage say of themselves."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

from farandole.core.rank_spec import Place, World
from farandole.errors import ResourceError


class Offer(NamedTuple):
    """One of a host's addresses."""

    interface: str
    address_and_prefix: str
    """IPv4, as 10.0.0.2/24."""

    @property
    def address(self) -> str:
        return self.address_and_prefix.partition("/")[0]


@dataclass(frozen=True)
class Seat:
    """What one task says of itself."""

    host: str
    offers: tuple[Offer, ...] = ()
    """Addresses of the host, the likeliest first."""
    gpus: tuple[str, ...] = ()
    """GPU addresses that Spark assigned to the task."""

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Seat":
        """Back from the JSON of asdict."""
        return cls(plain["host"], tuple(Offer(*offer) for offer in plain["offers"]), tuple(plain["gpus"]))


def plan_places(seats: list[Seat]) -> list[Place]:
    """Ranks are task numbers; local ranks count up on each host, cross ranks over the hosts that have that local rank.

    Raises:
        ResourceError: two ranks on one host were assigned the same GPU.
    """
    on_host: dict[str, list[int]] = defaultdict(list)
    for rank, seat in enumerate(seats):
        on_host[seat.host].append(rank)
    _check_gpus(seats, on_host)
    local_rank = {rank: i for ranks in on_host.values() for i, rank in enumerate(ranks)}
    across = {i: [ranks[i] for ranks in on_host.values() if len(ranks) > i] for i in set(local_rank.values())}
    worlds = [
        World(
            rank=rank,
            world_size=len(seats),
            local_rank=local_rank[rank],
            local_size=len(on_host[seat.host]),
            cross_rank=across[local_rank[rank]].index(rank),
            cross_size=len(across[local_rank[rank]]),
        )
        for rank, seat in enumerate(seats)
    ]
    return [Place(seat.host, world) for seat, world in zip(seats, worlds, strict=True)]


def _check_gpus(seats: list[Seat], on_host: dict[str, list[int]]) -> None:
    for host, ranks in on_host.items():
        owner: dict[str, int] = {}
        for rank in ranks:
            for gpu in seats[rank].gpus:
                if gpu in owner:
                    raise ResourceError(
                        f"ranks {owner[gpu]} and {rank} on {host} were both assigned GPU {gpu}; set "
                        f"spark.task.resource.gpu.amount to 1 and give the executor as many GPUs as it has slots"
                    )
                owner[gpu] = rank
