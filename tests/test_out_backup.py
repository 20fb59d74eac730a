"""A second MX: it takes what the first cannot, keeps it, and hands it over when the first
is back, by itself or when asked (ETRN). A sending server of ours finds its way to it."""
import contextlib

import ports
from hayauma import Hayauma
from nsd import Nsd
from smtp_peer import SmtpPeer

SENDER = "hanako@example.jp"
RECORDS = """
org.example. MX 10 first.org.example.
org.example. MX 20 mx2.example.net.
first.org.example. A 127.0.0.11
mx2.example.net. A 127.0.0.1
"""


@contextlib.contextmanager
def site(retry):
    with Nsd(RECORDS) as dns:
        port = ports.free_port()
        names = dns.options() % port
        with Hayauma(hostname="mx2.example.net", domains=[], role="backup-mx",
                     listen={"smtp": port}, options=f"""{names}
relay_domains = {{ "org.example" }}
smtp {{ etrn = yes }}
queue {{ retry_min = {retry} retry_max = {retry} }}""") as backup, \
                Hayauma(users=[SENDER], options=names) as sender:
            yield sender, backup, SmtpPeer("127.0.0.11", port)


def queued(server):
    return sorted(r["rcpt_to"] for row in server.queue() for r in row["recipients"])


def test_it_drains_when_the_first_returns():
    with site("3s") as (sender, backup, first):
        for number in range(5):
            sender.send(SENDER, [f"u{number}@org.example"], "Subject: x\r\n\r\nx\r\n")
        wanted = [f"u{number}@org.example" for number in range(5)]
        ports.wait_until(lambda: queued(backup) == wanted, "the second has it:\n" + sender.log())
        assert not sender.queue()
        assert "mx2.example.net" in sender.why("u0@org.example")
        with first:
            ports.wait_until(lambda: len(first.messages) == 5, "drained:\n" + backup.log(), 30)
            ports.wait_until(lambda: not backup.queue(), "nothing is left")
            sender.send(SENDER, ["later@org.example"], "Subject: x\r\n\r\nx\r\n")
            ports.wait_until(lambda: len(first.messages) == 6, "and new mail comes")
        assert sorted(m.recipients[0] for m in first.messages[:5]) == wanted
        assert sender.messages(SENDER) == []


def test_it_drains_when_asked():
    with site("1h") as (sender, backup, first):
        sender.send(SENDER, ["u@org.example", "v@org.example"], "Subject: x\r\n\r\nx\r\n")
        ports.wait_until(lambda: len(queued(backup)) == 2, "the second has it")
        ports.wait_until(lambda: [r for row in backup.queue() for r in row["recipients"]
                                  if r["attempts"]], "it was tried")
        with first, backup.smtp() as client:
            client.ehlo()
            assert client.has_extn("etrn")
            assert client.docmd("ETRN elsewhere.example")[0] in (458, 459, 550)
            assert client.docmd("ETRN org.example")[0] in (250, 251, 252, 253)
            ports.wait_until(lambda: first.messages, "it was asked for:\n" + backup.log(), 20)
            ports.wait_until(lambda: not backup.queue(), "nothing is left")
            assert sorted(first.messages[0].recipients) == ["u@org.example", "v@org.example"]
