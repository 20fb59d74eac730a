"""What those who are known may do: accounts over their quota, users of this machine who
send as somebody else, servers that show a certificate."""
import hashlib
import os
import re
import ssl
import subprocess

import pytest

import ports
from hayauma import NOBODY, PASSWORD, Hayauma

HANAKO, JIRO = "hanako@example.jp", "jiro@example.jp"
MESSAGE = f"From: {HANAKO}\r\nTo: {JIRO}\r\nSubject: hello\r\n\r\nhello\r\n"


def context(certificate=None):
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if certificate:
        made.load_cert_chain(certificate)
    return made


def test_postmaster_is_told_of_an_account_over_its_quota():
    with Hayauma(users=[HANAKO, JIRO], listen={"submission": 0}, tls=True,
                 options="auth { recipients_per_hour = 2 recipients_per_day = 5 }") as server:
        with server.smtp("submission") as client:
            client.starttls(context=context())
            client.login(HANAKO, PASSWORD)
            assert client.sendmail(HANAKO, [JIRO, HANAKO], MESSAGE) == {}
            for _ in range(3):
                client.mail(HANAKO)
                client.rcpt(JIRO)
                code, text = client.docmd("DATA")
                assert code == 450 and b"Too many recipients in one hour" in text
                client.rset()
        told = server.wait_for_messages("postmaster@example.jp", 1)
        assert len(told) == 1
        text = told[0].decode()
        assert f"The account {HANAKO} may send to 2 recipients an hour and 5 a day" in text
        assert "Auto-Submitted: auto-generated" in text and "Return-Path: <>" in text
        assert "notice_not_sent" not in server.log()
        assert server.log().count("account_over_quota") == 1


@pytest.fixture(scope="module", name="local")
def server_with_local_users():
    with Hayauma(users=[HANAKO], listen={"smtp": 0},
                 options='trusted_users = { "root", "daemon" }') as server:
        yield server


@pytest.mark.skipif(subprocess.run(["id", "-u"], capture_output=True, text=True,
                                   check=True).stdout != "0\n", reason="needs root")
@pytest.mark.parametrize("uid, mail_from, warning", [
    (0, "boss@example.jp", None),
    (1, "boss@example.jp", None),
    (NOBODY, None, None),
    (NOBODY, "nobody@example.jp", None),
    (NOBODY, "nobody+x@mx1.example.jp", None),
    (NOBODY, "boss@example.jp", "nobody set sender to boss@example.jp using -f"),
    (NOBODY, "nobody@elsewhere.example", "nobody set sender to nobody@elsewhere.example using -f"),
    (NOBODY, "<>", "nobody set sender to <> using -f"),
    (54321, "boss@example.jp", "uid-54321 set sender to boss@example.jp using -f")])
def test_who_sends_as_somebody_else_is_named(local, uid, mail_from, warning):
    count = len(local.messages(HANAKO))
    words = ["-f", mail_from] if mail_from else []
    subprocess.run([local.binary, "send", *words, "-c", local.config, HANAKO], check=True,
                   input=f"Subject: {uid} {mail_from}\n\nx\n", text=True, user=uid, group=uid,
                   extra_groups=[], timeout=180)
    local.wait_for_messages(HANAKO, count + 1)
    text = next(m.decode() for m in local.messages(HANAKO)
                if f"Subject: {uid} {mail_from}\n".encode() in m).replace("\n\t", " ")
    if warning:
        assert f"\nX-Authentication-Warning: mx1.example.jp: {warning}\n" in text
    else:
        assert "X-Authentication-Warning" not in text
    assert f"from uid {uid}" in text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_an_account_made_meanwhile_has_its_name(tmp_path):
    """With an /etc of the server's own, so that the machine's stays as it is."""
    etc = tmp_path / "etc"
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    tmp_path.chmod(0o755)
    server = Hayauma(users=[HANAKO], listen={"smtp": 0})
    program, server.binary = server.binary, tmp_path / "hayauma"
    server.binary.write_text(f"#!/bin/sh\nexec unshare -m sh -c 'mount --bind {etc} /etc && "
                             f"exec {program} \"$@\"' sh \"$@\"\n")
    server.binary.chmod(0o755)

    def warning(number):
        subprocess.run([program, "send", "-f", "boss@example.jp", "-c", server.config, HANAKO],
                       check=True, input=f"Subject: {number}\n\nx\n", text=True, user=54322,
                       group=54322, extra_groups=[], timeout=180)
        server.wait_for_messages(HANAKO, number)
        text = next(m.decode() for m in server.messages(HANAKO)
                    if f"Subject: {number}\n".encode() in m)
        return re.search(r"Warning: mx1\.example\.jp: (\S+)", text)[1]

    with server:
        assert warning(1) == "uid-54322"
        new = etc / "passwd.new"
        new.write_text((etc / "passwd").read_text() + "sachiko:x:54322:54322::/:/bin/sh\n")
        new.rename(etc / "passwd")
        numbers = iter(range(2, 100))
        ports.wait_until(lambda: warning(next(numbers)) == "sachiko", "her name is known", 20, 0.5)


def test_a_certificate_lets_a_server_relay(tmp_path):
    tmp_path.chmod(0o755)
    ca, other = tmp_path / "ca", tmp_path / "other"
    maker = Hayauma()
    for folder in (ca, other):
        maker.run("tls", "ca", str(folder), "mx2.example.jp", "relay.example.net")
    maker.run("tls", "ca", str(ca), "mx3.example.jp")
    maker.run("tls", "self-signed", "alone.example.jp", "--out", str(tmp_path / "alone.pem"))
    maker.remove()
    ca.chmod(0o755)

    def fingerprint(path):
        pem = path.read_text()
        begin = pem.index("-----BEGIN CERTIFICATE")
        end = pem.index("-----END CERTIFICATE-----", begin) + 25
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[begin:end])).hexdigest().upper()

    def code(certificate, number):
        with server.smtp() as client:
            client.starttls(context=context(certificate))
            client.ehlo()
            client.mail(f"{number}@example.org")
            return client.rcpt("somebody@elsewhere.example")[0]

    one, three = ca / "mx2.example.jp.pem", ca / "mx3.example.jp.pem"
    stranger, alone = other / "mx2.example.jp.pem", tmp_path / "alone.pem"
    server = Hayauma(listen={"smtp": 0}, tls=True,
                     options='smart_host = "[127.0.0.1]:9"\n'
                     'relay_networks = { "192.0.2.0/24" }\n'
                     f'relay_certificates = {{ "relay.example.net", "{fingerprint(alone)}" }}')
    server.config.write_text(server.config.read_text().replace(
        "tls { ", f'tls {{ client_ca = "{ca}/ca.pem" '))
    with server:
        assert [code(who, number) for number, who in enumerate((one, three, stranger, alone, None))
                ] == [250, 550, 550, 250, 550]
        with server.smtp() as client:
            client.starttls(context=context(one))
            client.sendmail("a@example.org", ["somebody@elsewhere.example"],
                            "Message-ID: <by@certificate>\r\n\r\nx\r\n")
        server.wait_for_why("<by@certificate>", "relay_certificates")
        text = server.config.read_text()
        server.config.write_text(text.replace('"relay.example.net"', '"*"'))
        server.reload()
        ports.wait_until(lambda: code(three, 9) == 250, "the new rule counts", 20, 0.3)
        assert code(stranger, 9) == 550
