"""What is not one rate beside another: rates as something grows, and memory.

Each function returns {"facts": {name: text}, "targets": [[text, is_met]],
"lines": [{"name", "x", "y", "low", "high"}]}, the last for a plot."""
import dataclasses
import multiprocessing
import socket
import ssl
import statistics
import threading
import time

import machine
import ports
import rows
import servers
from hayauma import RELEASE, Hayauma

MIB = 1 << 20


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


def _slope(depths, rates):
    """Facts and targets of a rate that should not depend on a depth."""
    medians = [statistics.median(each) for each in rates]
    spread = 1 - min(medians) / max(medians)
    return {"facts": {f"{depth:,}": f"{median:,.0f}/s ({min(each):,.0f}–{max(each):,.0f})"
                      for depth, median, each in zip(depths, medians, rates)}
            | {"spread": f"{spread:.0%}"},
            "targets": [["flat within 20 %", spread <= 0.2]]}


def _line(name, depths, rates):
    return {"name": name, "x": depths, "y": [statistics.median(each) for each in rates],
            "low": [min(each) for each in rates], "high": [max(each) for each in rates]}


def _depths(options):
    return [0, 10000, 100000] if options.quick else [0, 10000, 100000, 1000000]


def flat_mailbox(options, say):
    """Into one mailbox, as it grows."""
    row = rows.Row("flat", "", "local", per_connection=100, users=1, size=1024, is_lmtp=True)
    depths, rates, held = _depths(options), [], 0
    server = servers.HayaumaServer(row, None)
    try:
        row.send(server.port, 1000)
        held = 1000
        for depth in depths:
            if depth > held:
                row.send(server.port, depth - held)
                held = depth
            each = []
            for _ in range(options.rounds):
                count = max(1000, int(options.seconds * (rates[0][0] if rates else 5000)))
                each.append(row.send(server.port, count)["rate"])
                held += count
            rates.append(each)
            say(f"with {depth:,} messages: {statistics.median(each):,.0f}/s")
    finally:
        server.stop()
    return _slope(depths, rates) | {"lines": [_line("into one mailbox", depths, rates)]}


def flat_queue(options, say):
    """Passing on and delivering, beside a queue for a host that does not answer."""
    sinks = rows.Sinks(rows.ROWS[0])
    dead = rows.Row("flat", "", "relay", per_connection=0, size=400, domain="dead.example.net")
    live = rows.Row("flat", "", "relay", per_connection=100)
    depths, rates, held = _depths(options), [], 0
    server = servers.HayaumaServer(live, sinks, routes={dead.domain: f"{ports.free_port()}"})
    try:
        live.send(server.port, 1000)
        for depth in depths:
            if depth > held:
                dead.send(server.port, depth - held)
                held = depth
            each = []
            for _ in range(options.rounds):
                count = max(1000, int(options.seconds * (rates[0][0] if rates else 5000)))
                each.append(rows.measure(server, live, count, sinks)["rate"])
            rates.append(each)
            say(f"with {depth:,} queued: {statistics.median(each):,.0f}/s")
    finally:
        server.stop()
        sinks.stop()
    return _slope(depths, rates) | {"lines": [_line("relay beside a queue", depths, rates)]}


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


def _hold(port, count, is_tls, ready, is_over):
    """Opens connections that say EHLO and no more, until `is_over`; its own process,
    since one may not have as many descriptors as all of them."""
    context = None
    if is_tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opened = []
    for number in range(count):
        # More of them than one address has ports.
        one = socket.create_connection(("127.0.0.1", port), timeout=60,
                                       source_address=(f"127.0.0.{2 + number % 9}", 0))
        if context:
            one = context.wrap_socket(one)
        one.recv(512)
        one.sendall(b"EHLO client.example.net\r\n")
        one.recv(2048)
        opened.append(one)
    ready.put(len(opened))
    is_over.wait()


def _while_held(port, count, is_tls, look):
    """What look() says while `count` connections are open."""
    ready, is_over = multiprocessing.Queue(), multiprocessing.Event()
    parts = [count // 4] * 4
    held = [multiprocessing.Process(target=_hold, args=(port, part, is_tls, ready, is_over))
            for part in parts]
    try:
        for process in held:
            process.start()
        for _ in held:
            ready.get(timeout=600)
        time.sleep(2)
        return look()
    finally:
        is_over.set()
        for process in held:
            process.join(30)
            process.kill()


def _idle_connections(options, say, is_tls):
    count, limit = (4000 if options.quick else 20000), (24 if is_tls else 4)
    protocol = "submissions" if is_tls else "smtp"
    with Hayauma(binary=RELEASE, folder=servers.FOLDER, tls=is_tls, listen={protocol: 0},
                 limits=servers.LIMITS, options="processes { edge = 2 }\n") as server:
        port, pid = server.ports[protocol], server.process.pid
        ports.wait_until(lambda: ports.is_listening(port), "it listens")
        _while_held(port, 400, is_tls, lambda: None)  # what the first ones cost is not theirs
        time.sleep(3)
        before = sum(machine.memory(pid).values())
        after = _while_held(port, count, is_tls, lambda: sum(machine.memory(pid).values()))
    each = (after - before) / count / 1024
    say(f"{each:.2f} KiB a connection")
    return {"facts": {"connections": f"{count:,}", "PSS a connection": f"{each:.2f} KiB"},
            "targets": [[f"at most {limit} KiB each", each <= limit]], "lines": []}


SERIES = [
    Series("large", "10 MiB messages on 20 connections, and what the disk can", large),
    Series("flat-queue", "relay rate beside a queue that grows", flat_queue),
    Series("flat-mailbox", "local delivery rate as the mailbox grows", flat_mailbox),
    Series("idle", "memory and wake-ups of a server with two of each kind", idle),
    Series("idle-smtp", "memory of idle SMTP connections",
           lambda options, say: _idle_connections(options, say, False)),
    Series("idle-tls", "memory of idle TLS connections",
           lambda options, say: _idle_connections(options, say, True)),
]
