"""Mail read by programs that people use: what they fetch, write and change is
what is there."""
import base64
import json
import os
import pathlib
import pty
import subprocess

import pytest

from hayauma import PASSWORD, Hayauma
from test_reading import HANAKO, OPTIONS, bodies, imap, message, ok

TEXTS = [message(i, 400 * i) for i in range(12)]


@pytest.fixture(name="server")
def filled_server():
    with Hayauma(users=[HANAKO], listen={"smtp": 0, "imap": 0, "pop3": 0},
                 options=OPTIONS) as server:
        client = imap(server)
        for text in TEXTS:
            ok(client.append("INBOX", None, None, text))
        client.logout()
        yield server


def run(*words, home, status=(0,), **options):
    done = subprocess.run(words, cwd=home, capture_output=True, timeout=200,
                          env={**os.environ, "HOME": str(home)}, **options)
    assert done.returncode in status, done.stdout + done.stderr
    return done.stdout


def on_a_terminal(*words, home):
    """For programs that draw; what they draw is thrown away."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(words, cwd=home, stdin=theirs, stdout=theirs, stderr=theirs,
                             start_new_session=True,
                             env={**os.environ, "HOME": str(home), "TERM": "vt100"})
    os.close(theirs)
    try:
        while os.read(ours, 65536):
            pass
    except OSError:
        pass  # the other end is closed
    child.wait(180)
    os.close(ours)


def maildir(folder):
    """Texts of a Maildir with LF, by name."""
    return {p.name: p.read_bytes() for part in ("cur", "new")
            for p in (folder / part).glob("*")}


def plain(text):
    return text.replace(b"\r\n", b"\n")


def without_tracking(text):
    """mbsync marks what it carries until both sides have it."""
    return b"\n".join(line for line in plain(text).split(b"\n")
                      if not line.startswith(b"X-TUID: "))


def test_mbsync_both_ways(server, tmp_path):
    (tmp_path / "rc").write_text(f"""
IMAPAccount ours
Host 127.0.0.1
Port {server.ports["imap"]}
User {HANAKO}
Pass "{PASSWORD}"
SSLType None
AuthMechs LOGIN

IMAPStore far
Account ours

MaildirStore near
Path {tmp_path}/mail/
Inbox {tmp_path}/mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
SyncState *
""")
    (tmp_path / "mail").mkdir()
    sync = ("mbsync", "-c", "rc", "-a")
    run(*sync, home=tmp_path)
    inbox = tmp_path / "mail" / "INBOX"
    assert sorted(map(without_tracking, maildir(inbox).values())) == sorted(map(plain, TEXTS))
    # here: one goes, one is read, one comes; there: one is flagged, one goes
    first, second, *_ = sorted(p for p in (inbox / "new").glob("*"))
    first.unlink()
    name = second.name if ":2," in second.name else second.name + ":2,"
    second.rename(inbox / "cur" / (name + "S"))
    (inbox / "new" / "123.here.host").write_bytes(b"Subject: from here\n\nnew\n")
    client = imap(server)
    ok(client.select())
    ok(client.store("12", "+FLAGS", r"(\Flagged)"))
    ok(client.store("11", "+FLAGS", r"(\Deleted)"))
    ok(client.expunge())
    run(*sync, home=tmp_path)
    run(*sync, home=tmp_path)
    ok(client.noop())
    ok(client.select())
    there = sorted(without_tracking(text) for text in bodies(client).values())
    assert there == sorted(map(without_tracking, maildir(inbox).values()))
    assert len(there) == 11 and b"Subject: from here\n\nnew\n" in there
    flags = ok(client.fetch("1:*", "(FLAGS)"))
    assert sum(rb"\Flagged" in row for row in flags) == 1
    assert sum(name.endswith("F") for name in maildir(inbox)) == 1
    assert sum(rb"\Seen" in row for row in flags) == 1
    client.logout()


@pytest.mark.parametrize("protocol", ["pop3", "imap"])
def test_fetchmail_takes_everything(server, tmp_path, protocol):
    sink = tmp_path / "taken"
    rc = tmp_path / "rc"
    rc.write_text(f"""poll 127.0.0.1 proto {protocol} port {server.ports[protocol]}
  user "{HANAKO}" password "{PASSWORD}" is "nobody" here
  fetchall nokeep no rewrite sslproto ""
  mda "cat >> {sink}"
""")
    rc.chmod(0o600)
    out = run("fetchmail", "-f", str(rc), "--nosyslog", "--nodetach", "--pidfile",
              str(tmp_path / "pid"), "--invisible", home=tmp_path)
    taken = sink.read_bytes()
    for text in TEXTS:
        assert plain(text).split(b"\n\n", 1)[1] in plain(taken), out
    client = imap(server)
    assert ok(client.select()) == [b"0"]
    client.logout()


def test_curl_fetches_lists_and_appends(server, tmp_path):
    url = f"imap://127.0.0.1:{server.ports['imap']}"
    login = ("curl", "-sS", "--max-time", "30", "-u", f"{HANAKO}:{PASSWORD}")
    assert run(*login, f"{url}/INBOX;UID=3", home=tmp_path) == TEXTS[2]
    assert b"* LIST" in run(*login, url, home=tmp_path)
    assert b"* SEARCH 4" in run(*login, f"{url}/INBOX?SUBJECT%20%22number%203%22", home=tmp_path)
    (tmp_path / "new").write_bytes(TEXTS[5])
    run(*login, "-T", "new", f"{url}/INBOX", home=tmp_path)
    assert run(*login, f"{url}/INBOX;UID=13", home=tmp_path) == TEXTS[5]
    url = f"pop3://127.0.0.1:{server.ports['pop3']}"
    assert run(*login, f"{url}/3", home=tmp_path) == TEXTS[2]
    assert len(run(*login, url, home=tmp_path).split(b"\r\n")) >= 13


@pytest.mark.parametrize("program", ["mutt", "neomutt"])
def test_mutt_reads_and_deletes(server, tmp_path, program):
    url = f"imap://127.0.0.1:{server.ports['imap']}/INBOX"
    rc = tmp_path / "muttrc"
    rc.write_text(f"""
set imap_user = "{HANAKO}"
set imap_pass = "{PASSWORD}"
set ssl_starttls = no
set ssl_force_tls = no
set imap_authenticators = "login"
set folder = "imap://127.0.0.1:{server.ports['imap']}"
set spoolfile = "{url}"
set mbox_type = Maildir
set confirmcreate = no
set confirmappend = no
set copy = no
set delete = yes
set move = no
set wait_key = no
push "<tag-pattern>number 3<enter><tag-prefix><copy-message>{tmp_path}/copy<enter>\
<delete-pattern>number 7<enter><sync-mailbox><quit>"
""")
    on_a_terminal("timeout", "40", program, "-n", "-F", str(rc), "-f", url, home=tmp_path)
    client = imap(server)
    ok(client.select())
    left = bodies(client)
    client.logout()
    copied = maildir(pathlib.Path(tmp_path / "copy"))
    assert len(left) == 11 and TEXTS[7] not in left.values()
    assert any(plain(TEXTS[3]).split(b"\n\n", 1)[1] in text for text in copied.values())


def two_way(server, inbox, sync):
    """Changes both sides between runs of a program that makes them alike; both in
    the end: texts of the server, and of the Maildir."""
    sync()
    assert sorted(map(plain, maildir(inbox).values())) == sorted(map(plain, TEXTS))
    gone, *_ = (p for p in sorted(inbox.glob("*/*")) if b"number 2\n" in p.read_bytes())
    gone.unlink()
    client = imap(server)
    ok(client.select())
    ok(client.store("12", "+FLAGS", r"(\Flagged)"))
    ok(client.store("11", "+FLAGS", r"(\Deleted)"))
    ok(client.expunge())
    ok(client.append("INBOX", None, None, message(99)))
    sync()
    sync()
    ok(client.noop())
    ok(client.select())
    there = sorted(map(plain, bodies(client).values()))
    client.logout()
    here = maildir(inbox)
    assert there == sorted(map(plain, here.values())) and len(there) == 11
    assert sum("F" in name.partition(":2,")[2] for name in here) == 1


def test_offlineimap_both_ways(server, tmp_path):
    (tmp_path / "rc").write_text(f"""
[general]
accounts = ours
metadata = {tmp_path}/state
ui = quiet
[Account ours]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {tmp_path}/mail
[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {server.ports["imap"]}
remoteuser = {HANAKO}
remotepass = {PASSWORD}
ssl = no
starttls = no
auth_mechanisms = LOGIN
""")
    two_way(server, tmp_path / "mail" / "INBOX",
            lambda: run("offlineimap", "-c", "rc", "-o", home=tmp_path))


@pytest.mark.parametrize("protocol", ["POP3", "IMAP"])
def test_getmail_takes_everything(server, tmp_path, protocol):
    inbox = tmp_path / "taken"
    for part in ("cur", "new", "tmp"):
        (inbox / part).mkdir(parents=True)
    (tmp_path / "rc").write_text(f"""
[retriever]
type = Simple{protocol}Retriever
server = 127.0.0.1
port = {server.ports[protocol.lower()]}
username = {HANAKO}
password = {PASSWORD}
[destination]
type = MDA_external
path = /bin/sh
arguments = ("-c", "cat > {inbox}/new/$$")
allow_root_commands = true
[options]
delete = true
delivered_to = false
received = false
""")
    # Where cat ends before getmail waits for it, getmail waits a minute, gives up with 127,
    # and takes that message again.
    for _ in range(5):
        run("getmail", "--getmaildir", str(tmp_path), "--rcfile", "rc", home=tmp_path,
            status=(0, 127))
        client = imap(server)
        left = ok(client.select())
        client.logout()
        if left == [b"0"]:
            break
    assert left == [b"0"]
    taken = {without_return_path(text) for text in maildir(inbox).values()}
    assert taken == set(map(plain, TEXTS))


def without_return_path(text):
    """What programs that deliver add in front."""
    lines = plain(text).split(b"\n")
    while lines[0].startswith((b"Return-Path:", b"Delivered-To:", b"Received:", b"\t", b" ")):
        del lines[0]
    return b"\n".join(line for line in lines if not line.startswith(b"X-getmail-"))


def test_mpop_takes_everything(server, tmp_path):
    inbox = tmp_path / "taken"
    for part in ("cur", "new", "tmp"):
        (inbox / part).mkdir(parents=True)
    rc = tmp_path / "rc"
    rc.write_text(f"""
account ours
host 127.0.0.1
port {server.ports["pop3"]}
user {HANAKO}
password {PASSWORD}
auth user
tls off
keep off
received_header off
uidls_file {tmp_path}/uidls
delivery maildir {inbox}
""")
    rc.chmod(0o600)
    run("mpop", "-C", str(rc), "ours", home=tmp_path)
    assert sorted(map(plain, maildir(inbox).values())) == sorted(map(plain, TEXTS))
    client = imap(server)
    assert ok(client.select()) == [b"0"]
    client.logout()


IMAPFLOW = """
import { ImapFlow } from 'imapflow';
const [port, user, pass] = process.argv.slice(2);
const client = new ImapFlow({ host: '127.0.0.1', port: Number(port), secure: false,
    doSTARTTLS: false, auth: { user, pass, loginMethod: 'LOGIN' }, logger: false });
await client.connect();
const lock = await client.getMailboxLock('INBOX');
const texts = [], uids = [];
for await (const m of client.fetch('1:*', { source: true, envelope: true, bodyStructure: true })) {
    texts.push(m.source.toString('base64'));
    if (!m.envelope.subject.startsWith('number ') || m.bodyStructure.type !== 'text/plain')
        throw new Error('envelope of ' + m.seq);
}
const found = await client.search({ subject: 'number 3' }, { uid: true });
await client.messageFlagsAdd('2', ['\\\\Flagged', '$Kept']);
await client.mailboxCreate('Archive/日本');
const moved = await client.messageMove('1', 'Archive/日本');
const stored = await client.append('INBOX', Buffer.from(texts[4], 'base64'), ['\\\\Seen']);
await client.messageDelete('2');
lock.release();
const status = await client.status('INBOX', { messages: true, unseen: true });
const names = (await client.list()).map(row => row.path);
await client.logout();
console.log(JSON.stringify({ texts, found, moved: moved.destination, stored: stored.uid,
    status, names }));
"""


def imapflow_folder():
    """Where npm has put imapflow, which happens once."""
    folder = pathlib.Path(__file__).resolve().parent.parent / "build" / "npm"
    if not (folder / "node_modules" / "imapflow").exists():
        folder.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--prefix", folder,
                               "imapflow@1.7.8"], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (
            "npm could not install imapflow into build/npm, which needs the network once: "
            + done.stderr)
    return folder


def test_imapflow_reads_and_changes(server, tmp_path):
    folder = imapflow_folder()
    script = folder / "reading.mjs"
    script.write_text(IMAPFLOW)
    said = json.loads(run("node", str(script), str(server.ports["imap"]), HANAKO, PASSWORD,
                          home=tmp_path))
    assert [base64.b64decode(text) for text in said["texts"]] == TEXTS
    assert said["found"] == [4] and said["moved"] == "Archive/日本" and said["stored"] == 13
    assert said["status"]["messages"] == 11 and said["status"]["unseen"] == 10
    assert sorted(said["names"]) == ["Archive", "Archive/日本", "INBOX"]
    client = imap(server)
    ok(client.select())
    assert bodies(client)[13] == TEXTS[4]
    assert b"$Kept" in ok(client.fetch("1", "(FLAGS)"))[0]
    client.logout()
