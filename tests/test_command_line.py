"""The commands that work without a server: accounts, what is said when none
runs, and `send` against a small SMTP server."""
import concurrent.futures
import contextlib
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import termios

import pytest

from hayauma import SANITIZER_OPTIONS, Hayauma
from smtp_sink import SmtpSink

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_NOUSER, EX_UNAVAILABLE, EX_CANTCREAT = 64, 65, 66, 67, 69, 73
EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 75, 77, 78
SHA512 = "{CRYPT}$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET" \
         "5Ukw9Sf7eZTITsuk0Ry5qulYz."


@pytest.fixture(name="server")
def fixture_server():
    """A configuration; nothing is started."""
    server = Hayauma()
    yield server
    server.remove()


@pytest.fixture(name="sink")
def fixture_sink(server):
    with SmtpSink(server.folder / "run" / "submit") as sink:
        yield sink


def fails(server, status, *words, text=""):
    """The one sentence it says."""
    done = server.run(*words, text=text, check=False)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(f"hayauma {words[0]}: ") and done.stderr.count("\n") == 1, \
        done.stderr
    return done.stderr


# Accounts

def test_accounts_are_made_changed_listed_and_deleted(server):
    server.run("user", "add", "Hanako@Example.JP", "--quota", "10G", "--addresses",
               "info@example.jp", text="secret\n")
    server.run("user", "add", "taro@example.jp", text="secret\n")
    before = server.rows("user", "list")
    assert [row["address"] for row in before] == ["hanako@example.jp", "taro@example.jp"]
    assert before[0]["quota"] == 10 << 30 and before[0]["addresses"] == ["info@example.jp"]
    assert before[0]["scheme"] == "ARGON2ID" and before[0]["scram_sha_256"]
    text = (server.folder / "users").read_text()
    assert "secret" not in text and (server.folder / "users").stat().st_mode & 0o777 == 0o640
    server.run("user", "passwd", "hanako@example.jp", text="other\n")
    changed = (server.folder / "users").read_text()
    assert changed.splitlines()[0] != text.splitlines()[0]
    assert changed.splitlines()[1] == text.splitlines()[1]
    assert server.rows("user", "list") == before
    server.run("user", "delete", "TARO@example.jp")
    assert [row["address"] for row in server.rows("user", "list")] == ["hanako@example.jp"]


def test_what_is_wrong_with_accounts_is_said(server):
    server.add_user("hanako@example.jp")
    assert "there is an account" in fails(server, EX_CANTCREAT, "user", "add",
                                          "hanako@example.jp", text="x\n")
    assert "no address" in fails(server, EX_DATAERR, "user", "add", "hanako", text="x\n")
    assert "no password" in fails(server, EX_NOINPUT, "user", "add", "taro@example.jp")
    assert "no account" in fails(server, EX_NOUSER, "user", "passwd", "taro@example.jp",
                                 text="x\n")
    assert "no account" in fails(server, EX_NOUSER, "user", "delete", "taro@example.jp")
    assert "longer" in fails(server, EX_DATAERR, "user", "add", "taro@example.jp",
                             text="x" * 1025 + "\n")
    fails(server, EX_USAGE, "user")
    fails(server, EX_USAGE, "user", "list", "--nonsense")
    (server.folder / "users").write_text("hanako@example.jp:{PLAIN}secret\n")
    done = server.run("user", "list", check=False)
    assert done.returncode == EX_CONFIG and "users:1: a password must not" in done.stderr
    assert server.run("check", check=False).returncode == EX_CONFIG


def test_comments_stay(server):
    users = server.folder / "users"
    users.write_text(f"# staff\n\nhanako@example.jp:{SHA512}\n# end\n")
    users.chmod(0o600)
    server.add_user("taro@example.jp")
    lines = users.read_text().splitlines()
    assert lines[:4] == ["# staff", "", f"hanako@example.jp:{SHA512}", "# end"]
    assert lines[4].startswith("taro@example.jp:{ARGON2ID}")
    assert users.stat().st_mode & 0o777 == 0o600


def test_import_takes_all_or_nothing(server):
    server.add_user("hanako@example.jp")
    before = (server.folder / "users").read_text()
    for text, words in [
            ("taro@example.jp:{PLAIN}a:b c \nx@example.jp:{OTP}x\n", ":2: the scheme is none"),
            ("taro@example.jp:{PLAIN}a\ntaro@example.jp:{PLAIN}b\n", ":2: an account above"),
            ("taro@example.jp\n", ":1: the address is followed"),
            ("taro:{PLAIN}x\n", ":1: an account starts with its address")]:
        done = server.run("user", "import", text=text, check=False)
        assert done.returncode == EX_DATAERR and words in done.stderr, done.stderr
    assert "--replace" in fails(server, EX_CANTCREAT, "user", "import",
                                text="hanako@example.jp:{PLAIN}x\n")
    assert (server.folder / "users").read_text() == before

    file = server.folder / "import"
    file.write_text("# old server\ntaro@example.jp:{PLAIN}a:b c \r\n"
                    f"jiro@example.jp:{SHA512.replace('{CRYPT}', '{SHA512-CRYPT}')}\n")
    server.run("user", "import", file, "--jobs", "2")
    rows = {row["address"]: row["scheme"] for row in server.rows("user", "list")}
    assert rows == {"hanako@example.jp": "ARGON2ID", "taro@example.jp": "ARGON2ID",
                    "jiro@example.jp": "CRYPT"}
    text = (server.folder / "users").read_text()
    assert text.startswith(before) and "a:b" not in text and SHA512 in text
    server.run("user", "import", "--replace", text=f"hanako@example.jp:{SHA512}\n")
    assert server.rows("user", "list")[0]["scheme"] == "CRYPT"


def test_large_import_of_hashes_is_quick(server):
    lines = [f"user{i}@example.jp:{SHA512}\n" for i in range(100_000)]
    server.run("user", "import", text="".join(lines), timeout=180)
    assert len(server.run("user", "list").stdout.splitlines()) == 100_000


def test_two_edits_at_once_both_count(server):
    command = [server.binary, "user", "add", "-c", server.config]
    running = [subprocess.Popen([*command, f"user{i}@example.jp"], stdin=subprocess.PIPE,
                                env={**os.environ, **SANITIZER_OPTIONS}) for i in range(8)]
    for each in running:
        each.communicate(b"secret\n")
        assert each.returncode == 0
    assert len(server.rows("user", "list")) == 8


def test_many_edits_at_once_lose_nothing_and_the_file_is_always_whole(server):
    """Two that add and delete, and one that reads what lies there all the time."""
    users, standing = server.folder / "users", [f"standing{i}@example.jp" for i in range(200)]
    server.run("user", "import", text="".join(f"{name}:{SHA512}\n" for name in standing))
    left, added = [], []  # `added` is only appended to

    def edit(who):
        for i in range(25):
            name = f"{who}{i}@example.jp"
            server.run("user", "import", text=f"{name}:{SHA512}\n")
            if i % 3:
                added.append(name)
            else:
                server.run("user", "delete", name)
        left.extend(f"{who}{i}@example.jp" for i in range(25) if i % 3)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        editing, reads = [pool.submit(edit, who) for who in ("taro", "jiro")], 0
        while not all(each.done() for each in editing):
            wanted = {*standing, *added}  # before the file is opened
            text = users.read_text()
            lines = text.splitlines()
            assert text.endswith("\n") and all(line.endswith(":" + SHA512) for line in lines)
            assert wanted <= {line.partition(":")[0] for line in lines}
            reads += 1
        for each in editing:
            each.result()
    assert reads > 20
    assert {row["address"] for row in server.rows("user", "list")} == {*standing, *left}


# Passwords

BREAKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def as_from_a_shell():
    """Whoever starts the tests in the background ignores some of these."""
    for number in BREAKS:
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def at_a_terminal(server, *words):
    """The command, and a function that waits for words on its terminal and then types."""
    ours, its = pty.openpty()
    with subprocess.Popen([server.binary, *words, "-c", server.config], stdin=its, stdout=its,
                          stderr=its, preexec_fn=as_from_a_shell,
                          env={**os.environ, **SANITIZER_OPTIONS}) as running:
        shown = b""

        def answer(wanted, typed):
            nonlocal shown
            while wanted.encode() not in shown:
                assert select.select([ours], [], [], 30)[0], shown
                shown += os.read(ours, 1000)
            assert b"secret" not in shown
            shown = b""
            os.write(ours, typed.encode())
        try:
            yield running, answer
            running.wait(180)
            assert termios.tcgetattr(its)[3] & termios.ECHO
        finally:
            running.kill()
            os.close(ours)
            os.close(its)


def test_a_password_is_no_word_of_the_command_line(server):
    for words in (["secret"], ["--password", "secret"], ["--password=secret"]):
        fails(server, EX_USAGE, "user", "add", "hanako@example.jp", *words, text="other\n")
    assert not (server.folder / "users").exists()


def test_a_password_is_asked_for_twice_at_a_terminal(server):
    users = server.folder / "users"
    for again, status in (("secret2", EX_DATAERR), ("", EX_DATAERR), ("secret", 0)):
        with at_a_terminal(server, "user", "add", "hanako@example.jp") as (running, answer):
            answer("Password for hanako@example.jp: ", "secret\n")
            answer("The same again: ", again + "\n")
        assert running.returncode == status and users.exists() == (status == 0)
    assert "secret" not in users.read_text()


def test_a_terminal_shows_again_what_is_typed_when_the_asking_is_broken_off(server):
    for number in BREAKS:
        with at_a_terminal(server, "user", "add", "hanako@example.jp") as (running, answer):
            answer("Password for hanako@example.jp: ", "sec")
            running.send_signal(number)
        assert running.returncode == -number


def test_a_password_that_is_typed_for_long_changes_nothing_else(server):
    """Meanwhile somebody gives the account a quota; then he deletes it."""
    server.add_user("hanako@example.jp")
    with at_a_terminal(server, "user", "passwd", "hanako@example.jp") as (_, answer):
        answer("Password for hanako@example.jp: ", "secret\n")
        server.run("user", "import", "--replace", text=f"hanako@example.jp:{SHA512}:quota=10G\n")
        answer("The same again: ", "secret\n")
    assert [(row["scheme"], row["quota"]) for row in server.rows("user", "list")] == \
        [("ARGON2ID", 10 << 30)]
    with at_a_terminal(server, "user", "passwd", "hanako@example.jp") as (running, answer):
        answer("Password for hanako@example.jp: ", "secret\n")
        server.run("user", "delete", "hanako@example.jp")
        answer("The same again: ", "secret\n")
    assert running.returncode == EX_NOUSER and not server.rows("user", "list")


# Without a server

@pytest.mark.parametrize("words", [
    "status", "reload", "stop", "queue list", "queue retry", "queue drop --all", "why x",
    "mailbox list hanako@example.jp", "mailbox show hanako@example.jp INBOX 1"])
def test_no_server_is_said(server, words):
    assert "the server is not running" in fails(server, EX_TEMPFAIL, *words.split())


@pytest.mark.parametrize("words", [
    "queue", "queue drop", "queue list --age soon", "why", "mailbox", "mailbox list",
    "mailbox export hanako@example.jp INBOX", "mailbox import a@b INBOX --mbox x --maildir y",
    "status x", "queue list --all=yes",
    "queue drop 0000000000000", "queue drop everything"])
def test_what_cannot_be_asked(server, words):
    fails(server, EX_USAGE, *words.split())


def test_every_command_has_help(server):
    listed = subprocess.run([server.binary, "help"], capture_output=True, text=True, check=True)
    names = re.findall(r"^  (\w+)", listed.stdout, re.MULTILINE)
    assert {"run", "user", "queue", "why", "mailbox", "send", "status", "check"} <= set(names)
    for name in names:
        said = subprocess.run([server.binary, name, "--help"], capture_output=True, text=True,
                              check=True)
        assert f"hayauma {name}" in said.stdout and said.stderr == ""
    assert subprocess.run([server.binary], capture_output=True, check=False).returncode == EX_USAGE
    done = subprocess.run([server.binary, "nonsense"], capture_output=True, check=False)
    assert done.returncode == EX_USAGE and b"nonsense" in done.stderr


def test_configuration_that_is_not_there(server):
    for words in ["user list", "status", "queue list", "check", "send a@example.jp"]:
        done = subprocess.run([server.binary, *words.split(), "-c", "/nonexistent"], text=True,
                              capture_output=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == EX_NOINPUT and "/nonexistent" in done.stderr


# Sending

def test_send_takes_recipients_from_header_and_arguments(server, sink):
    server.run("send", "-t", "-i", "-f", "me@example.jp", "-F", "Me", "c@example.net",
               text="To: A <a@example.net>\nCc: b@example.net (B)\nBcc: hidden@example.net\n"
                    "Subject: x\n\n.\n..two\nend")
    (recipients, text), = sink.messages
    assert recipients == ["c@example.net", "a@example.net", "b@example.net", "hidden@example.net"]
    header, _, body = text.decode().partition("\r\n\r\n")
    assert "hidden" not in header and "\r\nFrom: Me <me@example.jp>" in header
    assert re.search(r"\r\nDate: \w{3}, \d+ \w{3} \d{4} ", header)
    assert re.search(r"\r\nMessage-ID: <[^@ ]+@mx1\.example\.jp>", header)
    assert body == "..\r\n...two\r\nend\r\n"
    mail, = sink.starting("MAIL")
    assert re.fullmatch(r"MAIL FROM:<me@example\.jp> SIZE=\d+", mail)


def test_send_without_i_ends_at_a_dot(server, sink):
    server.run("send", "a@example.net",
               text="From: x@y\nDate: z\nMessage-ID: <z@z>\n\none\n.\ntwo\n")
    assert sink.messages == [(["a@example.net"],
                              b"From: x@y\r\nDate: z\r\nMessage-ID: <z@z>\r\n\r\none\r\n")]


def test_send_knows_local_names(server, sink):
    server.run("send", "-oi", "-oem", "-om", "-B8BITMIME", "-Osomething=else", "-h", "3", "root",
               "A B <a@example.net>, b@example.net", text="Subject: 日本\n\n本文\n")
    assert sink.messages[0][0] == ["root@mx1.example.jp", "a@example.net", "b@example.net"]
    mail, = sink.starting("MAIL")
    login = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    assert mail.startswith(f"MAIL FROM:<{login}@mx1.example.jp> ") and "BODY=8BITMIME" in mail
    assert "SMTPUTF8" not in mail


def test_send_asks_for_notifications(server, sink):
    server.run("send", "-f", "<>", "-N", "success,Delay", "-R", "hdrs", "-V", "id=1+2",
               "a@example.net", text="\n")
    assert sink.starting("MAIL")[0].startswith("MAIL FROM:<> ")
    assert "RET=HDRS ENVID=id+3D1+2B2" in sink.starting("MAIL")[0]
    assert sink.starting("RCPT") == ["RCPT TO:<a@example.net> NOTIFY=SUCCESS,DELAY"]
    for words in (["-N", "sometimes"], ["-N", "never,delay"], ["-R", "some"]):
        fails(server, EX_USAGE, "send", *words, "a@example.net", text="\n")


def test_send_says_utf8_of_addresses(server, sink):
    server.run("send", "花子@example.jp", text="\n")
    assert " SMTPUTF8" in sink.starting("MAIL")[0]
    sink.offers = ("sink", "8BITMIME")
    fails(server, EX_UNAVAILABLE, "send", "花子@example.jp", text="\n")


def test_send_takes_no_second_command_in_an_address(server, sink):
    fails(server, EX_DATAERR, "send", "a@example.net>\rRCPT TO:<b@example.net", text="\n")
    fails(server, EX_USAGE, "send", "-f", "a@x>\rRSET", "b@example.net", text="\n")
    fails(server, EX_DATAERR, "send", "-t", text="To: Two Words\n\n")
    assert server.run("send", "a@example.net\r\nRSET", text="\n",
                      check=False).returncode == EX_DATAERR
    assert sink.commands == []
    fails(server, EX_USAGE, "send", text="Subject: nobody\n\n")


@pytest.mark.parametrize("reply, status", [
    ("550 5.1.1 no such user", EX_NOUSER), ("550 5.7.1 not here", EX_UNAVAILABLE),
    ("451 4.3.0 later", EX_TEMPFAIL)])
def test_send_reports_refused_recipients(server, sink, reply, status):
    sink.replies = {"RCPT TO:<bad@": reply}
    said = fails(server, status, "send", "good@example.net", "bad@example.net",
                 text="Subject: x\n\n")
    assert "bad@example.net" in said and reply in said
    assert [recipients for recipients, _ in sink.messages] == [["good@example.net"]]
    fails(server, status, "send", "bad@example.net", text="Subject: x\n\n")
    assert len(sink.messages) == 1


@pytest.mark.parametrize("place, reply, status", [
    ("", "421 4.3.2 busy", EX_TEMPFAIL), ("MAIL", "552 5.3.4 too big", EX_UNAVAILABLE),
    ("DATA", "451 4.3.0 later", EX_TEMPFAIL), (".", "554 5.6.0 no", EX_UNAVAILABLE),
    (".", "452 4.3.1 disk full", EX_TEMPFAIL)])
def test_send_reports_a_refused_message(server, sink, place, reply, status):
    sink.replies = {place: reply}
    assert reply in fails(server, status, "send", "a@example.net", text="Subject: x\n\n")


def test_send_cuts_many_recipients(server, sink):
    sink.recipients_max = 3
    server.run("send", *[f"a{i}@example.net" for i in range(8)], text="Subject: x\n\n")
    assert [len(recipients) for recipients, _ in sink.messages] == [3, 3, 2]
    assert len({text for _, text in sink.messages}) == 1


def test_send_speaks_smtp(server, sink):
    done = server.run("send", "-bs", text="EHLO x\r\nQUIT\r\n")
    assert done.stdout.startswith("220 ") and done.stdout.endswith("221 bye\r\n") \
        or done.stdout.endswith("221 bye\n")
    assert sink.commands == ["EHLO x", "QUIT"]


def test_large_message_goes_through(server, sink):
    body = "\n".join(["." + "x" * 70] * 100_000) + "\n" + "y" * 300_000 + "\n"
    server.run("send", "-i", "a@example.net", text="Subject: large\n\n" + body)
    received = sink.messages[0][1].decode().partition("\r\n\r\n")[2]
    assert received == body.replace("\n", "\r\n").replace(".x", "..x")


def test_links_are_sendmail_mailq_and_newaliases(server, sink):
    links = {}
    for name in ("sendmail", "mailq", "newaliases"):
        links[name] = server.folder / name
        links[name].symlink_to(pathlib.Path(server.binary).resolve())
    done = subprocess.run([links["sendmail"], "-C", server.config, "-i", "a@example.net"],
                          input="\n", text=True, check=True)
    assert done.returncode == 0 and len(sink.messages) == 1
    assert subprocess.run([links["newaliases"]], check=True).returncode == 0
    for words in (["mailq"], ["sendmail", "-bp"], ["sendmail", "-q"]):
        done = subprocess.run([links[words[0]], *words[1:], "-c", server.config], check=False,
                              capture_output=True, text=True)
        assert done.returncode == EX_TEMPFAIL and "not running" in done.stderr
    done = subprocess.run([links["sendmail"], "-bd"], check=False, capture_output=True, text=True)
    assert done.returncode == EX_USAGE and "hayauma run" in done.stderr


def test_listing_rows_are_json(server):
    server.add_user("hanako@example.jp")
    for line in server.run("user", "list", "--json").stdout.splitlines():
        assert json.loads(line)["address"] == "hanako@example.jp"
