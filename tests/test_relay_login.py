"""We log in to a smart host: the host is another Hayauma, by each mechanism that
both know, and one of ill will."""
import base64
import contextlib
import hashlib
import hmac
import os
import random
import subprocess

import pytest

import ports
from hayauma import PASSWORD, Hayauma
from smtp_peer import SmtpPeer

ACCOUNT = "site@hub.example"
MECHANISMS = [("SCRAM-SHA-256-PLUS", "submission"), ("SCRAM-SHA-256", "submission"),
              ("SCRAM-SHA-1", "submission"), ("PLAIN", "submission"), ("LOGIN", "submission")]
MESSAGE = "Message-ID: <%s@test>\r\nSubject: up\r\n\r\nHello\r\n"


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ca")
    folder.parent.chmod(0o755)
    folder.chmod(0o755)
    subprocess.run([Hayauma().binary, "tls", "ca", folder / "ca", "hub.example"], check=True,
                   capture_output=True)
    (folder / "ca").chmod(0o755)
    return folder / "ca"


def sha1_verifier():
    """Of PASSWORD, as RFC 5802 section 3 has it: what nobody makes any more."""
    def text(octets):
        return base64.b64encode(octets).decode()
    salt = b"saltsaltsaltsalt"
    salted = hashlib.pbkdf2_hmac("sha1", PASSWORD.encode(), salt, 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha1")
    stored_key = hashlib.sha1(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha1")
    return f"4096,{text(salt)},{text(stored_key)},{text(server_key)}"


@pytest.fixture(scope="module")
def hub(ca):
    """The smart host, which takes mail only from who has logged in."""
    names = [f"{m.lower()}@hub.example" for m, _ in MECHANISMS if m != "SCRAM-SHA-1"]
    server = Hayauma("hub.example", ["hub.example"], users=[ACCOUNT, *names],
                     listen={"submission": 0, "submissions": 0, "smtp": 0},
                     options=f'tls {{ certificate = "{ca}/hub.example.pem" }}\n'
                     'auth { mechanisms = { "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1", '
                     '"PLAIN", "LOGIN" } }')
    server.add_user("scram-sha-1@hub.example")
    users = server.folder / "users"
    users.write_text(users.read_text().rstrip("\n") + f" scram-sha-1={sha1_verifier()}\n")
    with server:
        yield server


@contextlib.contextmanager
def site(ca, port, login, policy="verify match=hub.example", host="127.0.0.1"):
    server = Hayauma(options=f'smart_host = "[{host}]:{port}"\n'
                     f'tls_policy = {{ "[{host}] {policy}" }}\ntls {{ ca = "{ca}/ca.pem" }}\n')
    logins = server.folder / "relay_logins"
    logins.write_text(f"# smart host\n[{host}]:{port} {login}\n")
    logins.chmod(0o600)
    with server.config.open("a") as config:
        config.write(f'auth {{ relay_logins = "{logins}" }}\n')
    with server:
        yield server


def send(server, key):
    assert server.send("hanako@example.jp", ["taro@hub.example"], MESSAGE % key) == {}
    return f"{key}@test"


@pytest.mark.parametrize("mechanism, listener", MECHANISMS)
def test_each_mechanism(ca, hub, mechanism, listener):
    more = "" if mechanism.endswith("PLUS") else f" mechanisms={mechanism}"
    with site(ca, hub.ports[listener],
              f'{mechanism.lower()}@hub.example "{PASSWORD}"{more}') as server:
        assert server.send(f"{mechanism.lower()}@hub.example", [ACCOUNT], MESSAGE % mechanism) == {}
        server.wait_for_why(f"{mechanism}@test", f"verified=authority login={mechanism}(?!-)")
        hub.wait_for_why(f"{mechanism}@test", f"{mechanism.lower()}@hub.example")
        assert PASSWORD not in server.log(10000)
        assert PASSWORD not in server.why(f"{mechanism}@test")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: port 465")
def test_a_smart_host_that_begins_with_tls(ca):
    """Port 465 (RFC 8314): no greeting before the handshake, none of STARTTLS."""
    host = "127.%d.%d.65" % (random.randrange(1, 255), random.randrange(256))
    made = Hayauma("hub.example", ["hub.example"], users=[ACCOUNT],
                   listen={"smtp": 0, "submissions": 0},
                   options=f'tls {{ certificate = "{ca}/hub.example.pem" }}\n')
    made.config.write_text(made.config.read_text().replace(
        f"submissions://127.0.0.1:{made.ports['submissions']}", f"submissions://{host}:465"))
    with made as far:
        with site(ca, 465, f'{ACCOUNT} "{PASSWORD}"', host=host) as server:
            assert server.send(ACCOUNT, [ACCOUNT], MESSAGE % "implicit") == {}
            server.wait_for_why("implicit@test", "verified=authority login=SCRAM-SHA-256-PLUS")
            far.wait_for_messages(ACCOUNT, 1)
            assert "service=submissions" in far.log()


def test_wrong_password_and_the_right_one_after_all(ca, hub):
    """The mail waits; a new file is read by itself, and then it goes."""
    with site(ca, hub.ports["submission"], f"{ACCOUNT} wrong") as server:
        assert server.send(ACCOUNT, [ACCOUNT], MESSAGE % "wrong") == {}
        server.wait_for_why("wrong@test", "refused our login: 535")
        assert server.queue()
        path = server.folder / "relay_logins"
        path.write_text(path.read_text().replace("wrong", f'"{PASSWORD}"'))

        def gone():
            server.run("queue", "retry", check=False)
            return not server.queue()
        ports.wait_until(gone, "delivered with the right password", 30, 1)


@pytest.mark.parametrize("policy, told", [
    ("may", "must be sure of it"), ("verify", "mismatch"), ("encrypt", "must be sure of it")])
def test_no_password_for_strangers(ca, hub, policy, told):
    before = hub.log(10000).count("service=submission")
    with site(ca, hub.ports["submission"], f'{ACCOUNT} "{PASSWORD}"', policy) as server:
        key = send(server, f"stranger-{policy}")
        server.wait_for_why(key, told)
    assert hub.log(10000).count("service=submission") == before


@pytest.mark.parametrize("auth, told", [
    ("235 2.7.0 anything is fine", "without proving"),
    ("334 bm9uc2Vuc2U=", "no message of this mechanism"),
    ("334 !!", "not base64"),
    ("535 5.7.8 no", "refused our login: 535")])
def test_hosts_of_ill_will(ca, tmp_path, auth, told):
    leaf = tmp_path / "both.pem"
    leaf.write_text((ca / "hub.example.pem").read_text() + (ca / "ca.pem").read_text())
    with SmtpPeer("127.0.0.1", ports.free_port(), tls=leaf, replies={"AUTH": auth},
                  offers=("AUTH SCRAM-SHA-256",)) as peer, \
            site(ca, peer.port, f'{ACCOUNT} "{PASSWORD}"') as server:
        server.wait_for_why(send(server, "ill"), told)
        assert not peer.messages
        assert not any(PASSWORD in command for command in peer.commands)


