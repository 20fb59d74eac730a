"""Connections that say EHLO and no more, as many as are wanted: held by several
processes, since one may not have as many descriptors as all of them, and from
several addresses, since one has not as many ports.

    with idle_clients.held(port, 20000):
        …"""
import contextlib
import multiprocessing
import socket
import ssl

PROCESSES, ADDRESSES = 4, 9


def _connect(port, number, context):
    one = socket.create_connection(("127.0.0.1", port), timeout=180,
                                   source_address=(f"127.0.0.{2 + number % ADDRESSES}", 0))
    if context:
        one = context.wrap_socket(one)
    for greeting in (b"", b"EHLO client.example.net\r\n"):
        one.sendall(greeting)
        if not one.recv(2048).startswith(b"2"):
            raise AssertionError(f"connection {number} was refused")
    return one


def _hold(port, count, is_tls, ready, is_over):
    context = None
    if is_tls:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opened = []
    try:
        for number in range(count):
            opened.append(_connect(port, number, context))
    except (OSError, AssertionError) as error:
        ready.put(str(error))
        return
    ready.put(None)
    is_over.wait()


@contextlib.contextmanager
def held(port, count, is_tls=False, timeout=600):
    """All are open inside the block; AssertionError where one was not let in."""
    ready, is_over = multiprocessing.Queue(), multiprocessing.Event()
    shares = [count // PROCESSES + (i < count % PROCESSES) for i in range(PROCESSES)]
    holders = [multiprocessing.Process(target=_hold, args=(port, share, is_tls, ready, is_over))
               for share in shares]
    try:
        for holder in holders:
            holder.start()
        for _ in holders:
            error = ready.get(timeout=timeout)
            assert error is None, error
        yield
    finally:
        is_over.set()
        for holder in holders:
            holder.join(30)
            holder.kill()
