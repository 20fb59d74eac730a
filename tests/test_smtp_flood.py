"""What attackers may spend: connections that say nothing, or one octet now and
then, commands without end, headers without end. Memory stays bounded, nothing
false is accepted, and an honest client beside them is served; how fast is
printed, never asserted. Full sizes under the mark `long`; without sanitizers
`bench/run --only idle-smtp,idle-tls` says what connections take."""
import os
import pathlib
import resource
import threading
import time

import pytest

import idle_clients
from hayauma import SANITIZER_OPTIONS, Hayauma
from test_edge import dial, talk

HANAKO = "hanako@example.jp"
OPTIONS = "limits { errors = 0 commands = 0 connections = 100000 }\nprocesses { edge = 2 }\n"
IDLE_MEMORY = 24 * 1024  # octets of an edge for a connection that says nothing
MESSAGE = b"Subject: honest\r\n\r\nhonest\r\n.\r\n"


def flooded(options=OPTIONS):
    """What was freed counts as free: the sanitizer shall not keep it for long."""
    server = Hayauma(users=[HANAKO], options=options)
    server.environment = {
        "ASAN_OPTIONS": SANITIZER_OPTIONS["ASAN_OPTIONS"] + ":quarantine_size_mb=1"}
    return server


def edges(server):
    return [pathlib.Path(f"/proc/{pid}") for name, pid in server.children().items()
            if name.startswith("edge/")]


def memory(server):
    """Octets that are in memory of all edges."""
    return sum(int((edge / "statm").read_text().split()[1]) * resource.getpagesize()
               for edge in edges(server))


def cpu_seconds(server):
    """Seconds of CPU that all edges have used."""
    return sum(sum(map(int, (edge / "stat").read_text().rpartition(")")[2].split()[11:13]))
               for edge in edges(server)) / os.sysconf("SC_CLK_TCK")


def honest(server, count=20):
    """Messages of a client that does nothing wrong: each is accepted. The
    seconds that the slowest took."""
    slowest = 0
    for _ in range(count):
        began = time.monotonic()
        with dial(server) as client:
            talk(client, b"EHLO client.example.net\r\n", rb"250 .*\r\n")
            talk(client, b"MAIL FROM:<a@example.net>\r\nRCPT TO:<%s>\r\nDATA\r\n"
                 % HANAKO.encode(), rb"354 .*\r\n")
            talk(client, MESSAGE, rb"(?m)^250 2\.0\.0 .*\r\n")
        slowest = max(slowest, time.monotonic() - began)
    return slowest


def report(what, server, slowest, before):
    print(f"{what}: an honest client waited {1000 * slowest:.1f} ms at most; "
          f"edges grew by {(memory(server) - before) // 1024} KiB")


def raise_file_limit():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def idle_connections(count):
    with flooded() as server:
        honest(server)
        before, began = memory(server), cpu_seconds(server)
        with idle_clients.held(server.ports["smtp"], count):
            took = cpu_seconds(server) - began
            report(f"{count} idle connections ({1e6 * took / count:.0f} µs of CPU to open one)",
                   server, honest(server), before)
            assert memory(server) - before < count * IDLE_MEMORY + 32 * 2**20


def test_idle_connections():
    idle_connections(2000)


@pytest.mark.long
def test_very_many_idle_connections():
    idle_connections(20000)


def slow_connections(count):
    raise_file_limit()
    with flooded() as server:
        before = memory(server)
        held = [dial(server) for _ in range(count)]
        for connection in held[::2]:  # half of them in the middle of a message
            talk(connection, b"EHLO x\r\n", rb"250 .*\r\n")
            talk(connection, b"MAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % HANAKO.encode(),
                 rb"354 .*\r\n")
        done = threading.Event()

        def trickle():
            while not done.wait(0.5):
                for connection in held:
                    connection.send(b"x")
        thread = threading.Thread(target=trickle)
        thread.start()
        slowest = honest(server, 50)
        report(f"{count} connections with an octet now and then", server, slowest, before)
        done.set()
        thread.join()
        assert memory(server) - before < count * 2 * IDLE_MEMORY + 32 * 2**20
        for connection in held:
            connection.close()


def test_slow_connections():
    slow_connections(100)


@pytest.mark.long
def test_very_many_slow_connections():
    slow_connections(2000)


def test_slow_connections_end():
    options = "limits { command_timeout = 2s data_timeout = 2s data_rate = 100 }\n"
    with Hayauma(users=[HANAKO], options=options) as server, dial(server) as client:
        said, ends_at = b"", time.monotonic() + 30
        client.settimeout(0.2)
        while b"421" not in said and time.monotonic() < ends_at:
            try:
                client.send(b"N")
                said += client.recv(1000)
            except TimeoutError:
                pass
        assert said.startswith(b"421 4.4.2"), said


def no_progress(commands, octets, at_once):
    """Commands that lead to nothing: the client is told to go, at some time."""
    with flooded() as server:
        before, sent = memory(server), 0
        connection = dial(server)
        talk(connection, b"EHLO x\r\n", rb"250 .*\r\n")
        slowest = 0
        while sent < commands:
            try:
                connection.sendall(octets * at_once)
                while connection.recv(65536).count(b"\r\n") < 1:
                    pass
            except OSError:
                connection.close()
                connection = dial(server)
            sent += at_once
            if sent % (100 * at_once) == 0:
                slowest = max(slowest, honest(server, 1))
        connection.close()
        report(f"{commands} times {octets}", server, max(slowest, honest(server)), before)
        assert memory(server) - before < 32 * 2**20


def test_commands_without_end():
    no_progress(10**5, b"RSET\r\n", 500)


@pytest.mark.long
def test_very_many_commands_without_end():
    no_progress(10**6, b"RSET\r\n", 500)


def recipients(count):
    with flooded() as server, dial(server) as client:
        before, accepted = memory(server), 0
        talk(client, b"EHLO x\r\nMAIL FROM:<>\r\n", rb"(?m)^250 2\.1\.0.*\r\n")
        for _ in range(count // 100):
            said = talk(client, b"RCPT TO:<%s>\r\n" % HANAKO.encode() * 100 + b"VRFY x\r\n",
                        rb"(?m)^252 .*\r\n")
            accepted += said.count(b"250 2.1.5")
        report(f"{count} recipients", server, honest(server), before)
        assert accepted == 1000, accepted
        assert memory(server) - before < 32 * 2**20


def test_recipients_without_end():
    recipients(10**4)


@pytest.mark.long
def test_very_many_recipients():
    recipients(10**5)


def header_without_end(megabytes):
    with flooded("limits { message_size = 200M }\n") as server:
        before = memory(server)
        with dial(server) as client:
            talk(client, b"EHLO x\r\n", rb"250 .*\r\n")
            talk(client, b"MAIL FROM:<>\r\nRCPT TO:<%s>\r\nDATA\r\n" % HANAKO.encode(),
                 rb"354 .*\r\n")
            piece = b"".join(b"X-Field-%d: %s\r\n" % (i, b"x" * 80) for i in range(10000))
            slowest = 0
            for i in range(megabytes * 2**20 // len(piece)):
                client.sendall(piece)
                slowest = max(slowest, honest(server, 1)) if i % 5 == 0 else slowest
            said = talk(client, b"\r\nend\r\n.\r\n", rb"(?m)^\d{3} .*\r\n")
        assert said.startswith(b"552 5.3.4"), said
        report(f"a header of {megabytes} MB", server, slowest, before)
        assert memory(server) - before < 32 * 2**20


def test_a_large_header():
    header_without_end(20)


@pytest.mark.long
def test_a_very_large_header():
    header_without_end(100)
