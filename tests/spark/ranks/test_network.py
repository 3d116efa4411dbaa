"""Addresses for ranks: by hand over the networks that clusters have, and really asked of this host."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farandole.config.load import parse_config
from farandole.errors import ConfigError, ResourceError
from farandole.spark.ranks.network import list_offers, plan_addresses, why_unreachable
from farandole.spark.ranks.placement import Offer, Seat

LOOPBACK = Offer("lo", "127.0.0.1/8")
BRIDGE = Offer("docker0", "172.17.0.1/16")


def seat(host: str, *offers: str) -> Seat:
    """Offers as `eth0 10.0.0.1/24`, in this order."""
    return Seat(host, (*(Offer(*offer.split()) for offer in offers), LOOPBACK))


def chosen(*seats: Seat, network: str = "") -> list[str]:
    return [f"{offer.interface} {offer.address}" for offer in plan_addresses(list(seats), network)]


def test_ranks_on_one_host_meet_on_loopback():
    assert chosen(seat("a", "eth0 10.0.0.1/24"), seat("a", "eth0 10.0.0.1/24")) == ["lo 127.0.0.1"] * 2
    assert plan_addresses([Seat("a", (BRIDGE,))]) == [BRIDGE]  # a container without loopback


def test_the_address_towards_the_driver_is_taken_where_all_hosts_are_in_its_network():
    a = seat("a", "eth1 10.0.0.1/24", "eth0 192.168.7.1/24")
    b = seat("b", "eth0 192.168.7.2/24", "ens3 10.0.0.2/24")
    assert chosen(a, b, a) == ["eth1 10.0.0.1", "ens3 10.0.0.2", "eth1 10.0.0.1"]


def test_a_private_network_comes_before_a_public_one():
    a, b = seat("a", "eth0 8.8.4.1/24", "eth1 10.0.0.1/24"), seat("b", "eth0 8.8.4.2/24", "eth1 10.0.0.2/24")
    assert chosen(a, b) == ["eth1 10.0.0.1", "eth1 10.0.0.2"]
    assert chosen(seat("a", "eth0 8.8.4.1/24"), seat("b", "eth0 8.8.4.2/24")) == ["eth0 8.8.4.1", "eth0 8.8.4.2"]


def test_a_container_bridge_with_the_same_address_on_every_host_joins_nothing():
    a = seat("a", "docker0 172.17.0.1/16", "eth0 8.8.4.1/24")
    b = seat("b", "docker0 172.17.0.1/16", "eth0 8.8.4.2/24")
    assert chosen(a, b) == ["eth0 8.8.4.1", "eth0 8.8.4.2"]


def test_hosts_in_routed_networks_keep_the_address_towards_the_driver():
    assert chosen(seat("a", "eth0 10.1.0.2/24"), seat("b", "eth0 10.2.0.2/24")) == ["eth0 10.1.0.2", "eth0 10.2.0.2"]


def test_what_the_user_names_is_taken():
    a = seat("a", "eth0 10.0.0.1/24", "ib0 192.168.7.1/24")
    b = seat("b", "eth0 10.0.0.2/24", "ib0 192.168.7.2/24")
    for network in ("ib0", "192.168.0.0/16"):
        assert chosen(a, b, network=network) == ["ib0 192.168.7.1", "ib0 192.168.7.2"]
    with pytest.raises(
        ResourceError, match=r"rank 1 has no address in train.network 'ib0'; b has eth0 10.0.0.2/24, lo"
    ):
        chosen(a, seat("b", "eth0 10.0.0.2/24"), network="ib0")


@pytest.mark.parametrize("offers", [(), ("eth0 10.0.0.1/24",), ("eth0 169.254.3.4/16",)])
def test_hosts_that_nothing_joins_are_refused(offers):
    with pytest.raises(ResourceError, match=r"no network joins the hosts of the ranks: a has eth0 10.0.0.1/24, lo 127"):
        chosen(seat("a", "eth0 10.0.0.1/24"), seat("b", *offers))


addresses = st.builds(
    "eth{} 10.{}.0.{}/24".format, st.integers(0, 3), st.integers(0, 2), st.integers(1, 3)
)  # few, so that they meet


@given(st.lists(st.lists(addresses, max_size=3), min_size=1, max_size=5))
def test_every_rank_gets_an_address_of_its_own_host_that_no_other_host_has(hosts):
    seats = [seat(f"host-{number}", *offers) for number, offers in enumerate(hosts)]
    try:
        plan = plan_addresses(seats)
    except ResourceError:
        return
    assert all(offer in own.offers for offer, own in zip(plan, seats, strict=True))
    assert len({offer.address for offer in plan}) == len(hosts)
    assert len(hosts) == 1 or LOOPBACK not in plan


def test_this_host_offers_its_own_addresses():
    assert list_offers("127.0.0.1")[0] == LOOPBACK
    assert list_offers("no.such.host.invalid")[-1] == LOOPBACK


def test_a_leader_that_cannot_be_reached_is_named():
    seats = [Seat("a"), Seat("b")]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert why_unreachable(seats, 1, "127.0.0.1", port) == ""
    assert why_unreachable(seats, 1, "127.0.0.1", port) == (
        f"rank 1 on b cannot reach rank 0 on a at 127.0.0.1:{port} ([Errno 111] Connection refused); "
        f"open all ports between the hosts, or name another network with train.network"
    )


@pytest.mark.parametrize("network", ["", "ib0", "10.0.0.0/8", "10.0.0.7/8", "br-0a1b.2"])
def test_networks_that_can_be_named(network):
    assert parse_config({"train": {"network": network}}).train.network == network


@pytest.mark.parametrize("network", ["10.0.0.0/33", "300.0.0.0/8", "eth0; reboot", "a" * 16])
def test_networks_that_cannot(network):
    with pytest.raises(ConfigError, match=f"an IPv4 network such as 10.0.0.0/8; received '{network}'"):
        parse_config({"train": {"network": network}})
