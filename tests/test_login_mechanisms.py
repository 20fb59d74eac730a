"""Mechanisms that are off unless they are named, or need a certificate: SCRAM-SHA-1,
EXTERNAL and CRAM-MD5 under TLS, by every client that knows them."""
import base64
import hashlib
import hmac
import json
import subprocess

import pytest

from hayauma import PASSWORD, Hayauma
from test_login_clients import arrived, nodemailer  # noqa: F401, a fixture

HANAKO, JIRO = "hanako@example.jp", "jiro@example.jp"
MESSAGE = f"From: {HANAKO}\r\nTo: {JIRO}\r\nSubject: %s\r\n\r\nhello\r\n"
MECHANISMS = ("SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 EXTERNAL CRAM-MD5 "
              "PLAIN LOGIN").split()


def scram_sha_1():
    """The field of the users file, made elsewhere (RFC 5802 section 3)."""
    salt, iterations = b"0123456789abcdef", 4096
    salted = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), salt, iterations)
    stored = hashlib.sha1(hmac.digest(salted, b"Client Key", "sha1")).digest()
    parts = (salt, stored, hmac.digest(salted, b"Server Key", "sha1"))
    return f"scram-sha-1={iterations}," + ",".join(base64.b64encode(p).decode() for p in parts)


@pytest.fixture(scope="module", name="server")
def server_with_all(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    folder.chmod(0o755)
    folder.parent.chmod(0o755)
    names = ", ".join(f'"{name}"' for name in MECHANISMS)
    made = Hayauma(users=[JIRO], listen={"submission": 0, "submissions": 0}, tls=True,
                   options=f"auth {{ mechanisms = {{ {names} }} }}\n")
    made.run("user", "add", HANAKO, "--apop", text=PASSWORD + "\n")
    users = made.folder / "users"
    lines = [line + " " + scram_sha_1() if line.startswith(HANAKO) else line
             for line in users.read_text().splitlines()]
    users.write_text("\n".join(lines) + "\n")
    made.run("tls", "ca", str(folder / "ca"), HANAKO)
    (folder / "ca").chmod(0o755)
    made.config.write_text(made.config.read_text().replace(
        "tls { ", f'tls {{ client_ca = "{folder}/ca/ca.pem" '))
    made.shown = folder / "ca" / f"{HANAKO}.pem"
    with made as running:
        yield running


def run(*words, stdin="", **more):
    done = subprocess.run(list(map(str, words)), input=stdin, text=True, capture_output=True,
                          timeout=180, check=False, **more)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-1-PLUS", "EXTERNAL", "CRAM-MD5"])
def test_gsasl(server, mechanism):
    shown = [f"--x509-cert-file={server.shown}", f"--x509-key-file={server.shown}"]
    status, text = run("gsasl", "--smtp", *([] if mechanism.endswith("PLUS") else ["--no-cb"]),
                       "--connect", f"127.0.0.1:{server.ports['submission']}", "--x509-ca-file=",
                       *(shown if mechanism == "EXTERNAL" else []), "-m", mechanism,
                       *(["-z", HANAKO] if mechanism == "EXTERNAL" else
                         ["-a", HANAKO, "-z", "", "-p", PASSWORD]), stdin="QUIT\n")
    assert status == 0 and "235 " in text, text


@pytest.mark.parametrize("mechanism", ["scram-sha-1", "external", "cram-md5"])
def test_msmtp(server, mechanism, tmp_path):
    config = tmp_path / "msmtprc"
    secret = f"tls_cert_file {server.shown}\ntls_key_file {server.shown}\n" \
        if mechanism == "external" else f"password {PASSWORD}\n"
    config.write_text(f"account a\nhost 127.0.0.1\nport {server.ports['submission']}\n"
                      f"from {HANAKO}\nauth {mechanism}\nuser {HANAKO}\n{secret}"
                      "tls on\ntls_starttls on\ntls_certcheck off\n")
    config.chmod(0o600)
    subject = f"by msmtp {mechanism}"
    status, text = run("msmtp", "-d", "-C", config, "-a", "a", JIRO, stdin=MESSAGE % subject)
    assert status == 0 and f"AUTH {mechanism.upper()}" in text, text
    arrived(server, subject)


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "CRAM-MD5"])
def test_curl(server, mechanism):
    secret = ["--cert", server.shown, "-u", f"{HANAKO}:"] if mechanism == "EXTERNAL" \
        else ["-u", f"{HANAKO}:{PASSWORD}"]
    status, text = run("curl", "-sv", "-k", f"smtps://127.0.0.1:{server.ports['submissions']}",
                       "--mail-from", HANAKO, "--mail-rcpt", JIRO, "--login-options",
                       f"AUTH={mechanism}", *secret, "-T", "-", stdin=MESSAGE % "by curl")
    assert status == 0 and f"> AUTH {mechanism}" in text and "< 235 " in text, text


def test_swaks(server):
    status, text = run("swaks", "--server", "127.0.0.1", "--port", server.ports["submission"],
                       "-tls", "--auth", "CRAM-MD5", "--auth-user", HANAKO, "--auth-password",
                       PASSWORD, "--from", HANAKO, "--to", JIRO, "--ehlo", "client.example.net")
    assert status == 0 and " 235 " in text, text


@pytest.mark.parametrize("mechanism", ["scram-sha-1", "cram-md5"])
def test_mutt(server, mechanism, tmp_path):
    rc = tmp_path / "muttrc"
    rc.write_text(f'set smtp_url="smtp://{HANAKO.replace("@", "%40")}@127.0.0.1:'
                  f'{server.ports["submission"]}/"\nset smtp_pass="{PASSWORD}"\n'
                  f'set from={HANAKO}\nset ssl_starttls=yes\nset ssl_force_tls=yes\n'
                  f'set certificate_file={server.folder}/cert.pem\nset ssl_verify_host=no\n'
                  f'set smtp_authenticators="{mechanism}"\nset copy=no\n'
                  f'set envelope_from_address={HANAKO}\nset use_envelope_from=yes\n')
    status, text = run("timeout", 40, "mutt", "-n", "-F", rc, "-s", f"by mutt {mechanism}", JIRO,
                       stdin="hello\n", env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin",
                                             "TERM": "dumb"})
    assert status == 0, text
    arrived(server, f"by mutt {mechanism}")


def test_nodemailer(server, nodemailer):  # noqa: F811, the fixture
    options = {"host": "127.0.0.1", "port": server.ports["submission"], "requireTLS": True,
               "authMethod": "CRAM-MD5", "auth": {"user": HANAKO, "pass": PASSWORD},
               "tls": {"rejectUnauthorized": False}}
    message = {"from": HANAKO, "to": JIRO, "subject": "by nodemailer", "text": "hello"}
    status, text = run("node", "-e",
                       f"require('nodemailer').createTransport({json.dumps(options)})"
                       f".sendMail({json.dumps(message)}).then(() => process.exit(0),"
                       " e => { console.error(e); process.exit(1); });", cwd=nodemailer)
    assert status == 0, text
    arrived(server, "by nodemailer")
