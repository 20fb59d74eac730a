"""A site of three hosts from the samples in conf/ (gateway, relay, mailbox server):
mail in both directions, with each host down and returning; a second MX and a fallback
MX from their samples."""
import re
import time

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


def test_gateway_relay_and_mailbox_with_each_down_and_returning():
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
        with mailbox, relay, gateway:
            hosts = {"mailbox": mailbox, "relay": relay, "gateway": gateway}
            send(gateway, "a@far.example", HANAKO, "in")
            send(mailbox, HANAKO, FAR, "out")
            mailbox.wait_for_messages(HANAKO, 1)
            ports.wait_until(lambda: len(far.messages) == 1, "the mail went out")
            trace = mailbox.message(HANAKO).decode()
            assert trace.index("by mx1.example.jp") < trace.index("by relay.example.jp") \
                < trace.index("by gateway.example.jp")
            for name, host in hosts.items():
                host.stop()
                inbound, outbound = f"in-{name}", f"out-{name}"
                if name != "gateway":
                    send(gateway, "a@far.example", HANAKO, inbound)
                if name != "mailbox":
                    send(mailbox, HANAKO, FAR, outbound)
                time.sleep(0.5)  # so that it has been tried in vain
                host.start()
                if name != "gateway":
                    ports.wait_until(lambda: count(mailbox, inbound) == 1, inbound, 60, 0.3)
                if name != "mailbox":
                    ports.wait_until(lambda: any(outbound.encode() in m.octets
                                                 for m in far.messages), outbound, 60, 0.3)
            assert sorted(set(count(mailbox, f"in-{n}") for n in ("mailbox", "relay"))) == [1]
            assert gateway.queue() == [] and relay.queue() == [] and mailbox.queue() == []


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
