"""Processes die at any moment under load, each alone and all at once: what was
acknowledged is where it belongs, once. And a disk that fails is not believed."""
import os
import random
import re
import signal
import subprocess
import time
import types

import pytest

import hayauma
import ports
from hayauma import Hayauma
from load import Load, Sink
from reader import Reader, reconcile_reader, wait_until_busy
from reconcile import reconcile

USERS = [f"user{n}@example.jp" for n in range(4)]
READER = "reader@example.jp"  # changes what comes
REMOTE, REFUSED = "b@remote.example.net", "refused@other.example.net"

# The nth fdatasync() of a process, and all behind it, fail.
FAILING_DISK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd)
{
        static int (*real)(int);
        static atomic_int calls;
        const char *text = getenv("FAIL_SYNC_AFTER");

        if (!real)
                real = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
        if (text && atomic_fetch_add(&calls, 1) >= atoi(text)) {
                errno = EIO;
                return -1;
        }
        return real(fd);
}
"""


def recipients(n):
    """Mailboxes, elsewhere, both; now and then one whose server refuses him."""
    local = USERS[n % len(USERS)]
    return [[local, READER], [local, USERS[(n + 1) % len(USERS)]], [REMOTE], [local, REMOTE],
            [REFUSED], [READER]][n % 6]


def kill_some(server, kind):
    """One process of the server, or all of it; it must be ready again."""
    if kind == "any":
        kind = random.choice([n for n in server.children() if n != "keeper/0"])
    if kind not in ("supervisor", "all"):
        server.kill(kind)
        time.sleep(random.uniform(0, 0.3))
        ports.wait_until(lambda: server.run("status", check=False).returncode == 0,
                         "the server answers", 30, 0.2)
        return
    pids = list(server.children().values()) if kind == "all" else []
    server.kill("supervisor")
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    ports.wait_until(lambda: not server.children_left(), "all end", 15)
    server.start()


def reconcile_all(load, server, sink):
    """Who is refused elsewhere is told to the author instead."""
    passed_on = {"remote.example.net": [], "example.net": []}
    for text, to in zip(sink.received, sink.transactions):
        for address in to:
            passed_on[address.rpartition("@")[2]].append(text)
    sent = types.SimpleNamespace(attempted=load.attempted, acknowledged={
        i: ["a@example.net" if address == REFUSED else address for address in to
            if address != READER]
        for i, to in load.acknowledged.items()})
    return reconcile(sent, {user: server.messages(user) for user in USERS}, passed_on,
                     may_repeat=True)


def run_rounds(kinds, seconds):
    """For each kind of end: some load, then the end; at the end all is found."""
    with Sink() as sink:
        sink.refused.add(REFUSED)
        options = (f'smart_host = "smtp:[127.0.0.1]:{sink.port}"\n'
                   'relay_networks = { "127.0.0.0/8" }\n'
                   'auth { plaintext_without_tls = { "127.0.0.0/8" } }\n'
                   'queue { retry_min = "1s" retry_max = "2s" }\n')
        with Hayauma(users=[*USERS, READER], listen={"smtp": 0, "imap": 0},
                     options=options) as server:
            load = Load(server, recipients, connections=6, messages_per_connection=5).start()
            reader = Reader(server, READER)
            reader.start()
            for kind in kinds:
                begun = load.count()
                wait_until_busy(reader)
                time.sleep(random.uniform(0.1, seconds))
                kill_some(server, kind)
                ports.wait_until(lambda: load.count() > begun + 5, "mail is accepted again", 40)
            wait_until_busy(reader)
            load.stop()
            reader.stop()
            ports.wait_until(lambda: not server.queue(), "the queue empties", 60, 0.5)
            counts = reconcile_all(load, server, sink)
            read = reconcile_reader(reader, load)
            assert "the store is good" in server.run("check", "--store").stdout
            server.stop()
            assert "the store is good" in server.run("check", "--store").stdout
            server.start()
            assert reconcile_all(load, server, sink) == counts
            assert reconcile_reader(reader, load) == read and read["changes"] > 5 * len(kinds)
    assert counts["acknowledged"] > 5 * len(kinds) and counts["passed_on"]


def test_kills_under_load():
    run_rounds(["keeper/0", "all", "any"], 0.7)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_many_kills_under_load(seed):
    random.seed(seed)
    run_rounds(["keeper/0", "all", "any", "supervisor", "any"], 1.5)


@pytest.fixture
def failing_disk(tmp_path):
    source, library = tmp_path / "disk.c", tmp_path / "disk.so"
    source.write_text(FAILING_DISK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.owner() == source.owner() and str(folder) != "/tmp":
            folder.chmod(folder.stat().st_mode | 0o011)
    library.chmod(0o755)
    return library


def test_after_a_failed_sync_nothing_is_acknowledged(failing_disk, monkeypatch):
    server = Hayauma(users=USERS, binary=hayauma.RELEASE)
    monkeypatch.setenv("LD_PRELOAD", str(failing_disk))
    monkeypatch.setenv("FAIL_SYNC_AFTER", "40")
    with server:
        monkeypatch.undo()
        load = Load(server, lambda n: [USERS[0]]).start()
        ports.wait_until(lambda: "store_failed" in server.log(), "the failure is said", 30)
        count = load.count()
        ports.wait_until(lambda: "intake_closed" in server.log(), "and edges are told", 10)
        time.sleep(1)
        load.stop()
        assert load.count() <= count + 4, "answers on their way, no more"
        log = server.log(10000)
        assert len(re.findall("store_failed", log)) == 1, "once"
        assert re.search(r"(mail|queue)/\S+\.seg: fdatasync: Input/output error", log)
        assert log.count("commit_failed") == 0
        # What is safe can still be read, and told of.
        assert len(server.messages(USERS[0])) >= len(load.acknowledged)
        assert server.why(USERS[0])
        server.kill("supervisor")
        ports.wait_until(lambda: not server.children_left(), "all end", 15)
        server.start()  # with a good disk
        assert reconcile(load, {USERS[0]: server.messages(USERS[0])}, {})["acknowledged"]
        server.send("a@example.net", [USERS[0]], b"Subject: again\r\n\r\nhello\r\n")
