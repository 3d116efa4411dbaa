"""Which address of its host each rank uses, and through which interface: found from the hosts' own, or given.

Host names are not asked: on many systems a host's own name leads to 127.0.1.1, which nobody else can reach.
"""

import socket
from ipaddress import IPv4Interface, ip_network

import psutil

from farandole.errors import ResourceError
from farandole.spark.ranks.placement import Offer, Seat

REACH_SECONDS = 10.0
"""How long a rank may take to reach the leader's port."""


def list_offers(driver_host: str) -> tuple[Offer, ...]:
    """This host's IPv4 addresses: first that from which it reaches the driver, last the loopback address.

    Only the first address of an interface counts, since gloo is told the interface and binds to that one.
    """
    routed = _source_towards(driver_host)
    running = {name for name, state in psutil.net_if_stats().items() if state.isup}
    offers = []
    for name, entries in psutil.net_if_addrs().items():
        first = next((entry for entry in entries if entry.family == socket.AF_INET and entry.netmask), None)
        if first and name in running:
            offers.append(Offer(name, str(IPv4Interface(f"{first.address}/{first.netmask}"))))
    return tuple(sorted(offers, key=lambda offer: (offer.address != routed, _ip(offer).is_loopback)))


def plan_addresses(seats: list[Seat], network: str = "") -> list[Offer]:
    """One offer of each seat, so that all ranks reach each other.

    In this order: what `network` names; loopback, when all ranks are on one host; a network that all hosts are in,
    private ones first; else the address from which each host reaches the driver. An address that several hosts claim,
    as that of a container bridge, is none of them.

    Args:
        seats: by rank.
        network: an interface (ib0), or the network that the addresses are in (10.0.0.0/8); empty: found.

    Raises:
        ResourceError: a host has nothing in the network that was given, or there is none that joins the hosts.
    """
    if network:
        return [_given(rank, seat, network) for rank, seat in enumerate(seats)]
    if len({seat.host for seat in seats}) == 1:
        return [next((o for o in seat.offers if _ip(o).is_loopback), seat.offers[0]) for seat in seats]
    usable = [[o for o in seat.offers if not _ip(o).is_loopback and not _ip(o).is_link_local] for seat in seats]
    for candidate in sorted(usable[0], key=lambda offer: not _ip(offer).is_private):
        inside = [[o for o in offers if _ip(o) in _ip(candidate).network] for offers in usable]
        if all(inside) and _told_apart(seats, [offers[0] for offers in inside]):
            return [offers[0] for offers in inside]
    routed = [offers[0] for offers in usable if offers]
    if len(routed) == len(seats) and _told_apart(seats, routed):
        return routed
    raise ResourceError(
        f"no network joins the hosts of the ranks: {'; '.join(sorted({_describe(seat) for seat in seats}))}; "
        f"connect them, or name an interface or a network with train.network"
    )


def why_unreachable(seats: list[Seat], rank: int, address: str, port: int) -> str:
    """Empty when this rank reaches the leader's port, else a sentence for the user."""
    try:
        socket.create_connection((address, port), timeout=REACH_SECONDS).close()
    except OSError as error:
        return (
            f"rank {rank} on {seats[rank].host} cannot reach rank 0 on {seats[0].host} at {address}:{port} ({error}); "
            f"open all ports between the hosts, or name another network with train.network"
        )
    return ""


def _given(rank: int, seat: Seat, network: str) -> Offer:
    for offer in seat.offers:
        if offer.interface == network or ("/" in network and _ip(offer) in ip_network(network, strict=False)):
            return offer
    raise ResourceError(f"rank {rank} has no address in train.network {network!r}; {_describe(seat)}")


def _told_apart(seats: list[Seat], chosen: list[Offer]) -> bool:
    owner: dict[str, str] = {}
    return all(owner.setdefault(o.address, seat.host) == seat.host for seat, o in zip(seats, chosen, strict=True))


def _describe(seat: Seat) -> str:
    return f"{seat.host} has " + (", ".join(f"{o.interface} {o.address_and_prefix}" for o in seat.offers) or "none")


def _ip(offer: Offer) -> IPv4Interface:
    return IPv4Interface(offer.address_and_prefix)


def _source_towards(host: str) -> str:
    """The address that packets to this host carry; a UDP socket sends none to find out."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, 9))
            return str(probe.getsockname()[0])
    except OSError:  # no route, or a name that nobody knows here
        return ""
