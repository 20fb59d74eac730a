"""Hosts that hang or speak one family only, in a network of its own: what
test_out_network.py runs there. Nobody listens at the other end of `silent0`: what is sent
to an address in its networks is lost, as to a host behind a broken router."""
import contextlib
import subprocess
import time

import pytest

import ports
from hayauma import Hayauma
from nsd import Nsd
from smtp_peer import SmtpPeer

SENDER = "hanako@example.jp"
RECORDS = """
both.example. MX 10 both.hosts.example.
both.hosts.example. AAAA 2001:db8:1::11
both.hosts.example. A 192.0.2.11
hang6.example. MX 10 hang6.hosts.example.
hang6.hosts.example. AAAA 2001:db8:ff::11
hang6.hosts.example. A 192.0.2.11
hang4.example. MX 10 hang4.hosts.example.
hang4.hosts.example. A 198.51.100.11
hang4.hosts.example. AAAA 2001:db8:1::11
only6.example. MX 10 only6.hosts.example.
only6.hosts.example. AAAA 2001:db8:1::11
only4.example. MX 10 only4.hosts.example.
only4.hosts.example. A 192.0.2.11
noroute6.example. MX 10 noroute6.hosts.example.
noroute6.hosts.example. AAAA 2001:db8:ee::11
noroute6.hosts.example. A 192.0.2.11
hangs.example. MX 10 hangs.hosts.example.
hangs.example. MX 20 only4.hosts.example.
hangs.hosts.example. AAAA 2001:db8:ff::12
hangs.hosts.example. A 198.51.100.12
lost.example. MX 10 hangs.hosts.example.
"""
COMMANDS = """\
ip link set lo up
ip link add silent0 type veth peer name silent1
ip link set silent0 arp off
ip link set silent0 up
ip link set silent1 up
ip addr add 198.51.100.1/24 dev silent0
ip -6 addr add 2001:db8:ff::1/64 dev silent0 nodad
ip addr add 192.0.2.11/32 dev lo
ip -6 addr add 2001:db8:1::11/128 dev lo nodad
ip -6 addr add 2001:db8:1::12/128 dev lo nodad
ip -6 route add unreachable 2001:db8:ee::/64
"""


@pytest.fixture(scope="module", autouse=True)
def network():
    for command in COMMANDS.splitlines():
        subprocess.run(command.split(), check=True)


@contextlib.contextmanager
def site(options="", dns_options=""):
    with Nsd(RECORDS) as dns:
        port = ports.free_port()
        of_dns = (dns.options() % port).rstrip("}") + dns_options + " }"
        with Hayauma(users=[SENDER], listen={"smtp": port}, options="\n".join(
                [of_dns, "queue { retry_min = 2s retry_max = 4s }", options])) as server, \
                SmtpPeer("192.0.2.11", port) as four, SmtpPeer("2001:db8:1::11", port) as six:
            yield server, four, six


def deliver(server, domain, peer):
    """How long it took."""
    count, start = len(peer.messages), time.monotonic()
    assert server.send(SENDER, [f"u@{domain}"], "Subject: x\r\n\r\nx\r\n") == {}
    ports.wait_until(lambda: len(peer.messages) > count, f"{domain}:\n" + server.log(), 20)
    return time.monotonic() - start


def test_families():
    with site() as (server, four, six):
        deliver(server, "both.example", six)  # IPv6 first
        deliver(server, "only6.example", six)
        deliver(server, "only4.example", four)
        assert deliver(server, "noroute6.example", four) < 4  # refused: the other at once
        assert deliver(server, "hang6.example", four) < 12    # silent: soon
        assert deliver(server, "hang6.example", four) < 4     # and remembered


def test_ipv4_first():
    with site(dns_options="ipv4_first = yes") as (server, four, six):
        deliver(server, "both.example", four)
        assert deliver(server, "hang4.example", six) < 12


def test_a_host_that_hangs_and_the_next_preference():
    with site() as (server, four, six):
        assert deliver(server, "hangs.example", four) < 20
        assert not six.messages


@pytest.mark.long
def test_all_hosts_hang():
    """The mail waits, and no other does."""
    with site() as (server, four, _):
        server.send(SENDER, ["u@lost.example"], "Subject: x\r\n\r\nx\r\n")
        assert deliver(server, "only4.example", four) < 4
        ports.wait_until(lambda: [r for row in server.queue() for r in row["recipients"]
                                  if r["attempts"]], "deferred", 60)
        assert server.messages(SENDER) == []


def test_source_addresses_of_both_families():
    with site('source_addresses = { "192.0.2.11", "2001:db8:1::12" }') as (server, four, six):
        seen = []
        for peer in (four, six):
            original = peer.server.get_request

            def get_request(original=original):
                connection, at = original()
                seen.append(at[0])
                return connection, at
            peer.server.get_request = get_request
        deliver(server, "only4.example", four)
        deliver(server, "only6.example", six)
        assert seen == ["192.0.2.11", "2001:db8:1::12"]
