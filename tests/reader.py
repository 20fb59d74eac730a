"""A reader who changes his mailbox under load and keeps books: flags, copies, moves,
expunges, each acknowledged or, when the server died under it, perhaps done. A checker
that asks anew at the end says whether the mailboxes can be what the books say."""
import collections
import random
import re
import threading

import ports
from hayauma import PASSWORD
from imap_mirror import Mirror

FLAGS = [rb"\Seen", rb"\Answered", rb"\Flagged", rb"\Draft", b"$one", b"$two"]
ROW = re.compile(rb"^\* \d+ FETCH \(.*?UID (\d+).*?FLAGS \(([^)]*)\).*?X-Load-Id: (\S+)", re.S)
ASK = "UID FETCH {}:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (X-Load-Id)])"


class Session(Mirror):
    """As a Mirror, but keeps what literals say."""

    def line(self):
        whole = b""
        while True:
            part = self.file.readline()
            if not part.endswith(b"\r\n"):
                raise ConnectionError("the connection ended")
            literal = re.search(rb"\{(\d+)\}\r\n$", part)
            if not literal:
                return whole + part[:-2]
            whole += part + self.file.read(int(literal.group(1)))

    def take(self, line):
        if found := ROW.match(line):
            uid, flags, load_id = found.groups()
            self.found[int(uid)] = (load_id.decode(), frozenset(flags.split()) - {rb"\Recent"})
        if found := re.search(rb"\[UIDVALIDITY (\d+)\]", line):
            self.uid_validity = int(found.group(1))

    def rows_of(self, box, uid_from=1):
        """{uid: (load id, flags)}"""
        self.found = {}
        self.command(f"SELECT {box}")
        self.command(ASK.format(uid_from))
        return {uid: row for uid, row in self.found.items() if uid >= uid_from}


class BookError(AssertionError):
    """What the server says cannot be."""


class Reader(threading.Thread):
    def __init__(self, server, account, seed=1):
        super().__init__(daemon=True)
        self.server, self.account, self.random = server, account, random.Random(seed)
        self.ids, self.validity = {}, {}  # (box, uid): load id; box: its UIDVALIDITY
        self.flags = {}  # uid of INBOX: what its flags may be
        self.gone, self.maybe_gone = set(), set()  # uids of INBOX
        self.copies, self.maybe_copies = collections.Counter(), collections.Counter()
        self.done, self.error, self.last, self._end = 0, None, None, threading.Event()

    def stop(self):
        self._end.set()
        self.join(60)
        assert not self.is_alive(), "the reader hangs"
        if self.error:
            raise self.error

    def run(self):
        while not self._end.is_set():
            session = None
            try:
                session = Session(self.server.ports["imap"], self.account, PASSWORD)
                session.command("CREATE Archive", wanted=None)
                while not self._end.is_set():
                    self.work(session)
            except (OSError, AssertionError) as error:
                # The server going away is what this is about; a fault is not.
                if isinstance(error, BookError):
                    self.error = error
                    return
                self.last = error
                self._end.wait(0.1)
            finally:
                if session:
                    session.close()

    def learn(self, session):
        known = max((uid for box, uid in self.ids if box == "INBOX"), default=0)
        for uid, (load_id, _) in session.rows_of("INBOX", known + 1).items():
            self.note("INBOX", uid, load_id)
            self.flags.setdefault(uid, {frozenset()})
        self.note_validity("INBOX", session.uid_validity)

    def note(self, box, uid, load_id):
        before = self.ids.setdefault((box, uid), load_id)
        if before != load_id:
            raise BookError(f"UID {uid} of {box} was {before} and is {load_id}")

    def note_validity(self, box, validity):
        if self.validity.setdefault(box, validity) != validity:
            raise BookError(f"UID validity of {box} changed")

    def here(self):
        return [uid for uid in self.flags if uid not in self.gone | self.maybe_gone]

    def work(self, session):
        self.learn(session)
        for _ in range(20):
            uids = self.here()
            if not uids or self._end.is_set():
                self._end.wait(0.05)
                return
            uid = self.random.choice(uids)
            what = self.random.choices([self.store, self.copy, self.move, self.expunge],
                                       [6, 2, 1, 1])[0]
            what(session, uid)
            self.done += 1

    # What may have been done is noted before, what was done after.

    def store(self, session, uid):
        flags = frozenset(self.random.sample(FLAGS, self.random.randrange(4)))
        self.flags[uid] = self.flags[uid] | {flags}
        session.command(f"UID STORE {uid} FLAGS ({b' '.join(flags).decode()})")
        self.flags[uid] = {flags}

    def copy(self, session, uid, verb="COPY"):
        load_id = self.ids["INBOX", uid]
        self.maybe_copies[load_id] += 1
        session.command(f"UID {verb} {uid} Archive")
        self.maybe_copies[load_id] -= 1
        self.copies[load_id] += 1

    def move(self, session, uid):
        self.maybe_gone.add(uid)
        self.copy(session, uid, "MOVE")
        self.gone.add(uid)

    def expunge(self, session, uid):
        self.maybe_gone.add(uid)
        session.command(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
        session.command(f"UID EXPUNGE {uid}")
        self.gone.add(uid)


def reconcile_reader(reader, load):
    """Fails with whatever the mailboxes cannot be; returns counts."""
    session = Session(reader.server.ports["imap"], reader.account, PASSWORD)
    inbox, archive = session.rows_of("INBOX"), session.rows_of("Archive")
    session.close()
    return compare(reader, load, inbox, archive)


def compare(reader, load, inbox, archive):
    for uid, (load_id, _) in inbox.items():
        reader.note("INBOX", uid, load_id)
    faults = []
    counts = collections.Counter(load_id for load_id, _ in inbox.values())
    uid_of = {load_id: uid for (box, uid), load_id in reader.ids.items() if box == "INBOX"}
    for load_id, to in load.acknowledged.items():
        if reader.account not in to:
            continue
        uid = uid_of.get(load_id)
        if uid in reader.gone and counts[load_id]:
            faults.append(f"{load_id}, UID {uid}: came back")
        if uid not in reader.maybe_gone and counts[load_id] != 1:
            faults.append(f"{load_id}, UID {uid}: {counts[load_id]} times in INBOX")
    faults += [f"{i}: {n} times in INBOX" for i, n in counts.items() if n > 1]
    faults += [f"{i}: from nowhere" for i in counts if i not in load.attempted]
    kept = collections.Counter(load_id for load_id, _ in archive.values())
    for load_id in kept.keys() | reader.copies.keys():
        least = reader.copies[load_id]
        if not least <= kept[load_id] <= least + reader.maybe_copies[load_id]:
            faults.append(f"{load_id}: {kept[load_id]} times in Archive, {least} were copied")
    for uid, (load_id, flags) in inbox.items():
        may = reader.flags.get(uid, {frozenset()})
        if uid in reader.maybe_gone:
            flags = flags - {rb"\Deleted"}
        if flags not in may:
            faults.append(f"{load_id}, UID {uid}: flags {set(flags)}, not of {may}")
    assert not faults, f"{len(faults)} faults: {faults[:10]}"
    return {"inbox": len(inbox), "archive": len(archive), "changes": reader.done}


def wait_until_busy(reader, more=5):
    begun = reader.done
    try:
        ports.wait_until(lambda: reader.done > begun + more or not reader.is_alive(),
                         "the reader goes on", 20)
    except AssertionError as error:
        raise AssertionError(f"the reader stands still: {reader.last!r}") from error
