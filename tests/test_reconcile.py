"""The checker itself: it must find each kind of fault, or it proves nothing."""
import types

import pytest

from load import Load, Sink
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
