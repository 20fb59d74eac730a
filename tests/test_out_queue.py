"""The queue: a dead destination stands in nobody's way and drains when it is back;
administration by filter. One recipient a transaction makes one entry each, so that a
few messages make a long queue."""
import os
import socket
import time

import pytest

import ports
from hayauma import Hayauma
from smtp_peer import SmtpPeer

SENDER = "hanako@example.jp"
ENTRIES = int(os.environ.get("HAYAUMA_QUEUE_ENTRIES", "10000"))  # a long check says 1000000
RETRY_S = 5  # of the dead destination


def fill(server, domain, count, size=100):
    """`count` entries for that domain, a thousand recipients a message."""
    text = b"Subject: many\r\n\r\n" + b"x" * size + b"\r\n.\r\n"
    with socket.create_connection(("127.0.0.1", server.ports["smtp"]), timeout=180) as s:
        replies = s.makefile("rb")

        def say(octets, wanted, lines=1):
            s.sendall(octets)
            for _ in range(lines):
                line = replies.readline()
                while line[3:4] == b"-":
                    line = replies.readline()
                assert line.startswith(wanted), line
        say(b"", b"220")
        say(b"EHLO client.example.net\r\n", b"250")
        for first in range(0, count, 1000):
            rcpts = [b"RCPT TO:<u%d@%s>\r\n" % (n, domain.encode())
                     for n in range(first, min(first + 1000, count))]
            say(b"MAIL FROM:<%s>\r\n" % SENDER.encode(), b"250")
            for at in range(0, len(rcpts), 50):
                part = rcpts[at:at + 50]
                say(b"".join(part), b"250", len(part))
            say(b"DATA\r\n", b"354")
            say(text, b"250")


def queue_length(server):
    return sum(1 for _ in server.queue())


def site(relay, smart=None, options=""):
    """`relay` is a domain and where its mail goes; all else goes to `smart`."""
    domain, hop = relay
    lines = [f'relay_domains = {{ "{domain}" }}', f'local_relay = "{hop}"', options]
    if smart:
        lines.append(f'smart_host = "{smart}"')
    return Hayauma(users=[SENDER], options="\n".join(lines))


def send_live(server, live, count=20):
    """New mail for a host that lives; how long the last one took."""
    before = len(live.messages)
    start = time.monotonic()
    for number in range(count):
        assert server.send(SENDER, [f"new{number}@live.example"], "Subject: new\r\n\r\nx\r\n") == {}
    ports.wait_until(lambda: len(live.messages) >= before + count, "new mail is delivered", 60)
    return time.monotonic() - start


def work(server):
    """What the keeper has done since its start: rows of the queue that it read from the
    store, commits (an entry that is rewritten is in one)."""
    keeper = next(row for row in server.rows("status") if row["name"].startswith("keeper"))
    return keeper["queue_rows_read"], keeper["store_commits"]


def check_work_beside(server, live, before=None):
    """New mail beside ENTRIES that wait costs two commits a message and reads none of
    them. Each retry of the dead destination meanwhile may look at them all. How long the
    new mail took."""
    before, began = before or work(server), time.monotonic()
    took = send_live(server, live)
    rows, commits = (now - then for now, then in zip(work(server), before))
    retries = (time.monotonic() - began) / RETRY_S + 2
    assert rows < retries * 3 * ENTRIES + 50000, (rows, retries)
    assert commits < 60 + retries * (ENTRIES / 50 + 200), (commits, retries)
    return took


def test_a_dead_destination_delays_no_other_and_drains_when_it_is_back():
    dead_port, live_port = ports.free_port(), ports.free_port()
    options = f"queue {{ retry_min = {RETRY_S}s retry_max = 20s recipients_per_transaction = 1 }}"
    with site(("dead.example", f"[127.0.0.19]:{dead_port}"), f"[127.0.0.11]:{live_port}",
              options) as server, SmtpPeer("127.0.0.11", live_port) as live:
        quick = send_live(server, live)
        fill(server, "dead.example", ENTRIES)
        assert queue_length(server) == ENTRIES
        beside = check_work_beside(server, live)
        assert beside < quick * 5 + 60, (quick, beside)
        server.kill("keeper/0")  # and so it is after a restart
        ports.wait_until(lambda: server.run("status", check=False).returncode == 0, "it is back")
        after = check_work_beside(server, live, (0, 0))
        assert after < quick * 5 + 60, (quick, after)
        listing = server.run("queue", "list", "--recipient", "u7@dead.example")
        assert "1 entry" in listing.stdout
        with SmtpPeer("127.0.0.19", dead_port) as dead:
            before = work(server)
            ports.wait_until(lambda: len(dead.messages) == ENTRIES, "drained", 60 + ENTRIES / 100)
            took = dead.times[-1] - dead.times[0]
            # Far quicker than the retries alone, and over few connections: no herd.
            assert took < 120 + ENTRIES / 50, took
            # Nothing is rewritten only to wait again.
            rows, commits = (now - then for now, then in zip(work(server), before))
            assert rows < 300 * ENTRIES and commits < 2 * ENTRIES + 1000, (rows, commits)
            assert dead.connections < 20 + ENTRIES / 50
            assert len({m.recipients[0] for m in dead.messages}) == ENTRIES
        ports.wait_until(lambda: queue_length(server) == 0, "nothing is left")
        assert server.messages(SENDER) == []


def test_a_slow_destination_leaves_room_for_others():
    """Many more wait for one host than are kept in memory; it answers, but slowly."""
    slow_port, live_port = ports.free_port(), ports.free_port()

    def slowly(_):
        time.sleep(0.5)
        return "250 2.1.0 ok"
    with site(("slow.example", f"[127.0.0.19]:{slow_port}"), f"[127.0.0.11]:{live_port}",
              "queue { recipients_per_transaction = 1 }") as server, \
            SmtpPeer("127.0.0.11", live_port) as live, \
            SmtpPeer("127.0.0.19", slow_port, replies={"MAIL": slowly}) as slow:
        fill(server, "slow.example", 12000)
        assert send_live(server, live) < 100
        assert len(slow.messages) < 12000
        server.run("queue", "drop", "--domain", "slow.example", check=False)


def test_a_reload_freezes_nothing():
    """Mail goes on leaving while the configuration is read again, each message once."""
    port, live_port = ports.free_port(), ports.free_port()
    with site(("far.example", f"[127.0.0.19]:{port}"), f"[127.0.0.11]:{live_port}",
              "queue { recipients_per_transaction = 1 }") as server, \
            SmtpPeer("127.0.0.11", live_port) as live, SmtpPeer("127.0.0.19", port) as peer:
        fill(server, "far.example", 400)
        for _ in range(3):
            server.run("reload")
            assert send_live(server, live, 2) < 100
        ports.wait_until(lambda: len(peer.messages) >= 400, "all are there", 60)
        ports.wait_until(lambda: not server.queue(), "nothing is left")
        assert len({m.recipients[0] for m in peer.messages}) == len(peer.messages) == 400
        gaps = [b - a for a, b in zip(peer.times, peer.times[1:])]
        assert max(gaps) < 60, max(gaps)
        assert server.messages(SENDER) == []


def test_administration_by_filter():
    port = ports.free_port()
    with site(("one.example", "[127.0.0.19]:9"), "[127.0.0.18]:9",
              "queue { retry_min = 1m retry_max = 1h }") as server, \
            SmtpPeer("127.0.0.12", port) as peer:
        server.send(SENDER, ["a@one.example"], "Subject: small\r\n\r\nx\r\n")
        server.send(SENDER, ["b@two.example"], "Subject: large\r\n\r\n" + "x" * 70 * 400)
        ports.wait_until(lambda: [row["recipients"][0]["attempts"] for row in server.queue()]
                         == [1, 1], "both were tried")
        large = server.rows("queue", "list", "--larger", "20K")
        assert [row["recipients"][0]["rcpt_to"] for row in large] == ["b@two.example"]
        assert server.run("queue", "move", "--domain", "one.example", check=False).returncode == 64
        for hop in ("local:", "discard:", "lmtp:unix:/run/x", "[:"):
            assert server.run("queue", "move", "--to", hop, "--all", check=False).returncode == 64
        hop = f"[127.0.0.12]:{port}"
        assert "1 entry moved" in server.run("queue", "move", "--to", hop, "--domain",
                                             "one.example").stdout
        ports.wait_until(lambda: peer.messages, "it went there")
        assert peer.messages[0].recipients == ["a@one.example"]
        assert "another next hop" in server.why("a@one.example")
        server.run("queue", "hold", "--larger", "20K")
        assert server.queue()[0]["held"]
        server.run("queue", "move", "--to", hop, "--larger", "20K")
        assert server.queue()[0]["held"] and len(peer.messages) == 1
        server.run("queue", "release", "--all")
        ports.wait_until(lambda: len(peer.messages) == 2, "both are gone")
        ports.wait_until(lambda: not server.queue(), "nothing is left")


def test_lmtp_has_an_answer_for_each():
    """An LMTP next hop: some recipients taken, some refused, some later."""
    port = ports.free_port()

    def rcpt(line):
        return "550 5.1.1 nobody" if "nobody" in line else \
            "450 4.2.2 full" if "full" in line else "250 2.1.5 ok"
    with site(("lmtp.example", f"lmtp:[127.0.0.14]:{port}"), None,
              "queue { retry_min = 1s retry_max = 2s }") as server, \
            SmtpPeer("127.0.0.14", port, is_lmtp=True, replies={"RCPT": rcpt}) as peer:
        server.send(SENDER, [f"{name}@lmtp.example" for name in ("a", "nobody", "b", "full")],
                    "Subject: each\r\n\r\nx\r\n")
        ports.wait_until(lambda: peer.messages, "taken:\n" + server.log())
        assert peer.messages[0].recipients == ["a@lmtp.example", "b@lmtp.example"]
        assert any(command.startswith("LHLO") for command in peer.commands)
        report = server.wait_for_messages(SENDER, 1)[0]
        assert b"nobody@lmtp.example" in report and b"a@lmtp.example" not in report
        peer.replies["RCPT"] = None
        ports.wait_until(lambda: len(peer.messages) == 2, "the full one is tried again")
        assert peer.messages[1].recipients == ["full@lmtp.example"]


@pytest.mark.parametrize("mailer", ["lmtp", "smtp"])
def test_to_another_hayauma(mailer):
    """Next hop and previous hop are both ours; a message that did not come through TLS or
    not is told by why."""
    taro = "taro@example.org"
    with Hayauma(hostname="mx.example.org", domains=["example.org"], users=[taro],
                 tls=True) as other, \
            site(("example.org", f"{mailer}:[127.0.0.1]:{other.ports[mailer]}")) as server:
        server.send(SENDER, [taro], "Subject: hop\r\n\r\nx\r\n")
        assert b"Subject: hop" in other.wait_for_messages(taro, 1)[0]
        server.wait_for_why(taro, "tls=TLSv1.3 cipher=")
