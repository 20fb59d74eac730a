"""The keeper, the access process or all of the server are killed while a client
changes its mailboxes. What was answered with OK is there; a command whose
answer did not come was done wholly or not at all."""
import imaplib
import random
import re
import signal
import threading

import pytest

import ports
from hayauma import PASSWORD, Hayauma, is_running

HANAKO = "hanako@example.jp"
FLAGS = [r"\Seen", r"\Answered", r"\Flagged", "$one"]


class Unknown(Exception):
    """Nobody knows whether it was done."""


class Client:
    """Commands, and what they do to `state`: by mailbox, in the order of UIDs, the
    number in each message's subject and its flags."""

    def __init__(self, server, seed):
        self.server, self.random = server, random.Random(seed)
        self.state, self.number, self.imap = {"INBOX": []}, 0, None
        self.acknowledged = 0
        self.connect()

    def connect(self):
        def log_in():
            client = None
            try:
                # Late is not never: what is answered later is done after settle() looked.
                client = imaplib.IMAP4("127.0.0.1", self.server.ports["imap"], timeout=180)
                client.login(HANAKO, PASSWORD)
                if client.select("INBOX")[0] == "OK":
                    return client
            except (OSError, imaplib.IMAP4.error):
                pass
            if client:
                client.shutdown()
            return None
        self.imap = ports.wait_until(log_in, "a login works again", 30, 0.1)

    # Commands

    def say(self, method, *words):
        try:
            status, rows = getattr(self.imap, method)(*words)
        except (OSError, imaplib.IMAP4.abort) as error:
            raise Unknown from error
        if status != "OK":
            if b"UNAVAILABLE" in rows[0]:
                raise Unknown
            raise AssertionError((method, words, rows))
        return rows

    def box(self):
        return self.random.choice(sorted(self.state))

    def pick(self):
        """A mailbox that holds something, selected, and some of its messages by index."""
        full = [name for name in sorted(self.state) if self.state[name]]
        if not full:
            return None, []
        name = self.random.choice(full)
        self.say("select", name)
        count = len(self.state[name])
        return name, sorted(self.random.sample(range(count), self.random.randint(1, count)))

    def change(self, after, method, *words):
        """One command that makes `after` of the state."""
        try:
            self.say(method, *words)
        except Unknown:
            self.settle([self.state, after])
            return
        self.state = after
        self.acknowledged += 1

    def copy_of_state(self):
        return {name: list(rows) for name, rows in self.state.items()}

    def append(self):
        name, flags = self.box(), self.random.sample(FLAGS, 2)
        self.number += 1
        after = self.copy_of_state()
        after[name].append((self.number, frozenset(flags)))
        text = f"Subject: {self.number}\r\n\r\n" + "x" * self.random.randrange(9000)
        self.change(after, "append", name, f"({' '.join(flags)})", None, text.encode())

    def store(self):
        name, chosen = self.pick()
        if name:
            flags, after = frozenset(self.random.sample(FLAGS, 2)), self.copy_of_state()
            for i in chosen:
                after[name][i] = (after[name][i][0], flags)
            self.change(after, "store", numbers(chosen), "FLAGS", f"({' '.join(flags)})")

    def copy(self, method="copy"):
        name, chosen = self.pick()
        if not name or len(self.state[name]) > 40:
            return
        to, after = self.box(), self.copy_of_state()
        if method == "move":
            if to == name:
                return
            after[name] = [row for i, row in enumerate(after[name]) if i not in chosen]
        after[to] += [self.state[name][i] for i in chosen]
        if method == "move":
            self.change(after, "_simple_command", "MOVE", numbers(chosen), to)
        else:
            self.change(after, "copy", numbers(chosen), to)

    def move(self):
        self.copy("move")

    def expunge(self):
        name, chosen = self.pick()
        if not name:
            return
        marked, after = self.copy_of_state(), self.copy_of_state()
        for i in chosen:
            number, flags = marked[name][i]
            marked[name][i] = (number, flags | {r"\Deleted"})
        # Also those that were marked before, when a death came between the two commands.
        after[name] = [row for row in marked[name] if r"\Deleted" not in row[1]]
        self.change(marked, "store", numbers(chosen), "+FLAGS", r"(\Deleted)")
        if self.state == marked and self.selects(name):
            self.change(after, "expunge")

    def selects(self, name):
        try:
            self.say("select", name)
            return True
        except Unknown:
            self.settle([self.state])
            return False

    def create(self):
        self.number += 1
        name = f"Box{self.number}"
        if len(self.state) < 6:
            self.change({**self.copy_of_state(), name: []}, "create", name)

    def rename(self):
        self.number += 1
        name, after = self.box(), self.copy_of_state()
        if name != "INBOX":
            after[f"Box{self.number}"] = after.pop(name)
            self.change(after, "rename", name, f"Box{self.number}")

    def delete(self):
        name, after = self.box(), self.copy_of_state()
        if name != "INBOX":
            del after[name]
            if self.selects("INBOX"):
                self.change(after, "delete", name)

    def step(self):
        todo = [self.append] * 5 + [self.store] * 3 + [self.copy, self.copy, self.move, self.move,
                self.expunge, self.create, self.rename, self.delete]
        try:
            self.random.choice(todo)()
        except Unknown:  # while something was only looked at
            self.settle([self.state])

    # What there is

    def look(self):
        found = {}
        for row in self.say("list"):
            name = row.decode().rpartition(" ")[2].strip('"')
            self.say("select", name, True)
            found[name] = []
            if int(self.imap.untagged_responses["EXISTS"][-1]):
                rows = self.say("fetch", "1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
                for head, text in (row for row in rows if isinstance(row, tuple)):
                    flags = re.search(rb"FLAGS \(([^)]*)\)", head).group(1).decode().split()
                    found[name].append((int(text.split()[1]), frozenset(flags)))
        return found

    def settle(self, possible):
        """What is there must be one of these states."""
        def looked():
            self.connect()
            try:
                return self.look()
            except Unknown:
                return None
        self.state = ports.wait_until(looked, "the mailboxes can be read", 20, 0.2)
        assert self.state in possible, (self.state, possible)


def numbers(indices):
    return ",".join(str(i + 1) for i in indices)


def kill(server, victim, killed):
    """Until it is gone: what is starved takes its time even for that."""
    pid = server.kill(victim)
    ports.wait_until(lambda: not is_running(pid), "it is gone")
    killed.append(victim)


def run(server, rounds, seed):
    client, chance = Client(server, seed), random.Random(seed)
    for _ in range(rounds):
        victim = chance.choice(["keeper/0"] * 5 + ["access/0"])
        killed, before = [], client.acknowledged
        killer = threading.Timer(chance.uniform(0.02, 0.4), kill, [server, victim, killed])
        killer.start()
        while killer.is_alive() or client.acknowledged < before + 5:
            client.step()
        assert killed == [victim]
        client.settle([client.state])
        ports.wait_until(lambda: {"keeper/0", "access/0"} <= set(server.children()), "restarted")
    return client


def one_server():
    return Hayauma(users=[HANAKO], listen={"smtp": 0, "imap": 0}, options=(
        'auth { plaintext_without_tls = { "127.0.0.0/8" } }\n'
        "processes { edge = 1 login = 1 access = 1 relay = 1 worker = 1 }\n"))


def test_what_was_answered_holds_when_processes_die():
    with one_server() as server:
        assert run(server, 6, 1).acknowledged >= 30


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
def test_what_was_answered_holds_when_processes_die_many_times(seed):
    with one_server() as server:
        client = run(server, 40, seed)
        server.process.send_signal(signal.SIGKILL)
        server.killed += 1
        server.process.wait(180)
        ports.wait_until(lambda: not server.children_left(), "all are gone", 20)
        server.start()
        client.settle([client.state])
