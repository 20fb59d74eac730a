"""The checker itself: it must find each kind of fault, or it proves nothing."""
import types

import pytest

from load import Load, Sink
from reader import Reader, compare
from reconcile import reconcile

LOCAL, REMOTE = "hanako@example.jp", "b@example.net"


def message(message_id):
    return f"Subject: load\r\nX-Load-Id: {message_id}\r\n\r\nX-Load-Id: body\r\n".encode()


def sent(**acknowledged):
    return types.SimpleNamespace(acknowledged=acknowledged, attempted={*acknowledged, "m9"})


CASES = [  # name, in the mailbox, at the sink, may_repeat, words of the fault
    ("all is well", ["m1"], ["m2"], False, None),
    ("attempted only", ["m1", "m9"], ["m2"], False, None),
    ("lost here", [], ["m2"], False, "1 lost"),
    ("lost there", ["m1"], [], False, "1 lost"),
    ("twice here", ["m1", "m1"], ["m2"], True, "1 doubled"),
    ("twice there", ["m1"], ["m2", "m2"], False, "1 doubled"),
    ("twice there, allowed", ["m1"], ["m2", "m2"], True, None),
    ("in the wrong place", ["m2"], ["m1"], False, "2 lost"),
    ("from nowhere", ["m1", "m7"], ["m2"], False, "1 from nowhere"),
]


@pytest.mark.parametrize("name,kept,taken,may_repeat,fault", CASES, ids=[c[0] for c in CASES])
def test_each_fault_is_found(name, kept, taken, may_repeat, fault):
    def run():
        return reconcile(sent(m1=[LOCAL], m2=[REMOTE]), {LOCAL: map(message, kept)},
                         {"example.net": map(message, taken)}, may_repeat)
    if fault is None:
        assert run()["acknowledged"] == 2, name
    else:
        with pytest.raises(AssertionError, match=fault):
            run()


def test_load_and_sink_agree():
    import smtplib
    with Sink() as sink:
        server = types.SimpleNamespace(smtp=lambda: smtplib.SMTP("127.0.0.1", sink.port))
        load = Load(server, lambda n: [REMOTE, "c@example.net"]).start()
        while load.count() < 50:
            assert not load.errors
        load.stop()
        assert reconcile(load, {}, {"example.net": sink.received})["passed_on"] >= 50
        assert len(sink.received[0]) > 1900 and sink.transactions[0] == [REMOTE, "c@example.net"]


SEEN, NONE = frozenset([rb"\Seen"]), frozenset()
BOOK_CASES = [  # name, INBOX, Archive, words of the fault
    ("all is well", {1: ("m1", SEEN), 4: ("m4", NONE)}, {1: ("m2", NONE)}, None),
    ("perhaps expunged", {1: ("m1", SEEN)}, {1: ("m2", NONE)}, None),
    ("perhaps copied", {1: ("m1", SEEN)}, {1: ("m2", NONE), 2: ("m1", NONE)}, None),
    ("lost", {}, {1: ("m2", NONE)}, "m1, UID 1: 0 times in INBOX"),
    ("came back", {1: ("m1", SEEN), 2: ("m2", NONE)}, {1: ("m2", NONE)}, "came back"),
    ("twice", {1: ("m1", SEEN), 5: ("m1", NONE)}, {1: ("m2", NONE)}, "2 times in INBOX"),
    ("a flag lost", {1: ("m1", NONE)}, {1: ("m2", NONE)}, "flags"),
    ("a copy lost", {1: ("m1", SEEN)}, {}, "0 times in Archive"),
    ("a copy too many", {1: ("m1", SEEN)}, {1: ("m2", NONE), 2: ("m2", NONE)}, "2 times in Ar"),
    ("a UID used again", {1: ("m4", SEEN)}, {1: ("m2", NONE)}, "UID 1 of INBOX was m1"),
    ("from nowhere", {1: ("m1", SEEN), 9: ("m8", NONE)}, {1: ("m2", NONE)}, "from nowhere"),
]


@pytest.mark.parametrize("name,inbox,archive,fault", BOOK_CASES, ids=[c[0] for c in BOOK_CASES])
def test_each_fault_in_the_books_is_found(name, inbox, archive, fault):
    reader = Reader(None, LOCAL)
    reader.ids = {("INBOX", 1): "m1", ("INBOX", 2): "m2", ("INBOX", 4): "m4"}
    reader.flags = {1: {SEEN}, 2: {NONE}, 4: {NONE}}
    reader.gone, reader.maybe_gone = {2}, {2, 4}
    reader.copies.update(["m2"])
    reader.maybe_copies.update(["m1"])
    load = sent(m1=[LOCAL], m2=[LOCAL], m4=[LOCAL])
    if fault is None:
        assert compare(reader, load, inbox, archive)["inbox"] == len(inbox), name
    else:
        with pytest.raises(AssertionError, match=fault):
            compare(reader, load, inbox, archive)
