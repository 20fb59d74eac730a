"""Extensions of IMAP and POP3 over the wire, against a whole server."""
import imaplib
import poplib
import re
import socket
import time
import zlib

import pytest

import ports
import test_reading
from hayauma import PASSWORD, SMTP, Hayauma
from imap_mirror import Mirror
from test_reading import HANAKO, TARO, fresh, imap, message, ok, pop3


@pytest.fixture(scope="module", name="server")
def one_server():
    with test_reading.reading_server() as server:
        yield server


class Compressed:
    """An IMAP client that speaks through COMPRESS=DEFLATE."""

    def __init__(self, server, account=HANAKO):
        self.socket = socket.create_connection(("127.0.0.1", server.ports["imap"]), timeout=180)
        self.inflater, self.deflater = None, None
        self.octets, self.received = b"", 0
        self.until(b"\r\n")
        assert b"COMPRESS=DEFLATE" in self.command(f'LOGIN {account} "{PASSWORD}"')
        self.command("COMPRESS DEFLATE")
        self.inflater, self.deflater = zlib.decompressobj(-15), zlib.compressobj(9, wbits=-15)

    def send(self, octets):
        if self.deflater:
            octets = self.deflater.compress(octets) + self.deflater.flush(zlib.Z_SYNC_FLUSH)
        self.socket.sendall(octets)

    def until(self, end):
        while end not in self.octets:
            octets = self.socket.recv(65536)
            if not octets:
                raise EOFError(self.octets)
            self.received += len(octets)
            self.octets += self.inflater.decompress(octets) if self.inflater else octets
        at = self.octets.index(end) + len(end)
        answer, self.octets = self.octets[:at], self.octets[at:]
        return answer

    def command(self, text, tag="c1", wanted=b"OK"):
        self.send(f"{tag} {text}\r\n".encode())
        answer = self.until(f"{tag} ".encode())
        last = self.until(b"\r\n")
        assert last.startswith(wanted), (text, last)
        return answer + last


# ---- COMPRESS


def test_a_compressed_session_is_like_any_other(server):
    plain = imap(server)
    fresh(plain, "Deflated")
    text = message(7, 200_000)
    ok(plain.append("Deflated", None, None, text))
    client = Compressed(server)
    assert b"COMPRESS" not in client.command("CAPABILITY")
    assert b"COMPRESSIONACTIVE" in client.command("COMPRESS DEFLATE", wanted=b"NO")
    client.command("SELECT Deflated")
    before = client.received
    answer = client.command("FETCH 1 BODY.PEEK[]", tag="f1")
    assert text in answer
    assert client.received - before < len(text) / 3  # it does compress
    # A message that swells: 4 MB from a few KB, and pipelined behind it another command.
    big = b"Subject: big\r\n\r\n" + b"0123456789abcde\r\n" * 250_000
    client.send(b"a1 APPEND Deflated {%d+}\r\n" % len(big) + big + b"\r\na2 NOOP\r\n")
    assert b"a1 OK" in client.until(b"a2 OK")
    assert big in client.command("FETCH 2 BODY.PEEK[]", tag="f2")
    # Changes are pushed, after memory was given back as well.
    client.send(b"i1 IDLE\r\n")
    client.until(b"+ idling\r\n")
    for seconds in (5.5, 0):
        ok(plain.select("Deflated"))
        ok(plain.store("1", "+FLAGS", "\\Flagged"))
        assert b"\\Flagged" in client.until(b"FETCH (FLAGS (\\Flagged")
        ok(plain.store("1", "-FLAGS", "\\Flagged"))
        client.until(b"FETCH (FLAGS (")
        time.sleep(seconds)
    client.send(b"DONE\r\n")
    client.until(b"i1 OK")
    client.command("LOGOUT")
    plain.logout()


def test_what_is_not_compressed_ends_a_compressed_session(server):
    client = Compressed(server)
    client.deflater = None
    with pytest.raises((EOFError, ConnectionError)):
        client.command("NOOP")
    imap(server).logout()


# ---- THREAD


def test_threads(server):
    client = imap(server)
    fresh(client, "Threads")
    for number, parent in ((1, 0), (2, 1), (3, 2), (4, 0), (5, 9), (6, 9)):
        ids = " ".join(f"<m{i}@x>" for i in ((1, 2) if parent == 2 else (parent,)))
        parents = f"References: {ids}\r\n" if parent else ""
        subject = "Re: a" if parent in (1, 2) else "b" if number == 4 else f"s{parent}"
        ok(client.append("Threads", None, None,
                         (f"Message-ID: <m{number}@x>\r\n{parents}Subject: {subject}\r\n"
                          f"Date: {number} Feb 2020 10:00:00 +0000\r\n\r\n").encode()))
    assert ok(client.thread("REFERENCES", "UTF-8", "ALL")) == [b"(1 2 3)(4)((5)(6))"]
    assert ok(client.thread("REFS", "UTF-8", "NOT 2")) == [b"(1 3)(4)((5)(6))"]
    assert ok(client.uid("THREAD", "ORDEREDSUBJECT", "UTF-8", "ALL")) == [b"(1)(2 3)(4)(5 6)"]
    client.logout()


# ---- QUOTA


def may_log_in(server, account):
    try:
        return imap(server, account)
    except imaplib.IMAP4.error:
        return None


@pytest.fixture(scope="module", name="limited")
def one_account_with_a_quota(server):
    server.run("user", "add", "quota@example.jp", "--quota", "100K", text=PASSWORD + "\n")
    client = ports.wait_until(lambda: may_log_in(server, "quota@example.jp"), "the new account")
    client.logout()
    return "quota@example.jp"


def test_quota_is_told_and_kept(server, limited):
    client = imap(server, limited)
    assert ok(client.getquota('""')) == [b'"" (STORAGE 0 100)']
    ok(client.append("INBOX", None, None, message(1, 60_000)))
    roots, quota = ok(client.getquotaroot("INBOX"))
    assert roots == [b'INBOX ""']
    used = int(quota[0].split()[2])
    assert 55 < used < 100 and quota[0].endswith(b" 100)")
    status, text = client.append("INBOX", None, None, message(2, 60_000))
    assert status == "NO" and b"OVERQUOTA" in text[0]
    ok(client.select())
    status, text = client.copy("1", "INBOX")
    assert status == "NO" and b"OVERQUOTA" in text[0]
    ok(client.store("1", "+FLAGS", "\\Deleted"))
    ok(client.expunge())
    ok(client.append("INBOX", None, None, message(2, 60_000)))
    assert client.getquotaroot("Nowhere")[0] == "NO"
    client.logout()
    # Who has no quota is told so.
    client = imap(server)
    assert ok(client.getquota('""')) == [b'"" ()']
    client.logout()


# ---- POP3


def relays(server):
    with SMTP("127.0.0.1", server.ports["smtp"], timeout=180) as client:
        client.ehlo()
        client.mail("hanako@example.jp")
        return client.rcpt("someone@elsewhere.example")[0] == 250


def test_who_has_read_may_relay_at_every_edge(limited_pop3):
    assert not relays(limited_pop3)
    with pytest.raises(poplib.error_proto):
        pop3(limited_pop3, "nobody@example.jp")
    assert not relays(limited_pop3)
    pop3(limited_pop3).quit()
    assert all(relays(limited_pop3) for _ in range(8))  # connections spread over the edges


def pop3_when_it_may(server):
    def log_in():
        try:
            return pop3(server)
        except poplib.error_proto:
            return None
    return ports.wait_until(log_in, "the delay is over", 20, 0.2)


def test_pop3_says_what_it_can_and_how_often(limited_pop3):
    client = pop3_when_it_may(limited_pop3)
    capabilities = client.capa()
    assert capabilities["EXPIRE"] == ["NEVER"] and capabilities["LOGIN-DELAY"] == ["5"]
    for name in ("UIDL", "TOP", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "UTF8", "LANG"):
        assert name in capabilities, name
    client.quit()
    with pytest.raises(poplib.error_proto, match="LOGIN-DELAY"):
        pop3(limited_pop3)
    pop3(limited_pop3, TARO).quit()  # others do not wait
    pop3_when_it_may(limited_pop3).quit()


@pytest.fixture(scope="module", name="limited_pop3")
def server_with_limits_on_pop3():
    options = ('relay_networks = { "192.0.2.0/24" }\n'
               'auth { plaintext_without_tls = { "127.0.0.0/8" }'
               " pop3_login_delay = 5s apop = yes }\n"
               'pop_before_smtp = 10m\nsmart_host = "[127.0.0.1]:9"\n'
               'processes { edge = 2 login = 1 access = 2 relay = 1 worker = 1 }\n')
    with Hayauma(users=[HANAKO, TARO], listen={"smtp": 0, "imap": 0, "pop3": 0},
                 options=options) as server:
        yield server


def test_apop_only_for_who_has_a_secret_for_it(limited_pop3):
    limited_pop3.run("user", "add", "apop@example.jp", "--apop", text=PASSWORD + "\n")
    limited_pop3.run("user", "passwd", HANAKO, text=PASSWORD + "\n")

    def log_in(account, secret):
        client = poplib.POP3("127.0.0.1", limited_pop3.ports["pop3"], timeout=180)
        assert "APOP" not in client.capa()  # the greeting's stamp says it
        client.apop(account, secret)
        return client

    def works():
        try:
            return log_in("apop@example.jp", PASSWORD)
        except poplib.error_proto:
            return None
    client = ports.wait_until(works, "APOP works", 10, 0.5)
    assert client.stat() == (0, 0)
    client.quit()
    for account, secret in (("apop@example.jp", "wrong"), (HANAKO, PASSWORD), ("x@example.jp", "")):
        with pytest.raises(poplib.error_proto, match="AUTH"):
            log_in(account, secret)
    stamps = {poplib.POP3("127.0.0.1", limited_pop3.ports["pop3"]).getwelcome().split()[-1]
              for _ in range(3)}
    assert len(stamps) == 3


# ---- edges of a class of their own


def may_connect(server):
    try:
        return imap(server)
    except (OSError, imaplib.IMAP4.abort):
        return None


def test_mail_comes_in_while_the_edges_of_readers_die(server):
    """`edge = 2`, and behind them one of class login."""
    assert {"edge/0", "edge/1", "edge/2"} < set(server.children())
    with SMTP("127.0.0.1", server.ports["smtp"], timeout=180) as smtp:
        smtp.ehlo()
        client = imap(server)
        server.kill("edge/2")
        assert client.noop()[0] == "OK"  # in clear text the session is access's
        assert smtp.noop()[0] == 250
        client.logout()
    again = ports.wait_until(lambda: may_connect(server), "edge/2 is there again")
    again.logout()


# ---- change push


def test_changes_are_pushed_within_100_ms(server):
    """From the tagged OK, or the 250, to the line in another session's IDLE. A busy
    machine may be late for some: most must be in time."""
    writer = imap(server)
    fresh(writer, "Pushed")
    watcher = Mirror(server.ports["imap"], HANAKO, PASSWORD)
    watcher.select("Pushed")
    inbox = Mirror(server.ports["imap"], HANAKO, PASSWORD)
    inbox.select("INBOX")
    late = []

    def timed(mirror, change, wanted):
        mirror.send(b"i IDLE\r\n")
        assert mirror.line().startswith(b"+")
        change()
        done = time.monotonic()
        while wanted not in (line := mirror.line()):
            mirror.take(line)
        mirror.take(line)
        late.append(time.monotonic() - done)
        mirror.send(b"DONE\r\n")
        mirror.wait(b"i")

    for i in range(12):
        timed(watcher, lambda: ok(writer.append("Pushed", None, None, message(0))), b"EXISTS")
        timed(watcher, lambda: ok(writer.store("1", "FLAGS", "()" if i % 2 else r"(\Seen)")),
              b"FLAGS")
        timed(inbox, lambda: server.send("a@example.net", [HANAKO], message(1).decode()),
              b"EXISTS")
        ok(writer.noop())
    timed(watcher, lambda: (writer.store("2:5", "+FLAGS", r"(\Deleted)"), ok(writer.expunge())),
          b"EXPUNGE")
    late.sort()
    assert late[len(late) * 3 // 4] < 0.1, late
    watcher.close()
    inbox.close()
    writer.logout()


# ---- what CAPABILITY announces, command by command


class Raw:
    """Commands as they go over the wire, and all that comes back."""

    def __init__(self, server, account=HANAKO):
        self.socket = socket.create_connection(("127.0.0.1", server.ports["imap"]), timeout=180)
        self.octets = b""
        self.until(b"\r\n")
        self.capabilities = self(f'LOGIN {account} "{PASSWORD}"').decode()

    def until(self, end):
        while end not in self.octets:
            octets = self.socket.recv(65536)
            assert octets, self.octets
            self.octets += octets
        at = self.octets.index(end) + len(end)
        answer, self.octets = self.octets[:at], self.octets[at:]
        return answer

    def __call__(self, text, wanted=b"OK"):
        self.socket.sendall(b"x " + (text if isinstance(text, bytes) else text.encode()) + b"\r\n")
        answer = self.before_tag()
        last = self.until(b"\r\n")
        assert last.startswith(wanted), (text, answer, last)
        return answer + last

    def before_tag(self):
        answer = b""
        while True:
            while len(self.octets) < 2:
                octets = self.socket.recv(65536)
                assert octets, answer
                self.octets += octets
            if self.octets.startswith(b"x "):
                self.octets = self.octets[2:]
                return answer
            answer += self.until(b"\r\n")


MIXED = (b"From: a@example.net\r\nSubject: parts\r\nMIME-Version: 1.0\r\n"
         b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'
         b"--b\r\nContent-Type: text/plain\r\n\r\nfirst  lines\r\nof it\r\n"
         b"--b\r\nContent-Type: application/x; name=x\r\nContent-Transfer-Encoding: base64\r\n\r\n"
         b"aGVsbG8=\r\n--b--\r\n")

EXTENSIONS = [
    ("SPECIAL-USE", "CREATE Ext/Sent (USE (\\Sent))", rb"^OK \[MAILBOXID \(\S+\)\]"),
    ("SPECIAL-USE", 'LIST (SPECIAL-USE) "" *', rb'\* LIST \([^)]*\\Sent\) "/" Ext/Sent'),
    ("LIST-EXTENDED", 'LIST "" (Ext %) RETURN (CHILDREN SUBSCRIBED)', rb"\\HasChildren"),
    ("LIST-STATUS", 'LIST "" Ext RETURN (STATUS (MESSAGES UIDNEXT))',
     rb"\* STATUS Ext \(MESSAGES 3 UIDNEXT 4\)"),
    ("STATUS=SIZE", "STATUS Ext (SIZE APPENDLIMIT DELETED)",
     rb"\(DELETED 0 SIZE \d{3,} APPENDLIMIT \d+\)"),
    ("NAMESPACE", "NAMESPACE", rb'\* NAMESPACE \(\("" "/"\)\) NIL NIL'),
    ("ID", 'ID ("name" "test")', rb'\* ID \("name" "Hayauma"\)'),
    ("ENABLE", "ENABLE CONDSTORE X-NONE", rb"\* ENABLED CONDSTORE\r"),
    ("CONDSTORE", "SELECT Ext (CONDSTORE)", rb"\[HIGHESTMODSEQ \d+\]"),
    ("CONDSTORE", "STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)", rb"^OK \[MODIFIED 1\]"),
    ("CONDSTORE", "FETCH 1:* (FLAGS) (CHANGEDSINCE 1)", rb"\* 1 FETCH .*MODSEQ \(\d+\)"),
    ("ESEARCH", "SEARCH RETURN (MIN MAX COUNT ALL) ALL", rb"MIN 1 MAX 3 COUNT 3 ALL 1:3"),
    ("SEARCHRES", "SEARCH RETURN (SAVE) SUBJECT parts", rb"^OK"),
    ("SEARCHRES", "FETCH $ (UID)", rb"\* 3 FETCH \(UID 3\)\r\nOK"),
    ("WITHIN", "SEARCH YOUNGER 3600 NOT OLDER 3600", rb"\* SEARCH 1 2 3\r"),
    ("SORT", "SORT (REVERSE SIZE SUBJECT) UTF-8 ALL", rb"\* SORT 3 \d \d\r"),
    ("SORT=DISPLAY", "SORT (DISPLAYFROM) UTF-8 ALL", rb"\* SORT 3 1 2\r"),
    ("BINARY", "FETCH 3 (BINARY.PEEK[2] BINARY.SIZE[2])",
     rb"BINARY\[2\] \{5\}\r\nhello BINARY.SIZE\[2\] 5"),
    ("PREVIEW", "FETCH 3 (PREVIEW)", rb'PREVIEW "first lines of it"'),
    ("SAVEDATE", "FETCH 1 (SAVEDATE)", rb'SAVEDATE "[ \d]\d-\w{3}-\d{4} '),
    ("SAVEDATE", "SEARCH SAVEDSINCE 1-Jan-2020 SAVEDATESUPPORTED", rb"\* SEARCH 1 2 3\r"),
    ("OBJECTID", "FETCH 1 (EMAILID THREADID)", rb"EMAILID \(M\d+\) THREADID NIL"),
    ("OBJECTID", "SEARCH THREADID T1", rb"^\* SEARCH\r"),
    ("OBJECTID", "SEARCH NOT THREADID T1", rb"^\* SEARCH 1 2 3\r"),
    ("UIDPLUS", "UID EXPUNGE 1", rb"^OK"),
    ("MOVE", "MOVE 1 Ext/Sent", rb"\[COPYUID \d+ \d+ 1\]"),
    ("MOVE", "FETCH 1:* (UID)", rb"\* \d FETCH"),
    ("UNSELECT", "UNSELECT", rb"^OK"),
    ("CHILDREN", 'LIST "" Ext*', rb"\\HasNoChildren"),
    ("QUOTA=RES-STORAGE", "GETQUOTAROOT Ext", rb'\* QUOTAROOT Ext ""'),
    ("UTF8=ACCEPT", "ENABLE UTF8=ACCEPT", rb"\* ENABLED UTF8=ACCEPT"),
    ("UTF8=ACCEPT", "CREATE \"\xe5\x8f\x97\xe4\xbf\xa1\"".encode("latin-1"), rb"^OK"),
    ("UTF8=ACCEPT", 'LIST "" \"\xe5%\"'.encode("latin-1"), None),
    ("UTF8=ACCEPT", 'LIST "" %', "\u53d7\u4fe1".encode()),
    ("QRESYNC", "ENABLE QRESYNC", rb"\* ENABLED QRESYNC"),
]


def test_what_is_announced_is_there(server):
    """One session; each row with its capability."""

    raw = Raw(server)
    raw("CREATE Ext")
    plain = b"From: b@example.net\r\nSubject: plain\r\n\r\nhello\r\n"
    answer = raw(b"APPEND Ext {%d+}\r\n%s (\\Flagged) {%d+}\r\n%s" % (len(plain), plain, len(plain),
                                                                  plain))
    assert b"[APPENDUID" in answer and b" 1:2]" in answer  # MULTIAPPEND
    raw(b"APPEND Ext {%d+}\r\n%s" % (len(MIXED), MIXED))
    for capability, command, wanted in EXTENSIONS:
        assert f" {capability} " in raw.capabilities.replace("]", " ") \
            or capability in ("LIST-EXTENDED",), capability
        if wanted is None:
            raw(command, wanted=b"BAD")
        else:
            answer = raw(command)
            assert re.search(wanted, answer, re.M), (command, answer)
    raw("LOGOUT")
    for name in ("MULTIAPPEND", "SASL-IR", "LITERAL+", "IDLE", "CREATE-SPECIAL-USE", "APPENDLIMIT=",
                 "COMPRESS=DEFLATE", "THREAD=REFS", "IMAP4rev1", "IMAP4rev2"):
        assert name in raw.capabilities, name


def test_deleted_storage(server):
    """The sum of what has \\Deleted, over more than one page of messages, by STATUS and LIST."""

    raw = Raw(server)

    def storage(command, name="Sums"):
        found = re.search(rb"\* STATUS %s \((?:DELETED (\d+) )?DELETED-STORAGE (\d+)\)"
                          % name.encode(), raw(command))
        return int(found[1] or 0), int(found[2])

    for name in ("Sums", "Sums/Other", "Sums/None"):
        raw(f"CREATE {name}")
    texts = [b"Subject: %d\r\n\r\n%s\r\n" % (i, b"x" * 100 * i) for i in range(5)]
    raw(b"APPEND Sums " + b" ".join(b"{%d+}\r\n%s" % (len(text), text) for text in texts))
    raw(b"APPEND Sums/Other (\\Deleted) {%d+}\r\n%s" % (len(texts[4]), texts[4]))
    raw("SELECT Sums")
    while raw("STATUS Sums (MESSAGES)").find(b"MESSAGES 2560") < 0:
        raw("COPY 1:* Sums")
    both = "STATUS Sums (DELETED DELETED-STORAGE)"
    assert storage(both) == (0, 0)
    raw("STORE 1:3,1000:1003,2560 +FLAGS.SILENT (\\Deleted)")
    wanted = sum(int(size) for size in re.findall(
        rb"RFC822.SIZE (\d+)", raw("FETCH 1:3,1000:1003,2560 (RFC822.SIZE)")))
    assert wanted > 8 * len(texts[0])
    assert storage(both) == (8, wanted)
    listed = 'LIST "" Sums* RETURN (STATUS (DELETED-STORAGE))'
    assert storage(listed)[1] == wanted
    other = storage("STATUS Sums/Other (DELETED DELETED-STORAGE)", "Sums/Other")
    assert other[0] == 1 and other[1] >= len(texts[4])
    assert storage(listed, "Sums/Other")[1] == other[1]
    assert storage(listed, "Sums/None")[1] == 0
    raw("STORE 2560 -FLAGS.SILENT (\\Deleted)")
    last = int(re.search(rb"RFC822.SIZE (\d+)", raw("FETCH 2560 (RFC822.SIZE)"))[1])
    assert storage(both) == (7, wanted - last)
    raw("EXPUNGE")
    assert storage(both) == (0, 0)
    raw("STATUS Nowhere (DELETED-STORAGE)", wanted=b"NO")
    raw("LOGOUT")
