"""Recipients in many domains behind the same hosts: one destination, one transaction for
all of a message's, as far as it may have recipients."""
import contextlib
import random
import socket

import ports
from hayauma import Hayauma
from nsd import Nsd
from smtp_peer import SmtpPeer

SENDER = "hanako@example.jp"
HOSTS, DOMAINS, RECIPIENTS, LIMIT = 10, 100, 10000, 100
RECORDS = "".join(f"h{n}.hosts.example. A 127.0.0.{20 + n}\n" for n in range(HOSTS)) + "".join(
    f"d{n}.example. MX {n + 1} h{n % HOSTS}.hosts.example.\n" for n in range(DOMAINS))


@contextlib.contextmanager
def site(options="", broken=None):
    with Nsd(RECORDS, broken) as dns, contextlib.ExitStack() as stack:
        port = ports.free_port()
        server = stack.enter_context(Hayauma(
            users=[SENDER], listen={"smtp": port},
            options=f"{dns.options() % port}\nlimits {{ recipients = 1000 }}\n{options}"))
        server.hosts = [stack.enter_context(SmtpPeer(f"127.0.0.{20 + n}", port))
                        for n in range(HOSTS)]
        yield server


def send_many(server, recipients):
    """As many messages as a thousand recipients each make."""
    with socket.create_connection(("127.0.0.1", server.ports["smtp"]), timeout=180) as s:
        replies = s.makefile("rb")

        def say(lines, wanted):
            s.sendall("".join(f"{line}\r\n" for line in lines).encode())
            for _ in lines:
                line = replies.readline()
                while line[3:4] == b"-":
                    line = replies.readline()
                assert line.startswith(wanted), line
        assert replies.readline().startswith(b"220")
        say(["EHLO client.example.net"], b"250")
        for first in range(0, len(recipients), 1000):
            part = recipients[first:first + 1000]
            say([f"MAIL FROM:<{SENDER}>"], b"250")
            for at in range(0, len(part), 50):
                say([f"RCPT TO:<{rcpt_to}>" for rcpt_to in part[at:at + 50]], b"250")
            say(["DATA"], b"354")
            say(["Subject: to all\r\n\r\nHello\r\n."], b"250")


def test_ten_thousand_recipients_behind_ten_hosts():
    recipients = []
    for first in range(0, RECIPIENTS, 1000):  # a message has no more of them
        part = [f"u{n}@d{n % DOMAINS}.example" for n in range(first, first + 1000)]
        random.Random(first).shuffle(part)
        recipients += part
    with site(f"queue {{ recipients_per_transaction = {LIMIT} }}") as server:
        send_many(server, recipients)

        def taken():
            return [rcpt for host in server.hosts for m in host.messages for rcpt in m.recipients]
        ports.wait_until(lambda: len(taken()) >= RECIPIENTS, "all are there", 60)
        assert sorted(taken()) == sorted(recipients)  # each once
        for number, host in enumerate(server.hosts):
            assert all(int(rcpt.split("@d")[1].split(".")[0]) % HOSTS == number
                       for m in host.messages for rcpt in m.recipients)
        transactions = sum(len(host.messages) for host in server.hosts)
        connections = sum(host.connections for host in server.hosts)
        print(f"{RECIPIENTS} recipients, {DOMAINS} domains, {HOSTS} hosts: {transactions} "
              f"transactions over {connections} connections")
        # A slow machine gathers less.
        assert transactions <= HOSTS * -(-RECIPIENTS // HOSTS // LIMIT) * 1.5
        assert connections <= HOSTS * 10
        ports.wait_until(lambda: not server.queue(), "nothing is left")


def test_a_host_is_dead_for_all_its_domains_at_once():
    """One health: the mail of its other domains does not try it again, and all of it
    goes when it is back."""
    with site("queue { retry_min = 10m retry_max = 1h }") as server:
        host = server.hosts[3]
        host.stop()
        server.send(SENDER, ["first@d3.example"], "Subject: x\r\n\r\nx\r\n")
        ports.wait_until(lambda: [r for row in server.queue() for r in row["recipients"]
                                  if r["attempts"]], "tried once")
        server.send(SENDER, ["second@d13.example", "third@d23.example"], "Subject: x\r\n\r\nx\r\n")
        waiting = {r["rcpt_to"]: r["attempts"] for row in server.queue() for r in row["recipients"]}
        assert waiting["second@d13.example"] == waiting["third@d23.example"] == 0
        host.start()
        server.run("queue", "retry", "--recipient", "first@d3.example")
        ports.wait_until(lambda: sum(len(m.recipients) for m in host.messages) == 3,
                         "all three are there:\n" + server.log(), 30)


def test_outcomes_of_one_transaction_are_each_ones_own():
    def rcpt(line):
        return "550 5.1.1 nobody" if "@d15." in line else \
            "450 4.2.1 later" if "@d25." in line else "250 2.1.5 ok"
    with site() as server:
        server.hosts[5].replies["RCPT"] = rcpt
        server.send(SENDER, [f"u@d{n}.example" for n in (5, 15, 25, 35)], "Subject: x\r\n\r\nx\r\n")
        report = server.wait_for_messages(SENDER, 1)[0]
        assert b"u@d15.example" in report and b"u@d5.example" not in report
        assert len(server.hosts[5].messages) == 1
        assert sorted(server.hosts[5].messages[0].recipients) == ["u@d35.example", "u@d5.example"]
        assert [r["rcpt_to"] for row in server.queue() for r in row["recipients"]] \
            == ["u@d25.example"]
        assert "h5.hosts.example" in server.wait_for_why("u@d35.example", "h5.hosts.example")


def test_without_dns_in_time_it_goes_by_domain():
    """A name whose servers fail makes nobody else wait."""
    with site(broken={"broken.example": None}) as server:
        server.send(SENDER, ["u@x.broken.example", "u@d7.example"], "Subject: x\r\n\r\nx\r\n")
        ports.wait_until(lambda: server.hosts[7].messages, "the other is there", 5)
        ports.wait_until(lambda: [r for row in server.queue() for r in row["recipients"]
                                  if "DNS" in r["reply"]], "the relay says why")
