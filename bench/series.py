"""What is not one rate beside another: rates as something grows, and memory.

Each function returns {"facts": {name: text}, "targets": [[text, is_met]],
"lines": [{"name", "x", "y", "low", "high"}]}, the last for a plot, in per cent."""
import dataclasses
import json
import smtplib
import statistics
import subprocess
import threading
import time

import idle_clients
import machine
import ports
import rows
import servers
from hayauma import RELEASE, Hayauma

MIB = 1 << 20
PAIRS = 24  # of runs, where a server is compared with itself; even


@dataclasses.dataclass(frozen=True)
class Series:
    key: str
    title: str
    function: object

    def run(self, options, say):
        return self.function(options, lambda text: say(f"{self.key}: {text}"))


class Watch:
    """The most memory that a server takes meanwhile, looked at ten times a second."""

    def __init__(self, pid):
        self.pid, self.most, self._is_over = pid, 0, threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self):
        while not self._is_over.wait(0.1):
            self.most = max(self.most, sum(machine.memory(self.pid).values()))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self._thread.join()


def large(options, say):
    """Large messages go to disk as fast as the disk can."""
    row = rows.Row("large", "", "accept", connections=20, per_connection=0, size=10 * MIB)
    messages = 40 if options.quick else 100
    shares, rates, peaks, disks = [], [], [], []
    for number in range(options.rounds):
        server = servers.HayaumaServer(row, None)
        try:
            time.sleep(1)  # its first segments are made
            idle = sum(machine.memory(server.pid).values())
            disk = statistics.median(machine.write_rate(servers.FOLDER, 256 * MIB)
                                     for _ in range(2))
            with Watch(server.pid) as watch:
                said = row.send(server.port, messages)
        finally:
            server.stop()
        disk = (disk + machine.write_rate(servers.FOLDER, 256 * MIB)) / 2
        rate = messages * row.size / said["seconds"]
        rates.append(rate / MIB)
        disks.append(disk / MIB)
        shares.append(rate / disk)
        peaks.append((watch.most - idle) / row.connections / MIB)
        say(f"round {number + 1}: {rates[-1]:.0f} MiB/s, the disk by itself {disks[-1]:.0f} "
            f"MiB/s, {peaks[-1]:.2f} MiB a connection")
    share, peak = statistics.median(shares), statistics.median(peaks)
    return {"facts": {"rate": f"{statistics.median(rates):.0f} MiB/s",
                      "durable sequential writing": f"{statistics.median(disks):.0f} MiB/s",
                      "share": f"{share:.0%}", "PSS a connection": f"{peak:.2f} MiB"},
            "targets": [["at least 70 % of what the disk writes durably", share >= 0.7],
                        ["at most 2 MiB a connection", peak <= 2]],
            "lines": []}


def _wait_until_idle(server, patience=60):
    """What filling it began is over: it uses less than a twentieth of a core."""
    seen = [sum(servers.spent(server).values()), time.monotonic()]

    def is_still():
        time.sleep(0.5)
        spent, now = sum(servers.spent(server).values()), time.monotonic()
        used = (spent - seen[0]) / (now - seen[1])
        seen[:] = spent, now
        return used < 0.05
    ports.wait_until(is_still, "the server has nothing to do", patience)


def _growth(options, say, grow, measure, name, has_stayed):
    """The rate of a server that fills, beside an empty one: many short runs of both in
    turn. The machine may change meanwhile; the ratio of two runs that follow one another
    does not, and the median of many is true of most of them. grow(more) is called once
    for each depth; measure(is_grown, count) returns (rate, CPU µs). `has_stayed`: what
    is measured fills the server, too."""
    depths = [0, 10000, 100000] if options.quick else [0, 10000, 100000, 1000000]
    line = {"name": name, "x": [], "y": [], "low": [], "high": []}
    facts, ratios, held, count = {}, [], 0, 0
    for depth in depths:
        grow(max(0, depth - held))
        held = max(held, depth)
        if not count:  # the same for all
            count = int(options.seconds / 6 * measure(True, 2000)[0] // 100 * 100) + 500
        runs = [{is_grown: measure(is_grown, count) for is_grown in order}
                for order in [(True, False), (False, True)] * (PAIRS // 2)]
        shares = [one[True][0] / one[False][0] for one in runs]
        low, ratio, high = statistics.quantiles(shares, n=4)
        ratios.append(ratio)
        rate, cpu = (statistics.median(one[True][i] for one in runs) for i in (0, 1))
        facts[f"{held:,}"] = (
            f"{ratio:.2f} of an empty one's rate (quartiles {low:.2f}–{high:.2f}), {rate:,.0f}/s, "
            f"{cpu:.0f} µs CPU ({statistics.median(one[False][1] for one in runs):.0f})")
        say(f"{held:,}: {facts[f'{held:,}']}")
        for key, value in (("x", held), ("y", 100 * ratio), ("low", 100 * low),
                           ("high", 100 * high)):
            line[key].append(value)
        held += count * len(runs) if has_stayed else 0
    return {"facts": facts, "targets": [["at least 80 % of an empty one's rate at every depth",
                                         min(ratios) >= 0.8]], "lines": [line]}


def flat_mailbox(options, say):
    """Into one mailbox, as it grows, and of a server that is new at each depth into a
    mailbox that is new in each run."""
    row = rows.Row("flat", "", "local", per_connection=100, users=1, size=1024, is_lmtp=True)
    new_rows = [dataclasses.replace(row, domain=f"new{number}.{servers.DOMAIN}")
                for number in range(PAIRS)]
    grown = servers.HayaumaServer(row, None)
    empty = servers.HayaumaServer(row, None, domains=[one.domain for one in (row, *new_rows)])
    left = []

    def grow(more):
        if more:
            row.send(grown.port, more)
        empty.stop()
        empty.start()
        row.send(empty.port, 1000)
        left[:] = new_rows
        _wait_until_idle(grown)

    def measure(is_grown, count):
        one = rows.measure(grown, row, count, None) if is_grown else \
            rows.measure(empty, left.pop(), count, None)
        return one["rate"], one["cpu_us_all"]
    try:
        return _growth(options, say, grow, measure, "into one mailbox", True)
    finally:
        grown.stop()
        empty.stop()


def flat_queue(options, say):
    """Passing on, beside a queue for a host that does not answer."""
    live = rows.Row("flat", "", "relay", per_connection=100)
    dead = rows.Row("flat", "", "relay", per_connection=0, size=400, domain="dead.example.net")
    sinks = rows.Sinks(live)
    grown = servers.HayaumaServer(live, sinks,
                                  routes={dead.domain: ("127.0.0.1", ports.free_port())})
    empty = servers.HayaumaServer(live, sinks)

    def grow(more):
        if more:
            dead.send(grown.port, more)
        _wait_until_idle(grown)

    def measure(is_grown, count):
        one = rows.measure(grown if is_grown else empty, live, count, sinks)
        return one["rate"], one["cpu_us_all"]
    try:
        return _growth(options, say, grow, measure, "relay beside a queue", False)
    finally:
        grown.stop()
        empty.stop()
        sinks.stop()


def idle(options, say):
    """A server that has nothing to do."""
    with Hayauma(binary=RELEASE, folder=servers.FOLDER, listen={"smtp": 0, "lmtp": 0, "imap": 0},
                 options='processes { edge = 2 relay = 2 access = 2 worker = 2 }\n') as server:
        pid = server.process.pid
        server.send("a@example.net", ["postmaster@example.jp"], "Subject: hello\r\n\r\nhello\r\n")
        time.sleep(5 if options.quick else 15)
        seconds = 20 if options.quick else 60
        before = machine.wake_ups(pid)
        time.sleep(seconds)
        woken = machine.difference(machine.wake_ups(pid), before)
        taken = machine.memory(pid)
    total, rate = sum(taken.values()) / MIB, sum(woken.values()) / seconds
    facts = {"PSS of all processes": f"{total:.1f} MiB", "wake-ups a second": f"{rate:.2f}"}
    facts |= {f"PSS of {name}": f"{bytes_ / MIB:.1f} MiB" for name, bytes_ in taken.items()}
    facts |= {f"wake-ups of {name} in {seconds} s": str(count) for name, count in woken.items()}
    say(f"{total:.1f} MiB, {rate:.2f} wake-ups a second")
    return {"facts": facts, "targets": [["at most 40 MiB", total <= 40],
                                        ["at most 1 wake-up a second", rate <= 1]], "lines": []}


def _honest(port, count=100):
    """Milliseconds that a client takes from connecting to the 250 of its message:
    (median, most)."""
    took = []
    for _ in range(count):
        began = time.monotonic()
        with smtplib.SMTP("127.0.0.1", port, "honest.example.net", 60) as client:
            client.sendmail("a@example.net", ["postmaster@example.jp"], "Subject: x\n\nx\n")
        took.append(1000 * (time.monotonic() - began))
    return statistics.median(took), max(took)


def _idle_connections(options, say, is_tls):
    """What they take, and what a client beside them feels. The first ones are not
    counted: what they bring about is there once."""
    count, limit = (4000 if options.quick else 20000), (24 if is_tls else 4)
    protocol = "submissions" if is_tls else "smtp"
    with Hayauma(binary=RELEASE, folder=servers.FOLDER, tls=is_tls, listen={"smtp": 0, protocol: 0},
                 limits=servers.LIMITS + " connections = 100000",
                 options="processes { edge = 2 }\n") as server:
        port, pid = server.ports[protocol], server.process.pid
        ports.wait_until(lambda: ports.is_listening(port), "it listens")
        time.sleep(5)  # what only its start needed is given back
        with idle_clients.held(port, 400, is_tls):
            _honest(server.ports["smtp"])
        time.sleep(3)
        alone = _honest(server.ports["smtp"])
        before, began = sum(machine.memory(pid).values()), time.monotonic()
        cpu = sum(machine.cpu_seconds(pid).values())
        with idle_clients.held(port, count, is_tls):
            opened = sum(machine.cpu_seconds(pid).values())
            opening = time.monotonic() - began
            time.sleep(2)
            after = sum(machine.memory(pid).values())
            time.sleep(3 if options.quick else 10)
            idling = sum(machine.cpu_seconds(pid).values()) - opened
            idle_time = time.monotonic() - began - opening
            beside = _honest(server.ports["smtp"])
    each, used = (after - before) / count / 1024, 100 * idling / idle_time
    say(f"{each:.2f} KiB a connection, {used:.1f} % of a core; an honest client waits "
        f"{beside[0]:.1f} ms ({beside[1]:.1f} at most), {alone[0]:.1f} ({alone[1]:.1f}) alone")
    return {"facts": {"connections": f"{count:,}", "PSS a connection": f"{each:.2f} KiB",
                      "CPU to open one": f"{1e6 * (opened - cpu) / count:.0f} µs",
                      "CPU while they are idle": f"{used:.1f} % of a core",
                      "an honest client": f"{beside[0]:.1f} ms, at most {beside[1]:.1f}",
                      "the same without them": f"{alone[0]:.1f} ms, at most {alone[1]:.1f}"},
            "targets": [[f"at most {limit} KiB each", each <= limit]], "lines": []}


def snapshot(options, say):
    """Tables of a million rows, one core."""
    rates = {"probes": [], "decisions": []}
    for number in range(options.rounds):
        done = subprocess.run([servers.FOLDER / "snapshot_bench", "1000000",
                               "1" if options.quick else "3"], check=True, capture_output=True)
        said = json.loads(done.stdout)
        for name, each in rates.items():
            each.append(said[name])
        say(f"round {number + 1}: {said['probes']:,} probes/s, {said['decisions']:,} decisions/s")
    medians = {name: statistics.median(each) for name, each in rates.items()}
    return {"facts": {f"{name} a second": f"{medians[name]:,.0f} ({min(each):,}–{max(each):,})"
                      for name, each in rates.items()},
            "targets": [["at least 5,000,000 probes/s", medians["probes"] >= 5e6],
                        ["at least 300,000 decisions/s", medians["decisions"] >= 3e5]],
            "lines": []}


SERIES = [
    Series("snapshot", "look-ups in tables of 1,000,000 rows, on one core", snapshot),
    Series("large", "10 MiB messages on 20 connections, and what the disk can", large),
    Series("flat-queue", "relay rate beside a queue that grows", flat_queue),
    Series("flat-mailbox", "local delivery rate as the mailbox grows", flat_mailbox),
    Series("idle", "memory and wake-ups of a server with two of each kind", idle),
    Series("idle-smtp", "memory of idle SMTP connections",
           lambda options, say: _idle_connections(options, say, False)),
    Series("idle-tls", "memory of idle TLS connections",
           lambda options, say: _idle_connections(options, say, True)),
]
