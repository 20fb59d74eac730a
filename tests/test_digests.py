"""Digests that lie beside messages: what ENVELOPE, BODY, BODYSTRUCTURE, SEARCH, SORT and THREAD
say from them is what they say of the message's octets.

A FETCH that asks for an octet of the text too gets everything from the text, parsed at
that moment; one that does not gets it from the digest. `hayauma status` counts which it
was."""
import base64
import imaplib
import os
import pathlib
import re
import shutil
import time

import pytest

import ports
from hayauma import PASSWORD, Hayauma
from smtp_peer import SmtpPeer
from test_mime_trees import Maker, Reader

HANAKO, TARO = "hanako@example.jp", "taro@example.jp"
OPTIONS = ('auth { plaintext_without_tls = { "127.0.0.0/8" } }\n'
           "processes { edge = 1 access = 1 relay = 1 worker = 1 }\n")
ITEMS = "ENVELOPE BODY BODYSTRUCTURE"
SUBJECT = "会議の議事録"
ENCODED = base64.b64encode(SUBJECT.encode("iso-2022-jp"))

# Headers of all kinds; each is sent with a line of text.
HEADERS = [
    b"From: Alice Sender <alice@example.net>\r\nTo: hanako@example.jp\r\nSubject: plain\r\n"
    b"Date: Sun, 22 Nov 2026 14:20:38 +0900\r\nMessage-ID: <1@example.net>\r\n",
    b'From: "Sender, A." <a@example.net> (x)\r\nSender: b@example.net\r\nReply-To: g: c@d, e@f;\r\n'
    b"To: a@b, =?utf-8?b?5pel5pys?= <c@d>\r\nCc: x@y\r\nCc: z@y\r\nBcc: undisclosed:;\r\n",
    b"Subject: =?iso-2022-jp?b?" + ENCODED + b"?=\r\nIn-Reply-To: <1@example.net>\r\n"
    b"References: <0@example.net>\r\n\t<1@example.net>\r\n",
    b"Subject: Re: " + SUBJECT.encode() + b"\r\nFrom: " + SUBJECT.encode() + b" <a@b>\r\n",
    b"Subject: " + SUBJECT.encode("shift_jis") + b"\r\nSubject: second\r\n",
    b"Subject: =?x-unknown-charset?q?caf=E9?= =?utf-7?q?+AGE-?= =?gb18030?q?=84=31?=\r\n",
    b"Subject:\r\nFrom:\r\nDate: \r\nTo: <>\r\n",
    b"Subject: folded\r\n  over\r\n\tlines\r\nDate: no date\r\nMessage-ID: no id\r\n",
    b"Content-Type: text/html; charset=\"a\\\"b\"; name*=utf-8''%e2%82%ac\r\n"
    b"Content-Disposition: attachment; filename=\"caf\xe9.txt\"\r\nContent-Language: en, ja\r\n"
    b"Content-Location: x\r\nContent-MD5: y\r\nContent-ID: <z>\r\nContent-Description: d \"e\"\r\n",
    b"Subject: =?iso-2022-jp?b?GyhC?=\r\nFrom: \r\n \r\nTo:\r\nTo:\r\nCc: \t\r\nBcc:\r\n",
]
FIELDS = ["SUBJECT", "FROM", "TO", "CC", "BCC"]


def corpus():
    maker = Maker(3501)
    messages = [header + b"\r\nA line.\r\n" for header in HEADERS]
    messages += [maker.whole()[0] for _ in range(20)] + [maker.damaged() for _ in range(40)]
    outside = os.environ.get("HAYAUMA_OUTSIDE_DATA")
    if outside:
        messages += [path.read_bytes() for path in
                     sorted(pathlib.Path(outside, "mime4j").glob("**/*.msg"))]
    return messages


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def octets(rows):
    """Every octet of a FETCH's answers, literals with them."""
    return b"\n".join(row[0] + b"\r\n" + row[1] if isinstance(row, tuple) else row for row in rows)


def imap(server, account=HANAKO):
    client = imaplib.IMAP4("127.0.0.1", server.ports["imap"], timeout=180)
    client.login(account, PASSWORD)
    return client


def counted(server, name):
    return sum(row.get(name, 0) for row in server.rows("status", "--no-probe"))


def fetched(client, mailbox):
    """What FETCH says from digests."""
    ok(client.select(mailbox, readonly=True))
    return octets(ok(client.fetch("1:*", f"({ITEMS})")))


def parsed(client, mailbox):
    """What FETCH says from the octets."""
    ok(client.select(mailbox, readonly=True))
    shown = octets(ok(client.fetch("1:*", f"({ITEMS} BODY.PEEK[]<0.1>)")))
    return re.sub(rb" BODY\[\]<0> \{[01]\}\r\n.?\n\)", b")", shown, flags=re.S)


def deliver(server, messages, recipients):
    """Over LMTP, octet by octet. How many were taken: text with bare line ends is not."""
    taken = 0
    with server.lmtp() as client:
        client.ehlo()
        for message in messages:
            client.mail("a@example.net")
            for recipient in recipients:
                client.rcpt(recipient)
            client.putcmd("data")
            assert client.getreply()[0] == 354
            end = b".\r\n" if message.endswith(b"\r\n") else b"\r\n.\r\n"
            client.send(re.sub(rb"(?m)^\.", b"..", message) + end)
            codes = {client.getreply()[0] for _ in recipients}
            taken += codes == {250}
    return taken


def restart(server):
    """No digest is held in memory then."""
    server.stop()
    server.start()
    return imap(server)


@pytest.fixture(scope="module", name="server")
def one_server():
    with Hayauma(users=[HANAKO, TARO], listen={"smtp": 0, "lmtp": 0, "imap": 0}, options=OPTIONS,
                 role="mailbox") as server:
        yield server


def test_what_arrived_is_told_from_its_digest(server):
    messages = corpus()
    taken = deliver(server, messages, [HANAKO])
    assert taken > 50 and counted(server, "digests_made") >= taken - 2  # one may be too deep
    client = imap(server)
    assert fetched(client, "INBOX") == parsed(client, "INBOX")
    assert counted(server, "digests_read") >= taken - 2
    ok(client.select("INBOX"))
    ok(client.copy("1:*", "INBOX"))  # the copies share bodies, and what lies behind them
    client.logout()
    client = restart(server)
    shown = fetched(client, "INBOX")
    assert shown.count(b"ENVELOPE") == 2 * taken and shown == parsed(client, "INBOX")
    assert counted(server, "digests_read") >= taken - 2
    client.logout()


def test_what_is_appended_is_told_from_its_digest(server):
    reader, messages = Reader(server), corpus()
    client = reader.imap
    ok(client.create("appended"))
    for at in range(0, len(messages), 20):
        reader.append("appended", messages[at:at + 20])
    before = counted(server, "digests_read")
    assert fetched(client, "appended") == parsed(client, "appended")
    assert counted(server, "digests_read") - before >= len(messages) - 2
    ok(client.select("appended", readonly=True))
    rows = ok(client.fetch("1:*", "(BODY.PEEK[])"))
    assert [row[1] for row in rows if isinstance(row, tuple)] == messages
    client.logout()


QUESTIONS = [
    *[("FETCH", "1:*", f"({item})") for item in (ITEMS, "PREVIEW", "ENVELOPE PREVIEW")],
    *[("SEARCH", "CHARSET", "UTF-8", *key) for key in [
        ("SUBJECT", "over"), ("SUBJECT", "SECOND"), ("SUBJECT", '"re: "'),
        ("FROM", "alice@"), ("FROM", '"Sender <alice"'), ("FROM", '"(x)"'), ("NOT", "FROM", '""'),
        ("TO", "c@d"), ("CC", "z@y"), ("BCC", "undisclosed"), ("SENTSINCE", "1-Jan-2020"),
        ("SENTBEFORE", "23-Nov-2026", "SUBJECT", "plain"), ("SUBJECT", "plain", "TEXT", "line"),
        ("OR", "SUBJECT", "plain", "HEADER", "Content-Language", "ja"),
        ("NOT", "HEADER", "X-Number", '"1"', "FROM", "a@example.net"),
        *[(*by, field, '""') for field in FIELDS for by in ([], ["HEADER"])]]],
    *[("SORT", f"({by})", "UTF-8", "ALL") for by in
      ("SUBJECT", "FROM TO", "REVERSE CC TO", "DISPLAYFROM", "DISPLAYTO")],
    *[("THREAD", kind, "UTF-8", "ALL") for kind in ("ORDEREDSUBJECT", "REFERENCES", "REFS")],
]


def test_messages_without_digests_are_told_the_same(server, tmp_path):
    """Long ones that are appended have none: the same octets, imported, have."""
    started = int(time.time()) - 1000
    for folder in ("new", "cur", "tmp"):
        (tmp_path / folder).mkdir()
    for number, message in enumerate(corpus()):
        path = tmp_path / "new" / f"{number:04}.x"
        path.write_bytes(message + b"\r\n" + (b"x" * 70 + b"\r\n") * 1900)
        os.utime(path, (started + number,) * 2)  # they arrive one behind the other
    server.run("mailbox", "import", TARO, "imported", "--maildir", str(tmp_path))
    reader = Reader(server)
    reader.imap.logout()
    reader.imap = client = imap(server, TARO)
    ok(client.select("imported", readonly=True))
    messages = [row[1] for row in ok(client.fetch("1:*", "(BODY.PEEK[])"))
                if isinstance(row, tuple)]
    ok(client.create("again"))
    for message in messages:
        reader.append("again", [message])
    answers = {}
    for mailbox in ("imported", "again"):
        client.logout()
        client = restart(server)  # hanako
        client.logout()
        client = imap(server, TARO)
        ok(client.select(mailbox, readonly=True))
        for question in QUESTIONS:
            client._untagged_response = client.untagged_responses = {}
            ok(client._simple_command(*question))
            got = client.untagged_responses.pop(question[0], [None])
            answers.setdefault(question, []).append([row for row in got if row is not None])
        was_read = counted(server, "digests_read")
        # Where the padding came into a header, that is too long for one.
        assert was_read > len(messages) * 3 // 4 if mailbox == "imported" else was_read == 0
    for question, (with_digests, without) in answers.items():
        assert with_digests == without, question
    found = {question: got[0] for question, got in answers.items()}
    assert found["SEARCH", "CHARSET", "UTF-8", "SUBJECT", "over"] == [b"8"]
    assert found["SEARCH", "CHARSET", "UTF-8", "CC", "z@y"] == [b"2"]
    for field in FIELDS:  # RFC 9051 section 6.4.4: the field is there, whatever it says
        assert found["SEARCH", "CHARSET", "UTF-8", field, '""'] == \
            found["SEARCH", "CHARSET", "UTF-8", "HEADER", field, '""']
    numbers = found["SEARCH", "CHARSET", "UTF-8", "BCC", '""'][0].split()
    assert numbers[0] == b"2" and str(len(HEADERS)).encode() in numbers
    client.logout()


def test_nobody_but_access_sees_the_octets_behind_a_message(server, tmp_path):
    """Export, fetch, POP3's and IMAP's octets end where the message ends; a message whose digest
    was made for another place (a restored store) still has it."""
    deliver(server, [HEADERS[0] + b"\r\nfor taro\r\n"], [TARO])
    text = server.message(TARO)
    assert text.endswith(b"for taro\r\n") and b"HyD" not in text
    server.run("mailbox", "export", TARO, "INBOX", "--maildir", str(tmp_path / "taro"))
    [exported] = [path for path in (tmp_path / "taro").glob("**/*") if path.is_file()
                  and b"for taro" in path.read_bytes()]
    assert b"HyD" not in exported.read_bytes()
    backup = server.folder / "backup"
    server.run("backup", str(backup))
    client = imap(server, TARO)
    shown = parsed(client, "INBOX")
    client.logout()
    server.stop()
    state = server.folder / "state"
    owner = state.stat()
    shutil.rmtree(state)
    state.mkdir()
    shutil.chown(state, owner.st_uid, owner.st_gid)
    server.run("restore", str(backup))
    assert "the store is good" in server.run("check", "--store").stdout
    server.start()
    client = imap(server, TARO)
    assert fetched(client, "INBOX") == shown
    assert counted(server, "digests_read") == 1
    client.logout()


def test_a_relay_sends_the_message_alone():
    """For a mailbox here and for elsewhere: what waited is read from the store, after a restart."""
    port = ports.free_port()
    options = f'smart_host = "[127.0.0.11]:{port}"\nqueue {{ retry_min = 1s retry_max = 2s }}\n'
    message = HEADERS[0] + b"\r\nfor both\r\n"
    with Hayauma(users=[HANAKO], options=options) as server:
        server.send(HANAKO, [HANAKO, "b@remote.example"], message)
        assert counted(server, "digests_made") == 1 and b"HyD" not in server.message(HANAKO)
        server.stop()
        server.start()
        with SmtpPeer("127.0.0.11", port) as peer:
            ports.wait_until(lambda: peer.messages, "the message is relayed", 20)
            assert peer.messages[0].octets.endswith(b"for both\r\n")
            assert b"HyD" not in peer.messages[0].octets
