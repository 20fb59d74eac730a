"""Loopback ports for servers under test, and waiting for what they do."""
import os
import socket
import time

# Below the range that outgoing connections use; tests that run at the same time
# (pytest-xdist names its workers gw0, gw1, …) have a part of it each.
_WORKER = os.environ.get("PYTEST_XDIST_WORKER")
_PART = 2000 if _WORKER else 12000
_FIRST = 20000 + (int(_WORKER[2:]) % 6 * _PART if _WORKER else 0)
_LAST = _FIRST + _PART - 1
_next = _FIRST + os.getpid() % _PART

# Deadlines are for a machine with nothing else to do. Where one is slow or shared
# they are stretched: a wait ends as soon as its condition holds, so it costs nothing.
_PATIENCE = 10


def free_port():
    """A loopback port on which nothing listens; each call gives another one."""
    global _next
    for _ in range(_LAST - _FIRST):
        port, _next = _next, _next + 1
        if _next > _LAST:
            _next = _FIRST
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port on 127.0.0.1")


def is_listening(port, host="127.0.0.1"):
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def answers_dns(port, host="127.0.0.1"):
    """Whether a name server there tells the SOA of the root."""
    query = bytes.fromhex("00070100000100000000000000000600") + b"\x01"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        try:
            s.sendto(query, (host, port))
            answer = s.recv(512)
        except OSError:
            return False
        return len(answer) > 12 and answer[3] & 15 == 0


def wait_until(condition, what, timeout=20.0, interval=0.05):
    """Waits until condition() is true and returns that value; fails with `what`."""
    timeout *= _PATIENCE
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what}")
        time.sleep(interval)
