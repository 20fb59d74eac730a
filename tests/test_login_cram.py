"""CRAM-MD5: only where it is switched on, and only for accounts that were given a secret
for it; by real clients, over SMTP, IMAP and POP3."""
import base64
import hmac
import imaplib
import poplib
import shutil
import subprocess

import pytest

from hayauma import PASSWORD, Hayauma

HANAKO, JIRO = "hanako@example.jp", "jiro@example.jp"
MESSAGE = f"From: {HANAKO}\r\nTo: {JIRO}\r\nSubject: hello\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def server():
    """HANAKO has a secret, JIRO has none."""
    made = Hayauma(users=[JIRO], listen={"submission": 0, "imap": 0, "pop3": 0},
                   options='auth { mechanisms = { "SCRAM-SHA-256", "CRAM-MD5" } }\n'
                           'processes { edge = 1 access = 1 }\n')
    made.run("user", "add", HANAKO, "--apop", text=PASSWORD + "\n")
    with made as running:
        yield running


def run(*words, stdin=""):
    done = subprocess.run(list(map(str, words)), input=stdin, text=True, capture_output=True,
                          timeout=180, check=False)
    return done.returncode, done.stdout + done.stderr


def test_smtplib(server):
    with server.smtp("submission") as client:
        client.ehlo()
        assert client.esmtp_features["auth"].split() == ["SCRAM-SHA-256", "CRAM-MD5"]
        client.login(HANAKO, PASSWORD)
        assert client.sendmail(HANAKO, [JIRO], MESSAGE) == {}


def test_curl(server):
    status, text = run("curl", "-sv", f"smtp://127.0.0.1:{server.ports['submission']}",
                       "--mail-from", HANAKO, "--mail-rcpt", JIRO, "--login-options",
                       "AUTH=CRAM-MD5", "-u", f"{HANAKO}:{PASSWORD}", "-T", "-", stdin=MESSAGE)
    assert status == 0 and "> AUTH CRAM-MD5" in text and "< 235 " in text, text


def test_swaks(server):
    status, text = run("swaks", "--server", "127.0.0.1", "--port", server.ports["submission"],
                       "--auth", "CRAM-MD5", "--auth-user", HANAKO, "--auth-password", PASSWORD,
                       "--from", HANAKO, "--to", JIRO, "--ehlo", "client.example.net")
    assert status == 0 and " 235 " in text, text


def test_msmtp(server, tmp_path):
    assert shutil.which("msmtp"), "there is no msmtp: run tools/install-packages test"
    config = tmp_path / "msmtprc"
    config.write_text(f"account a\nhost 127.0.0.1\nport {server.ports['submission']}\n"
                      f"from {HANAKO}\nauth cram-md5\nuser {HANAKO}\npassword {PASSWORD}\n"
                      "tls off\n")
    config.chmod(0o600)
    status, text = run("msmtp", "-d", "-C", config, "-a", "a", JIRO, stdin=MESSAGE)
    assert status == 0 and "AUTH CRAM-MD5" in text, text


def test_gsasl(server):
    assert shutil.which("gsasl"), "there is no gsasl: run tools/install-packages test"
    status, text = run("gsasl", "--smtp", "--no-starttls", "--connect",
                       f"127.0.0.1:{server.ports['submission']}", "-m", "CRAM-MD5", "-a", HANAKO,
                       "-p", PASSWORD, stdin="NOOP\n")  # it says QUIT itself
    assert status == 0 and "235 " in text, text


def test_reading(server):
    with imaplib.IMAP4("127.0.0.1", server.ports["imap"]) as client:
        assert "AUTH=CRAM-MD5" in client.capabilities
        assert client.login_cram_md5(HANAKO, PASSWORD)[0] == "OK"
        assert client.select()[0] == "OK"
    client = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=180)
    assert "CRAM-MD5" in client.capa()["SASL"]
    client.quit()


def respond(challenge, account, password):
    digest = hmac.new(password.encode(), base64.b64decode(challenge), "md5").hexdigest()
    return base64.b64encode(f"{account} {digest}".encode()).decode()


@pytest.mark.parametrize("account, password", [(HANAKO, "wrong"), (JIRO, PASSWORD), ("x", "x")],
                         ids=["wrong", "no secret", "nobody"])
def test_refused_all_alike(server, account, password):
    with server.smtp("submission") as client:
        client.ehlo()
        code, challenge = client.docmd("AUTH CRAM-MD5")
        assert code == 334
        answer = client.docmd(respond(challenge, account, password))
        assert answer == (535, b"5.7.8 Login name or password is wrong")
