"""TLS as the server shows it: certificates by name, files that change, tickets
that any edge takes, clients that show a certificate of their own."""
import os
import socket
import ssl
import subprocess

import pytest

import ports
from hayauma import Hayauma

HANAKO = "hanako@example.jp"
LISTEN = {"smtp": 0, "submission": 0, "submissions": 0}


def openssl(*words):
    subprocess.run(["openssl", *map(str, words)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


def self_signed(path, name, days=2):
    """Certificate and key in one file."""
    key = path.with_suffix(".tmp")
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", days, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
            "-keyout", key, "-out", path)
    path.write_text(path.read_text() + key.read_text())


def context():
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


def shown(server, name=None, made=None, session=None):
    """(certificate as DER, session) that a client asking for `name` gets."""
    with socket.create_connection(("127.0.0.1", server.ports["submissions"]), 180) as wire:
        with (made or context()).wrap_socket(wire, server_hostname=name,
                                             session=session) as tls:
            tls.recv(1000)
            tls.sendall(b"QUIT\r\n")
            tls.recv(1000)
            return tls.getpeercert(True), tls.session, tls.session_reused


def names(der):
    pem = ssl.DER_cert_to_PEM_cert(der)
    return subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=pem,
                          text=True, capture_output=True, check=True).stdout


def check_probe(server):
    """What status says of listeners is what clients see."""
    rows = [row for row in server.rows("status") if row["name"].startswith("listener ")]
    ours, other = (f"{protocol}://127.0.0.1:{server.ports[protocol]}"
                   for protocol in ("submissions", "smtp"))
    told = {(row["name"], row["server_name"]): row for row in rows}
    for listener in (ours, other):
        for name in ("mx1.example.jp", "mail.example.com"):
            row = told["listener " + listener, name]
            assert row["certificate"] == name and row["tls"] == "TLSv1.3", row
            assert row["state"] == "ends soon" and 0 < row["days_left"] <= 2, row
    text = server.run("status").stdout
    assert f"listener {ours} ends soon for mx1.example.jp: TLSv1.3 " in text
    assert "listener" not in server.run("status", "--no-probe").stdout


def test_a_listener_that_nobody_serves_is_named():
    with Hayauma(listen={"smtp": 0, "imap": 0, "pop3": 0, "lmtp": 0}) as server:
        rows = {row["name"]: row for row in server.rows("status")}
        for protocol, port in server.ports.items():
            row = rows[f"listener {protocol}://127.0.0.1:{port}"]
            assert row["state"] == "ok" and "tls" not in row, row
        port = ports.free_port()
        server.config.write_text(server.config.read_text().replace(
            f"smtp://127.0.0.1:{server.ports['smtp']}", f"smtp://127.0.0.1:{port}"))
        assert f"listener smtp://127.0.0.1:{port} fails: nobody answers: Connection refused" \
            in server.run("status").stdout


def test_certificates_by_name_and_files_that_change(tmp_path):
    other = tmp_path / "other.pem"
    self_signed(other, "mail.example.com")
    os.chmod(tmp_path, 0o755)
    server = Hayauma(users=[HANAKO], listen=LISTEN, tls=True)
    config = server.config.read_text().replace("tls { ",
                                               f'tls {{ more_certificates = {{ "{other}" }} ')
    server.config.write_text(config)
    with server:
        assert "mx1.example.jp" in names(shown(server, "mx1.example.jp")[0])
        assert "mail.example.com" in names(shown(server, "mail.example.com")[0])
        assert "mx1.example.jp" in names(shown(server, "what.ever")[0])
        assert "mx1.example.jp" in names(shown(server)[0])
        edges = [row for row in server.rows("status") if row["name"].startswith("edge/")]
        assert edges and all(0 < row["certificate_days_left"] <= 2 for row in edges)
        check_probe(server)
        before = shown(server, "mail.example.com")[0]
        self_signed(other, "mail.example.com")
        ports.wait_until(lambda: shown(server, "mail.example.com")[0] != before,
                         "the new certificate is shown", 20, 0.5)
        now = shown(server, "mail.example.com")[0]
        other.write_text("nonsense")
        ports.wait_until(lambda: "certificates_not_read" in server.log(), "it is said", 20, 0.5)
        assert shown(server, "mail.example.com")[0] == now
        assert "certificate_ends" in server.log()  # in two days


def test_tickets_are_good_at_every_edge():
    with Hayauma(users=[HANAKO], listen=LISTEN, tls=True,
                 options="processes { edge = 4 }") as server:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            made = context()
            made.maximum_version = version
            session = shown(server, "mx1.example.jp", made)[1]
            for _ in range(12):  # one of four edges each time
                _, session, reused = shown(server, "mx1.example.jp", made, session)
                assert reused, version


@pytest.fixture(name="authority")
def make_authority(tmp_path):
    ca, key = tmp_path / "ca.pem", tmp_path / "ca.key"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=Our CA", "-keyout", key, "-out", ca)

    def sign(name, address):
        request, out = tmp_path / f"{name}.csr", tmp_path / f"{name}.pem"
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-subj", f"/CN={name}", "-keyout", tmp_path / f"{name}.key", "-out", request)
        extensions = tmp_path / f"{name}.ext"
        extensions.write_text(f"subjectAltName=email:{address}\n")
        openssl("x509", "-req", "-in", request, "-CA", ca, "-CAkey", key, "-CAcreateserial",
                "-days", "2", "-extfile", extensions, "-out", out)
        return out, tmp_path / f"{name}.key"
    return ca, sign


def test_clients_log_in_by_certificate(authority, tmp_path):
    ca, sign = authority
    os.chmod(tmp_path, 0o755)
    server = Hayauma(users=[HANAKO], listen=LISTEN, tls=True)
    server.config.write_text(server.config.read_text().replace("tls { ",
                                                               f'tls {{ client_ca = "{ca}" '))
    stranger = tmp_path / "stranger.pem"
    self_signed(stranger, "stranger")

    def login(certificate, key):
        made = context()
        if certificate:
            made.load_cert_chain(certificate, key)
        with server.smtp("submission") as client:
            client.ehlo()
            client.starttls(context=made)
            client.ehlo()
            if "EXTERNAL" not in client.esmtp_features["auth"]:
                return "not offered"
            code = client.docmd("AUTH", "EXTERNAL =")[0]
            return client.mail(HANAKO)[0] if code == 235 else code

    with server:
        assert login(*sign("hanako", HANAKO)) == 250
        assert login(None, None) == "not offered"
        assert login(stranger, stranger) == "not offered"
        assert login(*sign("eve", "eve@example.jp")) == 535


def test_half_open_handshakes_and_nonsense_cost_no_service():
    with Hayauma(users=[HANAKO], listen=LISTEN, tls=True,
                 options="processes { edge = 1 }") as server:
        held = []
        for _ in range(200):
            wire = socket.create_connection(("127.0.0.1", server.ports["submissions"]), 180)
            wire.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
            held.append(wire)
        for text in (b"EHLO x\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x00\x02" * 10):
            with socket.create_connection(("127.0.0.1", server.ports["submissions"]), 180) as wire:
                wire.sendall(text)
                wire.settimeout(180)
                while wire.recv(1000):
                    pass
        assert shown(server)[0]
        held[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            held[0].recv(1)  # this one has not even been given up
        for wire in held:
            wire.close()


def test_certificates_made_by_the_command(tmp_path):
    os.chmod(tmp_path, 0o755)
    server = Hayauma(users=[HANAKO], listen=LISTEN, tls=True)
    folder = tmp_path / "ca"
    server.run("tls", "ca", str(folder), "mx1.example.jp", "mail.example.jp")
    server.run("tls", "ca", str(folder), HANAKO)
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    assert server.run("tls", "ca", str(folder), HANAKO, check=False).returncode == 73  # is there
    os.chmod(folder, 0o755)
    server.config.write_text(server.config.read_text().replace(
        f'certificate = "{server.folder}/cert.pem" key = "{server.folder}/key.pem"',
        f'certificate = "{folder}/mx1.example.jp.pem" client_ca = "{folder}/ca.pem"'))
    strict = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    strict.load_cert_chain(folder / f"{HANAKO}.pem")
    with server:
        for name in ("mx1.example.jp", "mail.example.jp"):
            with socket.create_connection(("127.0.0.1", server.ports["submissions"]), 180) as wire:
                with strict.wrap_socket(wire, server_hostname=name) as tls:
                    tls.recv(1000)
                    tls.sendall(b"EHLO x\r\n")
                    tls.recv(4000)
                    tls.sendall(b"AUTH EXTERNAL =\r\n")
                    assert tls.recv(1000).startswith(b"235 ")


def test_requests_and_self_signed(tmp_path):
    server = Hayauma(listen=LISTEN, tls=True)
    try:
        out = tmp_path / "own.pem"
        server.run("tls", "self-signed", "mx1.example.jp", "--days", "30", "--out", str(out))
        assert "PRIVATE KEY" in out.read_text() and out.stat().st_mode & 0o777 == 0o600
        subprocess.run([server.binary, "tls", "csr", "mx1.example.jp", "mx2.example.jp"],
                       cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
        text = subprocess.run(["openssl", "req", "-noout", "-text", "-verify", "-in",
                               tmp_path / "mx1.example.jp.csr"], text=True, capture_output=True,
                              check=True).stdout
        assert "DNS:mx1.example.jp, DNS:mx2.example.jp" in text
        for wrong in ("a,DNS:b", "a b", ""):
            assert server.run("tls", "self-signed", wrong, "--out", str(tmp_path / "no"),
                              check=False).returncode == 65
    finally:
        server.remove()
