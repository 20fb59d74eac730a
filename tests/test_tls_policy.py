"""How sure the relay is of whom it speaks to: the rows of tls_policy, and DANE from
a signed zone of a real nsd, validated here."""
import contextlib
import os
import re
import subprocess

import pytest

import ports
from hayauma import Hayauma
from nsd import Nsd
from smtp_peer import SmtpPeer

SENDER = "hanako@example.jp"
MESSAGE = "Message-ID: <%s>\r\nSubject: out\r\n\r\nHello\r\n"

# Each host has a peer of its own, all at one port; `wrong` and `bogus` have the digest of
# nobody, that of `bogus` put there after the zone was signed.
HOSTS = ["good", "missing", "wrong", "bogus", "unusable", "clear", "ta", "othername"]


def digest(words, der_of):
    der = subprocess.run(["openssl", *words], input=der_of, capture_output=True, check=True).stdout
    return subprocess.run(["openssl", "dgst", "-sha256", "-r"], input=der, capture_output=True,
                          check=True).stdout.split()[0].decode()


class Keys:
    """An authority, and a certificate of it for every host; its digests."""

    def __init__(self, folder, binary):
        subprocess.run([binary, "tls", "ca", folder / "ca", "good.h.example", "missing.h.example",
                        "ta.h.example", "verify.example"], check=True, capture_output=True)
        self.ca = folder / "ca" / "ca.pem"
        self.leaf = folder / "both.pem"
        leaf = folder / "ca" / "good.h.example.pem"
        self.leaf.write_text(leaf.read_text() + self.ca.read_text())
        for path in [folder, folder / "ca"]:
            path.chmod(0o755)
        pem = leaf.read_bytes()
        self.certificate = digest(["x509", "-outform", "der"], pem)
        public = subprocess.run(["openssl", "x509", "-noout", "-pubkey"], input=pem,
                                capture_output=True, check=True).stdout
        self.key = digest(["pkey", "-pubin", "-outform", "der"], public)
        self.authority = digest(["x509", "-outform", "der"], self.ca.read_bytes())


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    os.chmod(folder.parent, 0o755)
    return Keys(folder, Hayauma().binary)


def zone(keys, port):
    tlsa = {"good": f"3 1 1 {keys.key}", "wrong": f"3 1 1 {'0' * 64}", "bogus": f"3 1 1 {keys.key}",
            "unusable": f"1 1 1 {keys.key}", "clear": f"3 1 1 {keys.key}",
            "ta": f"2 0 1 {keys.authority}", "othername": f"2 0 1 {keys.authority}"}
    lines = []
    for number, host in enumerate(HOSTS):
        lines += [f"{host}.example. MX 10 {host}.h.example.",
                  f"{host}.h.example. A 127.0.0.{20 + number}"]
        if host in tlsa:
            lines.append(f"_{port}._tcp.{host}.h.example. TLSA {tlsa[host]}")
    # Below an unsigned zone TLSA records mean nothing.
    lines += ["plain.unsigned. NS ns.",
              "verify.example. A 127.0.0.21", "pinned.example. A 127.0.0.21",
              "badpin.example. A 127.0.0.21", "none.example. A 127.0.0.21",
              "encrypt.example. A 127.0.0.25", "only.example. A 127.0.0.21",
              "stranger.example. A 127.0.0.21", "may.example. A 127.0.0.21",
              "sealed.example. A 127.0.0.21", "sure.example. MX 10 good.h.example."]
    plain = f"plain.unsigned. A 127.0.0.21\n_{port}._tcp.plain.unsigned. TLSA 3 1 1 {'0' * 64}\n"
    return "\n".join(lines) + "\n", {"plain.unsigned": plain}


class SignedThenForged(Nsd):
    def _sign(self):
        super()._sign()
        path = self.folder / "zone-root"
        text = path.read_text()
        forged = re.sub(r"(_tcp\.bogus\.h\.example\.\s+\d+\s+IN\s+TLSA\s+3 1 1 )\S\S", r"\1aa",
                        text)
        assert forged != text
        path.write_text(forged)


@pytest.fixture(scope="module")
def site(keys):
    port = ports.free_port()
    records, zones = zone(keys, port)
    policy = (f'tls_policy = {{ "verify.example verify", "stranger.example verify", '
              f'"pinned.example fingerprint {keys.certificate.upper()}", '
              f'"badpin.example fingerprint {"1" * 64}", "none.example none", '
              f'"encrypt.example encrypt", "only.example dane-only", "may.example may", '
              f'"sealed.example encrypt", "sure.example dane-only" }}\n'
              f'tls {{ ca = "{keys.ca}" }}\nqueue {{ retry_min = 60s retry_max = 120s }}')
    with contextlib.ExitStack() as stack:
        dns = stack.enter_context(SignedThenForged(records, zones, signed=True))
        peers = {}
        for number, host in enumerate(HOSTS):
            peers[host] = stack.enter_context(
                SmtpPeer(f"127.0.0.{20 + number}", port, f"{host}.h.example",
                         tls=None if host == "clear" else keys.leaf))
        server = stack.enter_context(Hayauma(
            users=[SENDER], listen={"smtp": port}, options=dns.options() % port + "\n" + policy))
        yield server, peers


DELIVERED = [
    ("good", "good", "policy=dane verified=dane-ee"),
    ("ta", "ta", "policy=dane verified=dane-ta"),
    ("missing", "missing", r"tls=TLSv1.3 .*policy=dane(?! verified)"),
    ("unusable", "unusable", r"tls=TLSv1.3 .*policy=dane(?! verified)"),
    ("plain.unsigned", "missing", r"tls=TLSv1.3 .*policy=dane(?! verified)"),
    ("verify", "missing", "policy=verify verified=authority"),
    ("pinned", "missing", "policy=fingerprint verified=fingerprint"),
    ("none", "missing", "tls=none policy=none"),
    ("may", "missing", r"tls=TLSv1.3 .*policy=may(?! verified)"),
    ("sealed", "missing", r"tls=TLSv1.3 .*policy=encrypt(?! verified)"),
    ("sure", "good", "policy=dane-only verified=dane-ee"),
]
WAITING = [
    ("wrong", "wrong", "TLSA"),
    ("bogus", "bogus", "forged"),
    ("clear", "clear", "offers no STARTTLS"),
    ("othername", "othername", "mismatch"),
    ("badpin", "missing", "TLSA|certificate"),
    ("stranger", "missing", "mismatch"),
    ("encrypt", "clear", "offers no STARTTLS"),
    ("only", "missing", "no TLSA records"),
]


def send(server, name):
    domain = name if "." in name else f"{name}.example"
    assert server.send(SENDER, [f"u@{domain}"], MESSAGE % f"{name}@test") == {}
    return f"{name}@test"


@pytest.mark.parametrize("name, peer, told", DELIVERED, ids=[row[0] for row in DELIVERED])
def test_delivered(site, name, peer, told):
    server, peers = site
    before = len(peers[peer].messages)
    key = send(server, name)
    ports.wait_until(lambda: len(peers[peer].messages) > before, f"{name}:\n" + server.log())
    server.wait_for_why(key, told)


@pytest.mark.parametrize("name, peer, told", WAITING, ids=[row[0] for row in WAITING])
def test_waits(site, name, peer, told):
    """Nothing goes there, and the queue and the record say why."""
    server, peers = site
    before = len(peers[peer].messages)
    key = send(server, name)
    text = server.wait_for_why(key, told)
    assert len(peers[peer].messages) == before
    waiting = [r["rcpt_to"] for row in server.queue() for r in row["recipients"]]
    assert any(f"u@{name}" in rcpt_to for rcpt_to in waiting), text


def test_rows_are_checked():
    server = Hayauma(options='tls_policy = { "example.net maybe" }')
    try:
        done = server.run("check", check=False)
        assert done.returncode == 78 and "hayauma.conf:" in done.stderr + done.stdout
        assert "none of none, may" in done.stderr + done.stdout
    finally:
        server.remove()
