"""A dead destination with very many entries: a few thousand, and in a long check a million
(or HAYAUMA_QUEUE_ENTRIES). What it costs in memory, at a restart, for other mail, and to
empty."""
import contextlib
import json
import os
import pathlib
import subprocess
import time

import pytest

import ports
from smtp_peer import SmtpPeer
from test_out_queue import SENDER, fill, send_live, site

MANY = int(os.environ.get("HAYAUMA_QUEUE_ENTRIES", "1000000"))
LARGE = 200000  # smaller ones are lost in what everything costs anyway
OPTIONS = "queue { retry_min = 10m retry_max = 1h recipients_per_transaction = 1 }"


def private_dirty(server):
    """Of all processes, in octets."""
    total = 0
    for pid in [server.process.pid, *server.children().values()]:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += sum(int(line.split()[1]) for line in text.splitlines()
                     if line.startswith("Private_Dirty")) * 1024
    return total


def queued(server):
    listing = server.run("queue", "list", "--summary", "--json", timeout=300)
    return json.loads(listing.stdout)["entries"]


@contextlib.contextmanager
def sink(server, port):
    """A quick host where the dead one was; a function that says how many it took."""
    record = server.folder / "taken"
    process = subprocess.Popen([server.binary, "bench", "sink", "--listen", f"127.0.0.19:{port}",
                                "--record", record], stdout=subprocess.DEVNULL)
    try:
        yield lambda: record.read_bytes().count(b"\n") if record.exists() else 0
    finally:
        process.terminate()
        process.wait(180)


@contextlib.contextmanager
def timed(figures, name):
    start = time.monotonic()
    yield
    figures[name] = round(time.monotonic() - start, 2)


@pytest.mark.parametrize("entries", [5000, pytest.param(MANY, marks=pytest.mark.long)])
def test_a_long_queue_costs_little(entries):
    is_large, drained = entries >= LARGE, min(entries, LARGE)
    sent = 200 if is_large else 30
    dead_port, live_port = ports.free_port(), ports.free_port()
    figures = {"entries": entries}
    with site(("dead.example", f"[127.0.0.19]:{dead_port}"), f"[127.0.0.11]:{live_port}",
              OPTIONS) as server, SmtpPeer("127.0.0.11", live_port) as live:
        figures["new mail, empty queue"] = min(send_live(server, live, sent) for _ in range(3))
        empty = private_dirty(server)
        with timed(figures, "filled in"):
            fill(server, "dead.example", entries, 1000)
        figures["new mail, long queue"] = min(send_live(server, live, sent) for _ in range(3))
        time.sleep(5 if is_large else 0)
        figures["octets each"] = (private_dirty(server) - empty) // entries
        with timed(figures, "first rows of the list"):
            assert len(server.rows("queue", "list", "--limit", "100")) == 100
        with timed(figures, "summary"):
            assert queued(server) == entries
        server.kill("keeper/0")
        with timed(figures, "new mail after a restart"):
            ports.wait_until(lambda: server.run("status", check=False).returncode == 0, "back")
            send_live(server, live, 1)
        figures["octets each after it"] = (private_dirty(server) - empty) // entries
        with timed(figures, "held"):
            assert f"{entries} entries held" in server.run("queue", "hold", "--domain",
                                                           "dead.example", timeout=1800).stdout
        with timed(figures, "released"):
            server.run("queue", "release", "--all", timeout=1800)
        with sink(server, dead_port) as taken:
            # Where it is tried at this moment that is refused, and not needed.
            server.run("queue", "retry", "--recipient", "u0@dead.example", timeout=600,
                       check=False)
            with timed(figures, f"{drained} drained"):
                ports.wait_until(lambda: taken() >= drained, "drains", 300)
        with timed(figures, "dropped"):
            server.run("queue", "drop", "--all", timeout=1800, check=False)
        ports.wait_until(lambda: (server.run("queue", "drop", "--all", check=False, timeout=1800),
                                  queued(server) == 0)[1], "empty", 120)
        assert server.messages(SENDER) == []
    print(json.dumps(figures, indent=1))
    if is_large:
        assert figures["octets each"] <= 200 and figures["octets each after it"] <= 200
        assert figures["new mail, long queue"] <= figures["new mail, empty queue"] * 1.2 + 0.5
    assert figures["new mail after a restart"] <= 5
    assert figures["dropped"] <= 5 + entries / 20000
