"""The rows: what is sent, how, to which servers, and what is hoped for. And how
one run of a row is measured."""
import dataclasses
import time

import calls
import generator
import machine
import ports
import servers

ORIENTATION = ("wire", "floor")  # no mail servers: what is to be had at most
ALL = ("postfix", "exim", "opensmtpd", "sendmail")
FIRST_PATIENCE = 90  # seconds, for a run of a server whose rate nobody knows


@dataclasses.dataclass(frozen=True)
class Row:
    """`ratio` is the rate hoped for over that of `against`, `rate` the one hoped
    for by itself, `p99` the greatest share of its p99. `hosts` sinks take what is
    for `domains` domains; 0 domains: one domain, and a smart host."""
    key: str
    title: str
    purpose: str  # servers.py
    connections: int = 50
    per_connection: int = 1
    size: int = 4096
    users: int = 1000
    recipients: int = 1  # a message
    messages: int = 0  # of each run; 0: as many as take the time
    domains: int = 0
    hosts: int = 1
    is_lmtp: bool = False
    is_slow: bool = False
    has_floor: bool = False
    peers: tuple = ("postfix",)
    against: str = "postfix"
    ratio: float = 0
    rate: float = 0
    p99: float = 0
    domain: str = servers.DOMAIN

    @property
    def names(self):
        """The servers of the row, Hayauma first."""
        if self.purpose == "wire":
            return ("wire",)
        return ("hayauma", *(["floor"] if self.has_floor else []), *self.peers)

    @property
    def unit(self):
        return "recipients/s" if self.recipients > 1 else "messages/s"

    def send(self, port, messages, timeout=900, **changes):
        changed = dataclasses.replace(self, **changes)
        return generator.send(port, changed, messages, timeout)


def relay(connections, per_connection, is_slow=False, peers=("postfix",), p99=0):
    return Row(f"relay-{connections}-{per_connection}" + ("-slow" if is_slow else ""),
               f"relay, {per_connection} a connection, {connections} connections"
               + (", syncs 2 ms longer" if is_slow else ""), "relay", connections, per_connection,
               is_slow=is_slow, has_floor=True, peers=peers,
               ratio=10 if per_connection == 1 else 25, p99=p99)


def accept(per_connection):
    return Row(f"accept-50-{per_connection}", f"accept only, {per_connection} a connection",
               "accept", per_connection=per_connection, peers=ALL)


def local(protocol, users):
    return Row(f"local-{protocol}-{users}", f"local delivery over {protocol.upper()}, "
               f"{users:,} mailbox{'es' if users > 1 else ''}", "local", per_connection=100,
               users=users, is_lmtp=protocol == "lmtp", has_floor=protocol == "lmtp",
               peers=("dovecot",), against="dovecot", ratio=35, rate=20000)


def fan_out(domains, hosts):
    """Nobody takes 10,000 recipients in one transaction: it comes in ten of 1,000."""
    return Row(f"fan-out-{hosts}", f"one message to 10,000 recipients, {max(domains, 1)} "
               f"domain{'s' if domains else ''} behind {hosts} host{'s' if hosts > 1 else ''}",
               "relay", connections=1, per_connection=0, users=10000, recipients=1000, messages=10,
               domains=domains, hosts=hosts, ratio=10)


ROWS = [
    *(Row(f"wire-{count}", f"source straight to sink, {count} a connection", "wire",
          per_connection=count, peers=()) for count in (1, 100)),
    relay(50, 1, peers=ALL, p99=0.25),
    relay(50, 100, peers=ALL, p99=0.25),
    relay(10, 1),
    relay(10, 100),
    relay(500, 1, p99=0.25),
    relay(500, 100, p99=0.25),
    relay(50, 1, is_slow=True),
    relay(50, 100, is_slow=True),
    accept(1),
    accept(100),
    *(local(protocol, users) for protocol in ("lmtp", "smtp") for users in (1000, 100000, 1)),
    fan_out(0, 1),
    fan_out(100, 10),
    Row("mobile", "400 octets, one a connection, 2,000 connections", "relay", connections=2000,
        size=400),
]


class Sinks:
    """The hosts that a row's mail goes to."""

    def __init__(self, row):
        hosts = [f"127.0.0.{10 + number}" for number in range(row.hosts)] if row.hosts > 1 \
            else ["127.0.0.1"]
        self.port = ports.free_port()
        self.routes = {f"d{number}.{row.domain}": (hosts[number % row.hosts], self.port)
                       for number in range(row.domains)}
        self.all = [generator.Sink(servers.FOLDER, host, self.port) for host in hosts]
        self.process = self.all[0].process

    def recipients(self):
        return sum(sink.recipients() for sink in self.all)

    def cpu_seconds(self):
        return sum(sum(machine.cpu_seconds(sink.process.pid).values()) for sink in self.all)

    def stop(self):
        for sink in self.all:
            sink.stop()


def measure(server, row, messages, sinks, patience=300):
    """One run: from the first connection until everything is where it belongs;
    it fails when that takes longer than `patience` seconds.

    What was only accepted fills a queue: such a run has a server with an empty
    folder, since to drop an entry costs more than to take it."""
    if row.purpose == "accept":
        server.stop()
        server.start()
    wanted = messages * row.recipients
    counted = wanted * 99 // 100 if row.purpose == "relay" else wanted
    arrived = sinks.recipients() if sinks else 0
    before, sink_before = servers.spent(server), sinks.cpu_seconds() if sinks else 0
    started = time.monotonic()
    said = row.send(server.port, messages, patience,
                    is_lmtp=row.is_lmtp or server.name == "dovecot")
    sent = time.monotonic()
    if row.purpose == "relay":
        wait_for(sinks, server, arrived + counted, patience)
    ended = time.monotonic()
    spent = machine.difference(servers.spent(server), before)
    cpu = {name: round(seconds / wanted * 1e6, 2) for name, seconds in spent.items()}
    if sinks and row.purpose != "wire":
        cpu["(sink)"] = round((sinks.cpu_seconds() - sink_before) / wanted * 1e6, 2)
    if row.purpose == "relay":
        wait_for(sinks, server, arrived + wanted, 75)
    cpu["(source)"] = round(said["cpu_us_per_message"] / row.recipients, 2)
    return {"server": server.name, "messages": messages, "seconds": ended - started,
            "rate": counted / (ended - started), "last_seconds": time.monotonic() - started,
            "send_seconds": sent - started,
            "cpu_us": cpu, "cpu_us_all": sum(us for name, us in cpu.items() if name[0] != "("),
            "p50_ms": said["p50_ms"], "p99_ms": said["p99_ms"], "source": said}


def wait_for(sinks, server, count, seconds):
    """Until so many have come. Some servers try a few again only minutes later: those
    would be all that is measured, so that a row ends when 99 % are there."""
    ports.wait_until(lambda: sinks.recipients() >= count,
                     f"what {server.name} took arrives", seconds, 0.005)


def first_rate(server, row, sinks, seconds):
    """About what it can do: a short run says how long the second one may be, which
    is nearer to what is measured then."""
    few = row.messages or min(1000, 4 * row.connections)
    rate = measure(server, row, few, sinks, FIRST_PATIENCE)["rate"]
    more = messages_for(row, rate, seconds)
    if more < 2 * few:
        return rate
    return measure(server, row, more, sinks, FIRST_PATIENCE)["rate"]


def messages_for(row, rate, seconds):
    """How many messages take about so long. Fewer than 500 have no p99."""
    if row.messages:
        return row.messages
    fewest = max(500, row.connections * (1 if row.per_connection == 1 else 4))
    return max(fewest, min(400000, int(rate * seconds) // 100 * 100))


def start(name, row, sinks):
    """A server that has done some work already."""
    server = servers.SERVERS[name](row, sinks)
    try:
        if row.purpose == "local":
            server.fill()
        elif row.recipients == 1:
            row.send(server.port, 300 if name in ("exim", "sendmail") else 1000,
                     connections=min(row.connections, 50))
    except BaseException:
        server.stop()
        raise
    return server


class Contender:
    """A server in a row: started, warm, and how many messages a run of it has."""

    def __init__(self, name, row, sinks, seconds):
        arrived = sinks.recipients() if sinks else 0
        self.server = start(name, row, sinks)
        try:
            if row.purpose == "relay" and row.recipients == 1:
                ports.wait_until(lambda: sinks.recipients() >= arrived + 300,
                                 "the first messages arrive", 60)
                wait_until_still(sinks)
            rate = first_rate(self.server, row, sinks, seconds)
        except BaseException:
            self.server.stop()
            raise
        self.messages = messages_for(row, rate, seconds)
        self.patience = 30 + 5 * self.messages * row.recipients / rate


def run(row, rounds, seconds, names, say):
    """Every server in turn, round after round, each second round the other way
    round: {"runs", "failed": {server: why}, "calls": {server: {process: {call:
    number a message}}}}. Who fails takes no further part, and the others go on
    without it."""
    sinks = Sinks(row) if row.purpose in ("relay", "wire") else None
    running, runs, failed, counted = {}, [], {}, {}

    def attempt(name, work):
        try:
            return work()
        except Exception as error:
            failed[name] = str(error)[:2000]
            say(f"{row.key}, {name} FAILED: {error}")
            if name in running:
                running.pop(name).server.stop()
        return None

    def measure_once(one):
        return measure(one.server, row, one.messages, sinks, one.patience)

    def count_calls(one):
        """In a run of its own: to count costs time."""
        return calls.a_message(one.server.pid, one.messages * row.recipients,
                               lambda: measure_once(one))
    try:
        for name in row.names:
            if name in names or name in ("hayauma", *ORIENTATION):
                if one := attempt(name, lambda: Contender(name, row, sinks, seconds)):
                    running[name] = one
        for number in range(rounds):
            for name in in_turn(running, number):
                if got := attempt(name, lambda: measure_once(running[name])):
                    runs.append({**got, "round": number})
                    say(f"{row.key}, round {number + 1}, {name}: {got['rate']:,.0f} {row.unit}, "
                        f"{got['cpu_us_all']:,.0f} µs CPU, p99 {got['p99_ms']:.1f} ms")
        if row.purpose != "accept":  # which has another server for each run
            for name in [name for name in ("hayauma", "floor") if name in running]:
                counted[name] = attempt(name, lambda: count_calls(running[name])) or {}
    finally:
        for one in running.values():
            one.server.stop()
        if sinks:
            sinks.stop()
    return {"runs": runs, "failed": failed, "calls": counted}


def in_turn(names, number):
    """The order of a round. Hayauma and whom it is measured against stay neighbours:
    nothing comes between the two that a ratio is made of."""
    order = sorted(names, key=lambda name: name not in ORIENTATION)
    return order[::-1] if number % 2 else order


def wait_until_still(sinks):
    """Nothing has come for half a second."""
    seen = [-1, 0.0]

    def is_still():
        now = sinks.recipients()
        if now != seen[0]:
            seen[:] = [now, time.monotonic()]
        return time.monotonic() - seen[1] > 0.5
    ports.wait_until(is_still, "the sink is still", 60)
