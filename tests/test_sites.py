"""A site of three hosts from the samples in conf/ (gateway, relay, mailbox server):
mail in both directions, with each host down and returning; a second MX and a fallback
MX from their samples."""
import re

import pytest

import ports
from hayauma import ROOT, Hayauma
from smtp_peer import SmtpPeer

HANAKO, FAR = "hanako@example.jp", "friend@far.example"
MESSAGE = "From: {0}\r\nTo: {1}\r\nMessage-ID: <{2}@t>\r\nSubject: site\r\n\r\ntext\r\n"


class Sample(Hayauma):
    """A server whose configuration is a sample, but for where it listens and where
    its neighbours are: `replace` maps what stands in the sample."""

    compares = True

    def __init__(self, name, replace=None, more="", users=()):
        self.name, self.replace, self.more = name, replace or {}, more
        super().__init__(users=users, listen={"smtp": 0})

    def write_config(self, more=""):
        text = (ROOT / "conf" / "samples" / f"{self.name}.conf").read_text()
        text = re.sub(r"^tls \{.*?^\}\n", "", text, flags=re.S | re.M)
        for old, new in self.replace.items():
            assert old in text, (self.name, old)
            text = text.replace(old, new)
        self.hostname = re.search(r'hostname\s*= "(.*)"', text)[1]
        self.config.write_text(
            f'{text}\nlisten = {{ "smtp://127.0.0.1:{self.ports["smtp"]}" }}\n'
            f'state_dir = "{self.folder}/state"\nrun_dir = "{self.folder}/run"\n'
            f'users {{ file = "{self.folder}/users" }}\n'
            'queue { retry_min = "1s" retry_max = "1s" }\n'
            f'processes {{ edge = 1 access = 1 worker = 1 }}\n{self.more}\n{more}')

    def at(self):
        return f"[127.0.0.1]:{self.ports['smtp']}"


def send(server, mail_from, rcpt_to, name):
    server.send(mail_from, [rcpt_to], MESSAGE.format(mail_from, rcpt_to, name))


def count(mailbox, name):
    return sum(f"<{name}@t>".encode() in text for text in mailbox.messages(HANAKO))


def holds(server, rcpt_to):
    ports.wait_until(lambda: any(rcpt_to in str(row) for row in server.queue()),
                     f"{server.hostname} keeps the mail to {rcpt_to}", 30, 0.2)


@pytest.fixture(name="site")
def fixture_site():
    """The three hosts, a server outside whose mail comes to the gateway, and a peer
    outside that takes what the gateway sends out."""
    port = ports.free_port()
    with SmtpPeer("127.0.0.1", port) as far:
        mailbox = Sample("mailbox", users=[HANAKO])
        relay = Sample("relay", {"[mail.example.jp]": mailbox.at()})
        gateway = Sample("gateway", {"[mail.example.jp]": relay.at()},
                         f'smart_host = "[127.0.0.1]:{port}"\n')
        relay.replace["[gateway.example.jp]"] = gateway.at()
        mailbox.more = f'smart_host = "{relay.at()}"\n'
        for server in mailbox, relay:
            server.write_config()
        outside = Hayauma("mx.far.example", ["far.example"], listen={"smtp": 0}, options=(
            f'smart_host = "{gateway.at()}"\nrelay_networks = {{ "127.0.0.1" }}\n'
            'queue { retry_min = "1s" retry_max = "1s" }\n'
            'processes { edge = 1 access = 1 worker = 1 }\n'))
        with mailbox, relay, gateway, outside:
            yield {"mailbox": mailbox, "relay": relay, "gateway": gateway, "outside": outside,
                   "far": far}


def went_out(site, name):
    return sum(f"<{name}@t>".encode() in taken.octets for taken in site["far"].messages)


def everything_is_there_once(site, names_in, names_out):
    for name in names_in:
        ports.wait_until(lambda n=name: count(site["mailbox"], n), f"{name} came in", 60, 0.3)
    for name in names_out:
        ports.wait_until(lambda n=name: went_out(site, n), f"{name} went out", 60, 0.3)
    for name in "outside", "gateway", "relay", "mailbox":
        ports.wait_until(lambda s=site[name]: s.queue() == [], f"{name} keeps nothing", 30, 0.2)
    assert [count(site["mailbox"], name) for name in names_in] == [1] * len(names_in)
    assert [went_out(site, name) for name in names_out] == [1] * len(names_out)


def test_mail_goes_through_all_three_hosts_in_both_directions(site):
    send(site["outside"], "a@far.example", HANAKO, "in")
    send(site["mailbox"], HANAKO, FAR, "out")
    everything_is_there_once(site, ["in"], ["out"])
    trace = site["mailbox"].message(HANAKO).decode()
    hosts = "mx1.example.jp", "relay.example.jp", "gateway.example.jp", "mx.far.example"
    places = [trace.index(f"by {host}") for host in hosts]
    assert places == sorted(places)


# Who keeps the mail that is sent while a host is down: coming in, going out.
@pytest.mark.parametrize("down, keeps_in, keeps_out", [
    ("gateway", "outside", "relay"),
    ("relay", "gateway", "mailbox"),
    ("mailbox", "relay", None),  # its users cannot reach it, and are told so
])
def test_mail_sent_while_a_host_is_down_arrives_when_it_returns(site, down, keeps_in, keeps_out):
    site[down].stop()
    send(site["outside"], "a@far.example", HANAKO, "in")
    holds(site[keeps_in], HANAKO)
    if keeps_out:
        send(site["mailbox"], HANAKO, FAR, "out")
        holds(site[keeps_out], FAR)
    else:
        with pytest.raises(ConnectionRefusedError):
            send(site["mailbox"], HANAKO, FAR, "out")
    site[down].start()
    if not keeps_out:
        send(site["mailbox"], HANAKO, FAR, "out")  # as a client tries again
    everything_is_there_once(site, ["in"], ["out"])


def test_a_host_that_keeps_mail_for_one_that_is_down_may_go_down_itself(site):
    for name in "mailbox", "gateway":
        site[name].stop()
    send(site["relay"], "a@far.example", HANAKO, "in")
    send(site["relay"], HANAKO, FAR, "out")
    holds(site["relay"], HANAKO)
    holds(site["relay"], FAR)
    site["relay"].stop()
    for name in "mailbox", "gateway", "relay":
        site[name].start()
    everything_is_there_once(site, ["in"], ["out"])


def test_the_second_mx_keeps_mail_while_the_first_is_away():
    mailbox = Sample("mailbox", users=[HANAKO])
    second = Sample("backup-mx", more="tables { mailertable = \"%s\" }\n"
                    "accept_unresolvable_domains = yes\n")
    table = second.folder / "mailertable"
    table.write_text(f"example.jp smtp:{mailbox.at()}\n")
    second.more = second.more % table
    second.write_config()
    with second:
        send(second, "a@far.example", HANAKO, "kept")
        second.wait_for_why(HANAKO, "deferred|refused the connection|connecting")
        with mailbox:
            ports.wait_until(lambda: count(mailbox, "kept") == 1, "it has come", 60, 0.3)
            second.wait_for_why(HANAKO, "taken by|relayed")


def test_several_hosts_of_a_mailertable_are_tried_in_order():
    first, second = ports.free_port(), ports.free_port()
    gateway = Sample("gateway", more='tables { mailertable = "%s" }\n')
    table = gateway.folder / "mailertable"
    table.write_text(f"example.jp smtp:[127.0.0.1]:{first},[127.0.0.1]:{second}\n")
    gateway.more = gateway.more % table
    gateway.write_config()
    with gateway, SmtpPeer("127.0.0.1", second) as other:
        send(gateway, "a@far.example", HANAKO, "second")
        ports.wait_until(lambda: len(other.messages) == 1, "the second has it", 60, 0.2)
        assert gateway.queue() == []


@pytest.mark.parametrize("name", ["gateway", "relay", "mailbox", "backup-mx", "fallback"])
def test_every_sample_runs(name):
    with Sample(name) as server:
        assert server.rows("status")
