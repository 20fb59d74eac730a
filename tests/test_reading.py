"""Reading mail: POP3 and IMAP with clients of others, change push, what holds
when processes die."""
import imaplib
import poplib
import socket
import ssl

import pytest

import ports
from hayauma import PASSWORD, Hayauma

HANAKO, TARO = "hanako@example.jp", "taro@example.jp"
OPTIONS = ('auth { plaintext_without_tls = { "127.0.0.0/8" } }\n'
           'processes { edge = 2 access = 2 relay = 1 worker = 1 }\n')


def reading_server(**options):
    listen = {"smtp": 0, "imap": 0, "pop3": 0}
    if options.get("tls"):
        listen.update({"imaps": 0, "pop3s": 0})
    return Hayauma(users=[HANAKO, TARO], listen=listen,
                   options=OPTIONS + options.pop("options", ""), **options)


@pytest.fixture(scope="module", name="server")
def one_server():
    with reading_server(tls=True) as server:
        yield server


def message(number, size=100):
    body = "".join(f"line {i} of {number}\r\n" for i in range(max(1, size // 16)))
    return f"From: a@example.net\r\nSubject: number {number}\r\n\r\n{body}".encode()


def imap(server, account=HANAKO):
    client = imaplib.IMAP4("127.0.0.1", server.ports["imap"], timeout=180)
    client.login(account, PASSWORD)
    return client


def pop3(server, account=HANAKO):
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=180)
    client.user(account)
    client.pass_(PASSWORD)
    return client


def ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def fresh(client, name):
    """A new empty mailbox, selected."""
    client.delete(name)
    ok(client.create(name))
    ok(client.select(name))


def bodies(client, numbers="1:*"):
    """Message texts by UID."""
    found = {}
    for row in ok(client.fetch(numbers, "(UID BODY.PEEK[])")):
        if isinstance(row, tuple):
            found[int(row[0].split(b"UID ")[1].split()[0])] = row[1]
    return found


# ---- POP3


def test_pop3_reads_and_deletes(server):
    for i in range(3):
        server.send("a@example.net", [TARO], message(i).decode())
    server.wait_for_messages(TARO, 3)
    client = pop3(server, TARO)
    assert client.stat()[0] == 3
    ids = [row.split()[1] for row in client.uidl()[1]]
    assert len(set(ids)) == 3
    assert b"Subject: number 1" in client.retr(2)[1]
    assert client.retr(2)[1][-1] == message(1).splitlines()[-1]
    client.dele(2)
    client.quit()
    client = pop3(server, TARO)
    assert [row.split()[1] for row in client.uidl()[1]] == [ids[0], ids[2]]
    client.quit()


def test_one_pop3_session_at_a_time_and_imap_beside_it(server):
    first = pop3(server)
    with pytest.raises(poplib.error_proto, match="IN-USE"):
        pop3(server)
    beside = imap(server)
    ok(beside.select())
    beside.logout()
    first.quit()
    pop3(server).quit()


def test_a_wrong_password_is_refused(server):
    client = imaplib.IMAP4("127.0.0.1", server.ports["imap"], timeout=180)
    with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
        client.login(HANAKO, "wrong")
    client.login(HANAKO, PASSWORD)
    client.logout()
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=180)
    client.user(HANAKO)
    with pytest.raises(poplib.error_proto, match="AUTH"):
        client.pass_("wrong")
    client.close()


# ---- IMAP


@pytest.mark.parametrize("size", [0, 3000, 100_000, 300_000, 3_000_000])
def test_appended_messages_come_back_octet_by_octet(server, size):
    client = imap(server)
    fresh(client, "Octets")
    text = message(1, size)
    ok(client.append("Octets", r"(\Flagged $kept)", None, text))
    ok(client.noop())
    assert bodies(client) == {1: text}
    assert rb"\Flagged" in ok(client.fetch("1", "(FLAGS)"))[0]
    assert server.message(HANAKO, 1, "Octets") == text
    client.logout()


def test_pipelined_commands_behind_the_login_are_answered(server):
    with socket.create_connection(("127.0.0.1", server.ports["imap"]), timeout=180) as raw:
        raw.sendall(f'a LOGIN {HANAKO} "{PASSWORD}"\r\nb SELECT INBOX\r\nc NOOP\r\n'
                    "d LOGOUT\r\n".encode())
        said = b""
        while part := raw.recv(65536):
            said += part
    for tag in (b"a OK", b"b OK", b"c OK", b"d OK"):
        assert b"\r\n" + tag in said, said


def test_changes_reach_other_sessions_unasked(server):
    watcher, changer = imap(server), imap(server)
    fresh(changer, "Push")
    ok(watcher.select("Push"))
    watcher.send(b"i IDLE\r\n")
    assert watcher.readline().startswith(b"+")

    def wait_for(words):
        while words not in (line := watcher.readline()):
            assert line, "the connection ended"

    for i in range(5):
        ok(changer.append("Push", None, None, message(i)))
        wait_for(b"EXISTS")
    ok(changer.store("2", "+FLAGS", r"(\Answered)"))
    wait_for(rb"\Answered")
    ok(changer.store("1", "+FLAGS", r"(\Deleted)"))
    wait_for(rb"\Deleted")
    ok(changer.expunge())
    wait_for(b"1 EXPUNGE")
    watcher.send(b"DONE\r\n")
    assert b"i OK" in watcher.readline()
    server.send("a@example.net", [HANAKO], message(9).decode())
    watcher.logout()
    changer.logout()


def test_deliveries_are_told(server):
    watcher = imap(server, TARO)
    count = int(ok(watcher.select())[0])
    server.send("a@example.net", [TARO], message(7).decode())
    ports.wait_until(lambda: ok(watcher.noop()) and
                     int((watcher.response("EXISTS")[1] or [b"0"])[-1] or 0) == count + 1,
                     "the delivery is told", 5, 0.05)
    watcher.logout()


def test_mailboxes_by_name(server):
    client = imap(server)
    for name in ("Work/2026/11", "Work/2026/12"):
        ok(client.create(name))
    ok(client.subscribe("Work/2026/11"))
    names = [row.split()[-1] for row in ok(client.list('""', "Work*"))]
    assert names == [b"Work", b"Work/2026", b"Work/2026/11", b"Work/2026/12"]
    assert b"Work/2026/11" in ok(client.lsub('""', "*"))[0]
    ok(client.rename("Work/2026", "Old"))
    assert len(ok(client.list('""', "Old*"))) == 3
    assert client.rename("None", "Some")[0] == "NO"
    assert client.create("inbox")[0] == "NO"
    client.logout()


def test_copy_and_move_keep_flags_and_octets(server):
    client = imap(server)
    fresh(client, "To")
    fresh(client, "From")
    texts = {i + 1: message(i, 50 * i) for i in range(20)}
    for text in texts.values():
        ok(client.append("From", r"(\Seen $done)", None, text))
    ok(client.noop())
    assert client.uid("COPY", "1:20", "Nowhere")[0] == "NO"
    ok(client.uid("COPY", "1:10", "To"))
    ok(client.uid("MOVE", "11:20", "To"))
    assert bodies(client) == {i: texts[i] for i in range(1, 11)}
    ok(client.select("To"))
    assert bodies(client) == texts
    assert all(b"$done" in row and rb"\Seen" in row for row in ok(client.fetch("1:*", "(FLAGS)")))
    client.logout()


def test_inbox_is_there_before_its_first_message():
    with reading_server() as server:
        client = imap(server)
        fresh(client, "Some")
        ok(client.append("Some", None, None, message(1)))
        ok(client.noop())
        ok(client.copy("1", "inbox"))
        client.logout()
        client = imap(server, TARO)
        ok(client.append("INBOX", None, None, message(2)))
        ok(client.select())
        assert bodies(client) == {1: message(2)}
        client.logout()


# ---- TLS


def test_under_tls_octets_are_carried(server):
    context = ssl.create_default_context(cafile=server.folder / "cert.pem")
    context.check_hostname = False
    text = message(5, 700_000)
    client = imaplib.IMAP4_SSL("127.0.0.1", server.ports["imaps"], ssl_context=context, timeout=180)
    client.login(HANAKO, PASSWORD)
    fresh(client, "Tls")
    ok(client.append("Tls", None, None, text))
    ok(client.noop())
    assert bodies(client) == {1: text}
    client.logout()
    client = imaplib.IMAP4("127.0.0.1", server.ports["imap"], timeout=180)
    client.starttls(context)
    client.login(HANAKO, PASSWORD)
    ok(client.select("Tls"))
    assert bodies(client) == {1: text}
    client.logout()
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=180)
    client.stls(context)
    client.user(HANAKO)
    client.pass_(PASSWORD)
    client.stat()
    client.quit()
    client = poplib.POP3_SSL("127.0.0.1", server.ports["pop3s"], context=context, timeout=180)
    client.user(HANAKO)
    client.pass_(PASSWORD)
    client.quit()


BEFORE_TLS = [
    ("imap", f"a STARTTLS\r\nb LOGIN {HANAKO} \"{PASSWORD}\"\r\n", b"a OK ",
     b"c SELECT INBOX\r\n", b"c BAD "),
    ("imap", f"a STARTTLS\r\nb LOGIN {HANAKO} {{50+}}\r\n", b"a OK ",
     b"c NOOP\r\n", b"c OK "),
    ("pop3", f"STLS\r\nUSER {HANAKO}\r\nPASS {PASSWORD}\r\n", b"+OK ",
     b"STAT\r\n", b"-ERR "),
    ("pop3", f"STLS\r\nUSER {HANAKO}\r\n", b"+OK ",
     f"PASS {PASSWORD}\r\n".encode(), b"-ERR "),
]


@pytest.mark.parametrize("listener, said, taken, asked, answer", BEFORE_TLS,
                         ids=["login", "literal", "pass", "user"])
def test_what_is_pipelined_behind_starttls_is_dropped(server, listener, said, taken, asked,
                                                      answer):
    """Somebody in between put it there: as a command of the client it would be a login."""
    context = ssl.create_default_context(cafile=server.folder / "cert.pem")
    context.check_hostname = False
    with socket.create_connection(("127.0.0.1", server.ports[listener]), 180) as wire:
        wire.recv(1000)
        wire.sendall(said.encode())
        assert wire.recv(1000).startswith(taken)
        with context.wrap_socket(wire) as tls:
            tls.sendall(asked)
            assert tls.recv(1000).startswith(answer)


# ---- processes that die


def test_what_was_answered_survives_the_death_of_the_keeper():
    with reading_server() as server:
        client = imap(server)
        fresh(client, "Kept")
        for i in range(10):
            ok(client.append("Kept", None, None, message(i)))
        ok(client.noop())
        ok(client.store("1:5", "+FLAGS", r"(\Flagged)"))
        ok(client.copy("1:3", "INBOX"))
        ok(client.store("9", "+FLAGS", r"(\Deleted)"))
        ok(client.expunge())
        server.kill("keeper/0")

        def works():
            try:
                return client.append("Kept", None, None, message(99))[0] == "OK"
            except imaplib.IMAP4.error:
                return False
        ports.wait_until(works, "the session goes on with the new keeper", 20, 0.2)
        ok(client.noop())
        found = bodies(client)
        assert [found[uid] for uid in sorted(found)][:9] == \
            [message(i) for i in range(10) if i != 8]
        flags = ok(client.fetch("1:9", "(FLAGS)"))
        assert [rb"\Flagged" in row for row in flags] == [True] * 5 + [False] * 4
        ok(client.select("INBOX"))
        assert list(bodies(client).values()) == [message(i) for i in range(3)]
        client.logout()


def test_a_killed_access_process_ends_its_sessions_only():
    with reading_server() as server:
        client = imap(server)
        for name in ("access/0", "access/1"):
            server.kill(name)
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            client.noop()
        server.send("a@example.net", [HANAKO], message(1).decode())

        def works():
            try:
                again = imap(server)
                ok(again.select())
                return again
            except (imaplib.IMAP4.error, OSError):
                return None
        ports.wait_until(works, "logins go on", 20, 0.2).logout()
