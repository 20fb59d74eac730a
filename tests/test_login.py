"""Submission and login: by every client and mechanism, by those who have no
account, by those who guess, and by those who talk nonsense."""
import base64
import hashlib
import hmac
import re
import shutil
import socket
import ssl
import subprocess
import time

import pytest

import ports
from hayauma import Hayauma, PASSWORD, ROOT, SMTP_SSL

HANAKO, JIRO = "hanako@example.jp", "jiro@example.jp"
MESSAGE = f"From: {HANAKO}\r\nTo: {JIRO}\r\nSubject: hello\r\n\r\nhello\r\n"
LISTEN = {"smtp": 0, "submission": 0, "submissions": 0}


@pytest.fixture(scope="module")
def server():
    with Hayauma(users=[HANAKO, JIRO], listen=LISTEN, tls=True) as running:
        yield running


def context():
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def submission(server, tls=True):
    client = server.smtp("submission")
    client.ehlo()
    if tls:
        client.starttls(context=context())
        client.ehlo()
    return client


def b64(text):
    return base64.b64encode(text.encode()).decode()


def plain(name, password):
    return b64(f"\0{name}\0{password}")


def run(*words, stdin="", timeout=180):
    done = subprocess.run(list(map(str, words)), input=stdin, text=True, capture_output=True,
                          timeout=timeout, check=False)
    return done.returncode, done.stdout + done.stderr


# What is offered

def test_what_is_offered_before_and_under_tls(server):
    with submission(server, tls=False) as client:
        assert client.esmtp_features["auth"].split() == ["SCRAM-SHA-256"]
        client.starttls(context=context())
        client.ehlo()
        assert client.esmtp_features["auth"].split() == \
            ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
        assert "dsn" in client.esmtp_features and "smtputf8" in client.esmtp_features
    with server.smtp() as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        assert client.docmd("AUTH", "PLAIN")[0] == 502


# Clients

@pytest.mark.parametrize("mechanism", ["plain", "login"])
@pytest.mark.parametrize("protocol", ["submission", "submissions"])
@pytest.mark.parametrize("initial", [True, False])
def test_smtplib(server, protocol, mechanism, initial):
    if protocol == "submissions":
        client = SMTP_SSL("127.0.0.1", server.ports[protocol], timeout=180,
                          context=context())
        client.ehlo()
    else:
        client = submission(server)
    with client:
        client.user, client.password = HANAKO, PASSWORD
        code, _ = client.auth(mechanism, getattr(client, "auth_" + mechanism),
                              initial_response_ok=initial)
        assert code == 235
        assert client.sendmail(HANAKO, [JIRO, "far@example.net"], MESSAGE) == {}


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(server, mechanism):
    status, text = run("swaks", "--server", "127.0.0.1", "--port", server.ports["submission"],
                       "-tls", "--auth", mechanism, "--auth-user", HANAKO, "--auth-password",
                       PASSWORD, "--from", HANAKO, "--to", JIRO, "--ehlo", "client.example.net")
    assert status == 0, text
    assert " 235 " in text


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_curl(server, scheme, mechanism):
    port = server.ports["submission" if scheme == "smtp" else "submissions"]
    status, text = run("curl", "-sv", "-k", "--ssl-reqd", f"{scheme}://127.0.0.1:{port}",
                       "--mail-from", HANAKO, "--mail-rcpt", JIRO, "--login-options",
                       f"AUTH={mechanism}", "-u", f"{HANAKO}:{PASSWORD}", "-T", "-",
                       stdin=MESSAGE)
    assert status == 0, text
    assert f"> AUTH {mechanism}" in text and "< 235 " in text


@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_msmtp(server, mechanism, tmp_path):
    assert shutil.which("msmtp"), "there is no msmtp: run tools/install-packages test"
    config = tmp_path / "msmtprc"
    config.write_text(f"account a\nhost 127.0.0.1\nport {server.ports['submission']}\n"
                      f"from {HANAKO}\nauth {mechanism}\nuser {HANAKO}\npassword {PASSWORD}\n"
                      "tls on\ntls_starttls on\ntls_certcheck off\n")
    config.chmod(0o600)
    status, text = run("msmtp", "-d", "-C", config, "-a", "a", JIRO, stdin=MESSAGE)
    assert status == 0, text


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
def test_gsasl(server, mechanism):
    assert shutil.which("gsasl"), "there is no gsasl: run tools/install-packages test"
    binding = [] if mechanism.endswith("PLUS") else ["--no-cb"]
    status, text = run("gsasl", "--smtp", *binding, "--connect",
                       "127.0.0.1:" + str(server.ports["submission"]),
                       "--x509-ca-file=", "-m", mechanism, "-a", HANAKO, "-z", "", "-p", PASSWORD,
                       stdin="QUIT\n")
    assert status == 0 and "235 " in text, text


def scram(client, name, password, header=b"n,,", binding=b""):
    """The code of the last answer to a SCRAM-SHA-256 of our own making."""
    mechanism = "SCRAM-SHA-256" + ("-PLUS" if binding else "")
    bare = f"n={name},r=abcdefgh".encode()
    code, text = client.docmd(f"AUTH {mechanism} " + base64.b64encode(header + bare).decode())
    if code != 334:
        return code
    challenge = base64.b64decode(text)
    nonce, salt, count = re.fullmatch(rb"r=([^,]+),s=([^,]+),i=(\d+)", challenge).groups()
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(count))
    key = hmac.digest(salted, b"Client Key", "sha256")
    final = b"c=" + base64.b64encode(header + binding) + b",r=" + nonce
    signature = hmac.digest(hashlib.sha256(key).digest(), b",".join([bare, challenge, final]),
                            "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature)))
    code, text = client.docmd(base64.b64encode(final + b",p=" + proof).decode())
    if code != 334:
        return code
    ours = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"),
                       b",".join([bare, challenge, final]), "sha256")
    assert base64.b64decode(text) == b"v=" + base64.b64encode(ours)
    return client.docmd("")[0]


def test_bound_to_the_certificate(server):
    """tls-server-end-point (RFC 5929), which no client here knows by itself."""
    header = b"p=tls-server-end-point,,"
    for change, code in ((b"", 235), (b"x", 535)):
        with submission(server) as client:
            shown = hashlib.sha256(client.sock.getpeercert(True) + change).digest()
            assert scram(client, HANAKO, PASSWORD, header, shown) == code
    with submission(server) as client:
        assert scram(client, HANAKO, "wrong", header,
                     hashlib.sha256(client.sock.getpeercert(True)).digest()) == 535
    with submission(server) as client:  # bound by what neither of us has; downgraded; not bound
        assert scram(client, HANAKO, PASSWORD, b"p=tls-unique,,", b"x" * 12) == 535
        assert scram(client, HANAKO, PASSWORD, b"y,,") == 535
        assert scram(client, HANAKO, PASSWORD) == 235


# What login changes

def test_who_has_not_logged_in_may_not_send(server):
    for tls in (False, True):
        with submission(server, tls) as client:
            assert client.mail(HANAKO)[0] == 530


def test_message_is_completed_and_traced(server):
    server_count = len(server.messages(JIRO))
    with submission(server) as client:
        client.login(HANAKO, PASSWORD)
        assert client.sendmail(HANAKO, [JIRO], "Subject: bare\r\n\r\nx\r\n") == {}
    text = server.wait_for_messages(JIRO, server_count + 1)[-1].decode()
    text = next(m.decode() for m in server.messages(JIRO) if b"Subject: bare" in m)
    assert re.search(r"^Date: \w{3}, +\d+ ", text, re.M)
    assert re.search(r"^Message-ID: <[^@ ]+@mx1\.example\.jp>", text, re.M)
    assert f"From: <{HANAKO}>" in text
    assert re.search(r"with ESMTPSA\b", text)
    assert PASSWORD not in server.log(100000)
    key = re.search(r"^Message-ID: (<.*>)", text, re.M)[1]
    assert f"login={HANAKO}" in server.why(key) or HANAKO in server.why(key)


def test_sender_must_belong_to_the_login(server):
    with submission(server) as client:
        client.login(HANAKO, PASSWORD)
        assert client.mail(JIRO)[0] == 553
        assert client.mail("")[0] == 250
        client.rset()
        assert client.mail("hanako+list@example.jp")[0] == 250


def test_logged_in_clients_may_relay(server):
    with submission(server) as client:
        client.login("hanako", PASSWORD)  # the local part alone
        assert client.mail(HANAKO)[0] == 250
        assert client.rcpt("somebody@elsewhere.example")[0] == 250
        client.rset()


# Bad input

BAD = [
    ("no base64", ["AUTH PLAIN A===B"], [501]),
    ("base64 cut short", ["AUTH PLAIN AGh"], [501]),
    ("not offered", ["AUTH CRAM-MD5"], [504]),
    ("no mechanism", ["AUTH"], [501]),
    ("a name too long", ["AUTH ABCDEFGHIJKLMNOPQRSTUVWXYZ"], [501]),
    ("cancelled", ["AUTH PLAIN", "*"], [334, 501]),
    ("cancelled in the middle", ["AUTH LOGIN", b64(HANAKO), "*"], [334, 334, 501]),
    ("not plain's form", ["AUTH PLAIN " + b64("hanako")], [501]),
    ("empty initial response", ["AUTH PLAIN =", "*"], [334, 501]),
    ("response of no base64", ["AUTH LOGIN", "!!"], [334, 501]),
    ("overlong response", ["AUTH LOGIN", "A" * 12300], [334, 500]),
    ("scram nonsense", ["AUTH SCRAM-SHA-256 " + b64("x")], [501]),
    ("binding where none is", ["AUTH SCRAM-SHA-256 " + b64("p=tls-unique,,n=a,r=b")], [501]),
    ("wrong password", ["AUTH PLAIN " + plain(HANAKO, "wrong")], [535]),
    ("no such account", ["AUTH PLAIN " + plain("eve@example.jp", PASSWORD)], [535]),
    ("external without certificate", ["AUTH EXTERNAL ="], [504]),
]


@pytest.mark.parametrize("name,lines,codes", BAD, ids=[row[0] for row in BAD])
def test_bad_input(server, name, lines, codes):
    with submission(server) as client:
        got = [client.docmd(line)[0] for line in lines]
        assert got == codes
        # The session goes on, and the right way still works.
        assert client.docmd("AUTH PLAIN " + plain(HANAKO, PASSWORD))[0] == 235


def test_auth_twice_and_within_a_transaction(server):
    with submission(server) as client:
        client.login(HANAKO, PASSWORD)
        assert client.docmd("AUTH PLAIN " + plain(HANAKO, PASSWORD))[0] == 503
        client.mail(HANAKO)
        assert client.docmd("AUTH PLAIN " + plain(HANAKO, PASSWORD))[0] == 503


def test_plaintext_is_refused_without_tls(server):
    with submission(server, tls=False) as client:
        assert client.docmd("AUTH PLAIN " + plain(HANAKO, PASSWORD))[0] == 538
        assert client.docmd("AUTH LOGIN")[0] == 538


def test_what_is_pipelined_behind_starttls_is_dropped(server):
    with socket.create_connection(("127.0.0.1", server.ports["submission"]), 180) as wire:
        wire.recv(1000)
        wire.sendall(b"EHLO x\r\n")
        wire.recv(4000)
        wire.sendall(b"STARTTLS\r\nAUTH PLAIN " + plain(HANAKO, PASSWORD).encode() + b"\r\n")
        assert wire.recv(1000).startswith(b"220 ")
        with context().wrap_socket(wire) as tls:
            tls.sendall(b"EHLO x\r\n")
            assert tls.recv(4000).startswith(b"250-")  # no answer to what was said before
            tls.sendall(b"MAIL FROM:<hanako@example.jp>\r\n")
            assert tls.recv(1000).startswith(b"530 ")


# Accounts that change, guessing

def test_a_changed_password_counts_at_once_and_an_unknown_name_looks_the_same():
    with Hayauma(users=[HANAKO], listen=LISTEN, tls=True) as server:
        def answer(name, password):
            with submission(server) as client:
                before = time.monotonic()
                code, text = client.docmd("AUTH PLAIN " + plain(name, password))
                return code, text, time.monotonic() - before
        assert answer(HANAKO, PASSWORD)[0] == 235
        assert answer(HANAKO, PASSWORD)[0] == 235  # remembered
        wrong, unknown = answer(HANAKO, "wrong"), answer("eve@example.jp", "wrong")
        assert wrong[:2] == unknown[:2]
        assert min(wrong[2], unknown[2]) > 0.35
        server.run("user", "passwd", HANAKO, text="new secret\n")
        ports.wait_until(lambda: answer(HANAKO, "new secret")[0] == 235,
                         "the new password counts", 20, 1)
        assert answer(HANAKO, PASSWORD)[0] == 535
        assert re.search(r"login_failed client=127\.0\.0\.1 service=submission mechanism=PLAIN "
                         r"login_name=eve@example\.jp", server.log())
        # What the manual has for fail2ban finds it, and not who logged in.
        manual = (ROOT / "docs" / "login.md").read_text()
        pattern = re.search(r"^failregex = (.*)$", manual, re.M)[1].replace("<HOST>", r"(\S+)")
        failed = [line for line in server.log(100000).splitlines() if "login_failed" in line]
        assert failed and all(re.search(pattern, line)[1] == "127.0.0.1" for line in failed)
        assert not re.search(pattern, "\n".join(
            line for line in server.log(100000).splitlines() if line not in failed))


def test_a_directory_that_dies_is_a_temporary_failure():
    with Hayauma(users=[HANAKO], listen=LISTEN, tls=True) as server:
        with submission(server) as client:
            assert client.docmd("AUTH LOGIN")[0] == 334
            server.kill("directory/0")
            assert client.docmd(b64(HANAKO))[0] == 454
            ports.wait_until(lambda: client.docmd("AUTH PLAIN " + plain(HANAKO, PASSWORD))[0]
                             == 235, "the next one answers", 20, 0.5)


def test_recipients_an_hour_are_limited():
    with Hayauma(users=[HANAKO, JIRO], listen=LISTEN, tls=True,
                 options="auth { recipients_per_hour = 2 }") as server:
        with submission(server) as client:
            client.login(HANAKO, PASSWORD)
            assert client.sendmail(HANAKO, [JIRO, HANAKO], MESSAGE) == {}
            client.mail(HANAKO)
            client.rcpt(JIRO)
            assert client.docmd("DATA")[0] == 450
        assert "account_over_quota" in server.log()


def test_networks_that_may_log_in_without_tls():
    with Hayauma(users=[HANAKO], listen=LISTEN, tls=True,
                 options='auth { plaintext_without_tls = { "127.0.0.0/8" } }') as server:
        with submission(server, tls=False) as client:
            assert "PLAIN" in client.esmtp_features["auth"]
            assert client.docmd("AUTH PLAIN " + plain(HANAKO, PASSWORD))[0] == 235
