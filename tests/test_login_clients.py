"""Submission by more clients: mutt and nodemailer; renegotiation, which nobody gets;
and what an idle connection under TLS costs."""
import json
import pathlib
import resource
import shutil
import socket
import ssl
import subprocess

import pytest

import ports
from hayauma import PASSWORD, ROOT, Hayauma

HANAKO, JIRO = "hanako@example.jp", "jiro@example.jp"
LISTEN = {"smtp": 0, "submission": 0, "submissions": 0}
NODE = ROOT / "build" / "node"
NODEMAILER = "nodemailer@6.9.16"
IDLE_FEW, IDLE, IDLE_MANY, IDLE_OCTETS_MAX = 300, 1000, 10000, 24 * 1024


@pytest.fixture(scope="module")
def server():
    with Hayauma(users=[HANAKO, JIRO], listen=LISTEN, tls=True) as running:
        yield running


def arrived(server, subject):
    def there():
        return any(f"Subject: {subject}".encode() in m for m in server.messages(JIRO))
    ports.wait_until(there, f"the message \"{subject}\"", 20, 0.3)


@pytest.mark.parametrize("scheme, listener, mechanism", [
    ("smtp", "submission", "plain"), ("smtps", "submissions", "plain"),
    ("smtp", "submission", "login"), ("smtp", "submission", "scram-sha-256")])
def test_mutt(server, tmp_path, scheme, listener, mechanism):
    assert shutil.which("mutt"), "there is no mutt: run tools/install-packages test"
    user = HANAKO.replace("@", "%40")
    rc = tmp_path / "muttrc"
    rc.write_text(f'set smtp_url="{scheme}://{user}@127.0.0.1:{server.ports[listener]}/"\n'
                  f'set smtp_pass="{PASSWORD}"\nset from={HANAKO}\nset ssl_starttls=yes\n'
                  f'set ssl_force_tls=yes\nset certificate_file={server.folder}/cert.pem\n'
                  f'set smtp_authenticators="{mechanism}"\n'
                  'set ssl_verify_host=no\nset copy=no\nset envelope_from_address=' + HANAKO
                  + "\nset use_envelope_from=yes\n")
    done = subprocess.run(["timeout", "40", "mutt", "-n", "-F", rc, "-s",
                           f"by mutt {scheme} {mechanism}", JIRO],
                          input="hello\n", text=True, capture_output=True, check=False,
                          env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "TERM": "dumb"})
    assert done.returncode == 0, done.stdout + done.stderr
    arrived(server, f"by mutt {scheme} {mechanism}")


@pytest.fixture(scope="module")
def nodemailer():
    """Its package, from the registry of npm, once."""
    if not (NODE / "node_modules" / "nodemailer").is_dir():
        NODE.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts",
                        "--prefix", NODE, NODEMAILER], check=True, capture_output=True,
                       timeout=180)
    return NODE


@pytest.mark.parametrize("method, listener", [("PLAIN", "submission"), ("LOGIN", "submission"),
                                              ("PLAIN", "submissions")])
def test_nodemailer(server, nodemailer, method, listener):
    subject = f"by nodemailer {method} {listener}"
    options = {"host": "127.0.0.1", "port": server.ports[listener],
               "secure": listener == "submissions", "requireTLS": True, "authMethod": method,
               "auth": {"user": HANAKO, "pass": PASSWORD}, "tls": {"rejectUnauthorized": False}}
    message = {"from": HANAKO, "to": JIRO, "subject": subject, "text": "hello"}
    script = ("const t = require('nodemailer').createTransport(%s);"
              "t.sendMail(%s).then(() => process.exit(0), e => { console.error(e);"
              " process.exit(1); });" % (json.dumps(options), json.dumps(message)))
    done = subprocess.run(["node", "-e", script], cwd=nodemailer, text=True, capture_output=True,
                          timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    arrived(server, subject)


def test_renegotiation_is_refused(server):
    """The old attack on TLS 1.2: the client asks for it, and is not served."""
    done = subprocess.run(["openssl", "s_client", "-tls1_2", "-connect",
                           f"127.0.0.1:{server.ports['submissions']}"], input="R\nNOOP\nQUIT\n",
                          text=True, capture_output=True, timeout=180, check=False)
    assert "RENEGOTIATING" in done.stdout + done.stderr
    assert "no renegotiation" in (done.stdout + done.stderr).lower()
    assert server.greets("submission")


HOSTILE = [
    ("a line far too long", b"A" * 200000 + b"\r\n", b"5"),
    ("a blob without end", b"AUTH PLAIN " + b"A" * 200000 + b"\r\n", b"5"),
    ("a response without end", b"AUTH LOGIN\r\n" + b"A" * 200000 + b"\r\n", b"5"),
    ("NUL in a mechanism", b"AUTH PL\0AIN AAAA\r\n", b"5"),
    ("a mechanism that is not offered", b"AUTH GSSAPI AAAA\r\n", b"504"),
    ("one that only others know", b"AUTH DIGEST-MD5\r\n", b"504"),
    ("downgraded", b"AUTH SCRAM-SHA-256 eSwsbj1hLHI9Yg==\r\n", b"5"),
]


@pytest.mark.parametrize("name, octets, reply", HOSTILE, ids=[row[0] for row in HOSTILE])
def test_hostile_logins(server, name, octets, reply):
    """Answered, or hung up on, at a bounded cost; and others are served meanwhile."""
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    wire = socket.create_connection(("127.0.0.1", server.ports["submissions"]), 180)
    with made.wrap_socket(wire) as tls:
        assert tls.recv(1000).startswith(b"220")
        tls.sendall(b"EHLO client.example.net\r\n")
        assert b"AUTH" in tls.recv(4000)
        try:
            tls.sendall(octets)
            answers = b""
            while not any(line.startswith(reply) for line in answers.split(b"\r\n")):
                got = tls.recv(4000)
                if not got:
                    break
                answers += got
        except (ConnectionError, ssl.SSLError):
            answers = reply
        lines = answers.split(b"\r\n")
        assert any(line.startswith(reply) for line in lines), (name, answers[:300])
    assert server.greets("submission")


def private_kib(server):
    """What the edges hold for themselves."""
    total = 0
    for name, pid in server.children().items():
        if name.startswith("edge/"):
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) for line in text.splitlines()
                         if line.startswith(("Private_Dirty:", "Private_Clean:", "Swap:")))
    return total


def say(wire, line, expected):
    if line:
        wire.sendall(line + b"\r\n")
    assert wire.recv(4000).startswith(expected)


def idle_client(server, protocol, made):
    """A connection that has said its name under TLS, and says no more."""
    wire = socket.create_connection(("127.0.0.1", server.ports[protocol]), 180)
    if protocol == "submission":
        say(wire, b"", b"220")
        say(wire, b"EHLO client.example.net", b"250")
        say(wire, b"STARTTLS", b"220")
    tls = made.wrap_socket(wire)
    if protocol == "imaps":
        say(tls, b"", b"* OK")
        say(tls, b"a NOOP", b"a OK")
        return tls
    if protocol == "submissions":
        say(tls, b"", b"220")
    say(tls, b"EHLO client.example.net", b"250")
    return tls


@pytest.mark.parametrize("protocol, count", [
    ("submissions", IDLE), ("submission", IDLE_FEW), ("imaps", IDLE_FEW),
    pytest.param("submissions", IDLE_MANY, marks=pytest.mark.long)])
def test_memory_of_an_idle_connection_under_tls(protocol, count):
    """Sanitizers keep what is freed: the release build counts."""
    wanted = count + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:  # the hard one may be raised by root alone
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    release = ROOT / "build" / "hayauma"
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    with Hayauma(users=[HANAKO], listen={"smtp": 0, protocol: 0}, tls=True, binary=release,
                 options="limits { connections = 0 }") as server:
        warm = [idle_client(server, protocol, made) for _ in range(20)]
        before = private_kib(server)
        idle = [idle_client(server, protocol, made) for _ in range(count)]
        each = (private_kib(server) - before) * 1024 / count
        print(f"an idle connection of {protocol} under TLS: {each:.0f} octets")
        for tls in [*warm, *idle]:
            tls.close()
        assert each <= IDLE_OCTETS_MAX, f"{each:.0f} octets an idle connection"
