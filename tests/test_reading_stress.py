"""Many sessions, one mailbox, random commands.

Each session changes only messages of its own, so what must become of them is
known exactly; every session is told of all. At the end three things must say
the same: what each session was told, what the server says to one who asks
anew, and what was done."""
import random
import re
import threading
import time

import pytest

from hayauma import PASSWORD, Hayauma
from imap_mirror import Mirror

HANAKO = "hanako@example.jp"
FLAGS = [rb"\Seen", rb"\Answered", rb"\Flagged", rb"\Draft", b"$one", b"$two"]


class Worker(threading.Thread):
    def __init__(self, server, seed, until):
        super().__init__()
        self.server, self.until, self.random = server, until, random.Random(seed)
        self.mirror = Mirror(server.ports["imap"], HANAKO, PASSWORD)
        self.mirror.select("INBOX")
        self.own, self.moved, self.error, self.steps = {}, 0, None, 0

    def pick(self, count=5):
        return sorted(self.random.sample(sorted(self.own), min(len(self.own), count)))

    def flags(self):
        return frozenset(self.random.sample(FLAGS, self.random.randrange(4)))

    def append(self):
        flags = self.flags()
        text = b"Subject: %d\r\n\r\n%s\r\n" % (self.steps, b"x" * self.random.randrange(3000))
        answer = self.mirror.command(f"APPEND INBOX ({b' '.join(flags).decode()})", text)
        self.own[int(re.search(rb"APPENDUID \d+ (\d+)", answer).group(1))] = flags

    def store(self):
        uids, flags = self.pick(), self.flags()
        if not uids:
            return
        sign = self.random.choice(["+", "-", ""])
        self.mirror.command(f"UID STORE {','.join(map(str, uids))} {sign}FLAGS"
                            f"{self.random.choice(['', '.SILENT'])} "
                            f"({b' '.join(flags).decode()})")
        for uid in uids:
            self.own[uid] = (flags if not sign else self.own[uid] | flags if sign == "+"
                             else self.own[uid] - flags)
            # what was stored silently is not told to who did it
            for row in self.mirror.rows:
                if row[0] == uid:
                    row[1] = self.own[uid]

    def expunge(self):
        uids = ",".join(map(str, self.pick(3)))
        if uids:
            self.mirror.command(f"UID STORE {uids} +FLAGS (\\Deleted)")
            self.mirror.command(f"UID EXPUNGE {uids}")
            for uid in map(int, uids.split(",")):
                del self.own[uid]

    def copy(self):
        uids = self.pick(4)
        if not uids:
            return
        answer = self.mirror.command(f"UID COPY {','.join(map(str, uids))} INBOX")
        ranges = re.search(rb"COPYUID \d+ (\S+) ([^\]]+)", answer)
        source, made = (expand(r) for r in ranges.groups())
        assert source == uids and len(made) == len(uids), answer
        for old, new in zip(source, made):
            self.own[new] = self.own[old]

    def move(self):
        uids = self.pick(2)
        if uids:
            self.mirror.command(f"UID MOVE {','.join(map(str, uids))} Elsewhere")
            self.moved += len(uids)
            for uid in uids:
                del self.own[uid]

    def look(self):
        self.mirror.learn()

    def idle(self):
        self.mirror.idle(lambda: time.sleep(0.02))

    def again(self):
        self.mirror.select("INBOX")

    def step(self):
        todo = [self.append] * 5 + [self.store] * 8 + [self.expunge] * 2 + [self.copy] * 2 \
            + [self.move, self.look, self.look, self.idle, self.again]
        self.random.choice(todo)()
        self.steps += 1

    def run(self):
        try:
            while time.monotonic() < self.until:
                self.step()
        except BaseException as error:  # told by the test
            self.error = error


def expand(ranges):
    found = []
    for part in ranges.decode().split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


def stress(server, seconds, workers=8):
    first = Mirror(server.ports["imap"], HANAKO, PASSWORD)
    first.command("CREATE Elsewhere")
    until = time.monotonic() + seconds
    crowd = [Worker(server, seed, until) for seed in range(workers)]
    for worker in crowd:
        worker.start()
    for worker in crowd:
        worker.join(seconds + 60)
        assert not worker.is_alive(), "a session hangs"
    for worker in crowd:
        if worker.error:
            raise worker.error
    done = {uid: flags for worker in crowd for uid, flags in worker.own.items()}
    first.select("INBOX")
    assert first.state() == done, "what the server says is what was done"
    for worker in crowd:
        worker.mirror.command("NOOP")
        worker.mirror.learn()
        assert worker.mirror.state() == done, "what a session was told is what was done"
        worker.mirror.close()
    first.select("Elsewhere")
    assert len(first.rows) == sum(worker.moved for worker in crowd)
    first.close()
    return sum(worker.steps for worker in crowd)


def crowded_server():
    return Hayauma(users=[HANAKO], listen={"smtp": 0, "imap": 0}, options=(
        'auth { plaintext_without_tls = { "127.0.0.0/8" } }\n'
        "processes { edge = 1 access = 1 relay = 1 worker = 1 }\n"))


def test_many_sessions_agree_on_one_mailbox():
    with crowded_server() as server:
        assert stress(server, 20) > 100


@pytest.mark.long
def test_many_sessions_agree_on_one_mailbox_for_long():
    with crowded_server() as server:
        stress(server, 600, workers=20)
