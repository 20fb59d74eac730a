"""Where mail goes: MX records from a real nsd, and hosts that fail in every way.
The hosts are on 127.0.0.x, all at the one port that dns.port names."""
import contextlib
import socket

import pytest

import ports
from hayauma import Hayauma
from nsd import Nsd
from smtp_peer import SmtpPeer

SENDER = "hanako@example.jp"
MESSAGE = "Subject: out\r\n\r\nHello\r\n"
RETRIES = "queue { retry_min = 1s retry_max = 2s }"

RECORDS = """
two.example. MX 10 a.hosts.example.
two.example. MX 20 b.hosts.example.
equal.example. MX 5 a.hosts.example.
equal.example. MX 5 b.hosts.example.
implicit.example. A 127.0.0.11
null.example. MX 0 .
nothing.example. TXT "no host"
dangling.example. MX 10 no-such.hosts.example.
alias.example. MX 10 cname.hosts.example.
cname.hosts.example. CNAME a.hosts.example.
self.example. MX 10 mx1.example.jp.
address.example. MX 10 ourselves.hosts.example.
behind.example. MX 10 a.hosts.example.
behind.example. MX 20 mx1.example.jp.
behind.example. MX 30 b.hosts.example.
later.example. MX 10 gone.broken.example.
later.example. MX 20 mx1.example.jp.
ourselves.hosts.example. A 127.0.0.1
mx1.example.jp. A 127.0.0.1
dead.example. MX 10 dead.hosts.example.
dead.hosts.example. A 127.0.0.19
six.example. MX 10 six.hosts.example.
six.hosts.example. AAAA ::2
six.hosts.example. A 127.0.0.11
a.hosts.example. A 127.0.0.11
b.hosts.example. A 127.0.0.12
c.hosts.example. A 127.0.0.13
broken.example. NS ns.
"""


@contextlib.contextmanager
def site(options="", dns=None, **more):
    """A Hayauma that listens on the port of all MX hosts, and its DNS."""
    dns = dns or Nsd(RECORDS, {"broken.example": None})
    with contextlib.nullcontext(dns) if dns.process else dns as names:
        port = ports.free_port()
        with Hayauma(users=[SENDER], listen={"smtp": port}, tls=False,
                     options="\n".join([names.options() % port, RETRIES, options]),
                     **more) as server:
            yield server, port


def send(server, *recipients):
    assert server.send(SENDER, list(recipients), MESSAGE) == {}


def wait_deferred(server):
    """The first recipient that waits after an attempt."""
    def first():
        waiting = [r for row in server.queue() for r in row["recipients"] if r["attempts"]]
        return waiting[0] if waiting else None
    return ports.wait_until(first, "deferred", 60)


def test_preference():
    with site() as (server, port), SmtpPeer("127.0.0.11", port) as a, \
            SmtpPeer("127.0.0.12", port) as b:
        for number in range(6):
            send(server, f"u{number}@two.example")
        ports.wait_until(lambda: len(a.messages) == 6, "all six at the first MX")
        assert not b.connections


def test_equal_preferences_share_the_load():
    with site() as (server, port), SmtpPeer("127.0.0.11", port, close_at="QUIT") as a, \
            SmtpPeer("127.0.0.12", port) as b:
        def shared():
            send(server, "u@equal.example")
            return a.messages and b.messages
        for peer in (a, b):  # each connection serves one message: each chooses anew
            peer.replies["RSET"] = "421 4.3.2 one is enough"
            peer.replies["."] = "250 2.0.0 taken"
        ports.wait_until(shared, "both get some", 40, 5.5)


@pytest.mark.parametrize("domain", ["implicit.example", "alias.example", "behind.example",
                                    "six.example"])
def test_found(domain):
    """An address where no MX is; an MX that is an alias; what stands before us in the
    list; the family that answers."""
    with site() as (server, port), SmtpPeer("127.0.0.11", port) as a:
        send(server, f"u@{domain}")
        ports.wait_until(lambda: a.messages, f"mail for {domain}:\n" + server.log())
        assert ("mx_is_alias host=cname.hosts.example" in server.log()) == (
            domain == "alias.example")


@pytest.mark.parametrize("domain, status", [
    ("null.example", "5.1.10"), ("nothing.example", "5.1.2"), ("no-such.example", "5.1.2"),
    ("dangling.example", "5.1.2"),
    ("self.example", "5.4.6"), ("address.example", "5.4.6")])
def test_final(domain, status):
    with site() as (server, _):
        send(server, f"u@{domain}")
        report = server.wait_for_messages(SENDER, 1)[0].decode()
        assert f"Status: {status}" in report, report


@pytest.mark.parametrize("domain", ["u.broken.example", "later.example", "dead.example"])
def test_later(domain):
    """Nothing that may be mended makes mail bounce: servers of a zone that are away, a
    better MX than us whose address is not to be had now, a host that is down."""
    with site() as (server, _):
        send(server, f"u@{domain}")
        recipient = wait_deferred(server)
        assert recipient["code"] == 0 and recipient["reply"], recipient
        assert server.messages(SENDER) == []


def test_no_name_server_answers():
    """The whole of DNS is silent: mail waits."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent, Nsd(RECORDS) as dns:
        silent.bind(("127.0.0.1", 0))
        dns.options = lambda: (f'dns {{ servers = {{ "127.0.0.1@{silent.getsockname()[1]}" }} '
                               'trust_anchor = "/dev/null" port = %d }')
        with site(dns=dns) as (server, _):
            send(server, "u@two.example")
            recipient = wait_deferred(server)
            assert recipient["code"] == 0 and "DNS" in recipient["reply"]


FAILURES = {
    "down": None,
    "refuses": {"replies": {"greeting": "554 5.3.2 not now"}},
    "busy": {"replies": {"greeting": "421 4.3.2 busy"}},
    "closes at greeting": {"close_at": "greeting"},
    "closes at EHLO": {"close_at": "EHLO"},
    "talks garbage": {"garbage_at": "greeting"},
    "garbage at EHLO": {"garbage_at": "EHLO"},
    "refuses EHLO": {"replies": {"EHLO": "421 4.3.2 no"}},
}


@pytest.mark.parametrize("how", FAILURES, ids=[name.replace(" ", "-") for name in FAILURES])
def test_second_mx_takes_over(how):
    behaviour = FAILURES[how]
    with site() as (server, port), contextlib.ExitStack() as stack:
        if behaviour is not None:
            stack.enter_context(SmtpPeer("127.0.0.11", port, **behaviour))
        b = stack.enter_context(SmtpPeer("127.0.0.12", port))
        send(server, "u@two.example")
        ports.wait_until(lambda: b.messages, "the second MX has it:\n" + server.log())
        assert "b.hosts.example" in server.wait_for_why("u@two.example", "b.hosts.example")


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "."])
@pytest.mark.parametrize("how", ["close_at", "garbage_at"])
def test_broken_in_the_middle_comes_again(step, how):
    """What breaks off before its end is tried again, and delivered by whom it may."""
    with site() as (server, port), SmtpPeer("127.0.0.11", port, **{how: step}) as a:
        send(server, "u@implicit.example")
        wait_deferred(server)
        a.close_at = a.garbage_at = None
        ports.wait_until(lambda: a.messages, "delivered at last:\n" + server.log(), 30)
        ports.wait_until(lambda: not server.queue(), "nothing is left")
        assert server.messages(SENDER) == []


def test_first_mx_returns():
    with site() as (server, port), SmtpPeer("127.0.0.12", port) as b:
        send(server, "u1@two.example")
        ports.wait_until(lambda: b.messages, "at the second")
        with SmtpPeer("127.0.0.11", port) as a:
            ports.wait_until(lambda: (send(server, "u@two.example"), a.messages)[1],
                             "the first one gets mail again", 90, 7)


FALLBACK = 'fallback_mx = "[127.0.0.13]:%d"'


@pytest.mark.parametrize("domain", ["dead.example", "two.example", "u.broken.example"])
def test_fallback_mx(domain):
    """When every host failed, or DNS did, the fallback takes it."""
    fallback_port = ports.free_port()
    with site(FALLBACK % fallback_port) as (server, _), \
            SmtpPeer("127.0.0.13", fallback_port, name="fallback.example") as fallback:
        send(server, f"u@{domain}")
        ports.wait_until(lambda: fallback.messages, "the fallback has it:\n" + server.log(), 60)
        assert "fallback_for=" in server.wait_for_why(f"u@{domain}", "127.0.0.13")
        send(server, f"again@{domain}")
        ports.wait_until(lambda: len(fallback.messages) == 2, "the second at once", 5)


@pytest.mark.parametrize("domain, status", [("null.example", "5.1.10"),
                                            ("no-such.example", "5.1.2")])
def test_fallback_mx_is_not_for_what_is_final(domain, status):
    fallback_port = ports.free_port()
    with site(FALLBACK % fallback_port) as (server, _), \
            SmtpPeer("127.0.0.13", fallback_port) as fallback:
        send(server, f"u@{domain}")
        assert f"Status: {status}".encode() in server.wait_for_messages(SENDER, 1)[0]
        assert not fallback.connections


def test_fallback_mx_is_not_for_refusals():
    """A host that answers is asked again: its 4xx is about the message."""
    fallback_port = ports.free_port()
    with site(FALLBACK % fallback_port) as (server, port), \
            SmtpPeer("127.0.0.13", fallback_port) as fallback, \
            SmtpPeer("127.0.0.11", port, replies={"RCPT": "450 4.2.0 later"}):
        send(server, "u@implicit.example")
        assert wait_deferred(server)["code"] == 450
        assert not fallback.connections


SIGNED = """
good.example. MX 10 a.hosts.example.
a.hosts.example. A 127.0.0.11
forged.example. NS ns.
forged.example. DS 12345 13 2 1F987CC6583E92DF0890718C42A9C1C2C4A2E0A2F9AF6FB32A7E9C5C3A1D4B2E
plain.example. NS ns.
"""
ZONES = {"forged.example": "forged.example. MX 10 a.hosts.example.\n",
         "plain.example": "plain.example. MX 10 a.hosts.example.\n"}


def test_dnssec():
    """A proven answer and an unsigned zone are used; a forged one never is, and the mail
    waits."""
    with site(dns=Nsd(SIGNED, ZONES, signed=True)) as (server, port), \
            SmtpPeer("127.0.0.11", port) as a:
        send(server, "u@good.example")
        send(server, "u@plain.example")
        ports.wait_until(lambda: len(a.messages) == 2, "both are there:\n" + server.log())
        send(server, "u@forged.example")
        recipient = wait_deferred(server)
        assert "forged" in recipient["reply"]
        assert len(a.messages) == 2 and server.messages(SENDER) == []


def test_source_address():
    with site('source_addresses = { "127.0.0.77" }') as (server, port), \
            SmtpPeer("127.0.0.11", port) as a:
        peers = []
        a.replies["EHLO"] = None
        original = a.server.get_request

        def get_request():
            connection, at = original()
            peers.append(at[0])
            return connection, at
        a.server.get_request = get_request
        send(server, "u@implicit.example")
        ports.wait_until(lambda: a.messages, "delivered:\n" + server.log())
        assert peers == ["127.0.0.77"]
