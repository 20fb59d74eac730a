"""Other mail programs in both directions at once: a message goes from one Hayauma
through a Postfix, Exim, OpenSMTPD or sendmail to another, with octets above 127,
UTF-8 addresses, chunks and notifications as far as the peer offers them. And the
clients that people send with."""
import email
import smtplib
import socket
import subprocess

import pytest

import ports
from exim import Exim
from hayauma import PASSWORD, Hayauma
from opensmtpd import Opensmtpd
from postfix import Postfix
from sendmail import Sendmail
from test_edge import dial, talk
from test_smtp_breadth import BINARY, NO_LINES, chunk, leaf, report_of, say, send_binary

HANAKO, TARO = "hanako@example.jp", "taro@example.jp"
BODY = "早馬が来た\r\n.\r\n..\r\nend\r\n"
MESSAGE = f"From: <{HANAKO}>\r\nTo: <{TARO}>\r\nSubject: eight bits\r\nMIME-Version: 1.0\r\n" \
    f"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{BODY}"
OPTIONS = {"exim": "dsn_advertise_hosts = *\nchunking_advertise_hosts = *\n"
                   "smtputf8_advertise_hosts = *\nlog_selector = +all\n"}
PEERS = [Postfix, Exim, Opensmtpd, Sendmail]


def name_of(peer):
    return peer.__name__.lower()


def offers(port):
    with smtplib.SMTP("127.0.0.1", port, timeout=180) as client:
        client.ehlo("client.example.net")
        return client.esmtp_features


def first_host(peer_port):
    """A Hayauma that gives all it has to the peer."""
    return Hayauma(hostname="first.example.net", domains=("first.example.net",),
                   options=f'smart_host = "[127.0.0.1]:{peer_port}"\n')


def text_of(message):
    return email.message_from_bytes(message).get_payload(decode=True).decode() \
        .replace("\r\n", "\n").rstrip("\n")


def through(peer, first, last, has):
    """What the three of them do with one message."""
    with dial(first) as client:
        replies = say(client, "EHLO client.example.net",
                      f"MAIL FROM:<{HANAKO}> BODY=8BITMIME ENVID=p1",
                      f"RCPT TO:<{TARO}> NOTIFY=SUCCESS ORCPT=rfc822;first@example.net")
        assert [r[:3] for r in replies] == ["250"] * 3, replies
        assert chunk(client, MESSAGE.encode()).startswith("250")
    message = last.wait_for_messages(TARO, 1, timeout=60)[0]
    assert text_of(message) == BODY.replace("\r\n", "\n").rstrip("\n"), peer.log()
    hops = [" ".join(h.split()) for h in email.message_from_bytes(message).get_all("Received")]
    assert len(hops) == 3 and "by mx1.example.jp" in hops[0] and "by first.example" in hops[2]
    fields = report_of(last.wait_for_messages(HANAKO, 1, timeout=60)[0])
    # Without DSN on the way, whoever hands it on last to one without tells of it.
    assert fields["action"] == ("delivered" if "dsn" in has else "relayed"), fields
    assert fields["original-envelope-id"] == "p1", fields
    assert fields["original-recipient"].replace(" ", "") == "rfc822;first@example.net", fields


def utf8_through(first, last):
    with dial(first) as client:
        replies = say(client, "EHLO client.example.net",
                      "MAIL FROM:<送信者@example.net> SMTPUTF8 BODY=8BITMIME",
                      f"RCPT TO:<{TARO}> NOTIFY=NEVER")
        assert [r[:3] for r in replies] == ["250"] * 3, replies
        assert chunk(client, "Subject: 早馬\r\n\r\nutf8\r\n".encode()).startswith("250")
    got = last.wait_for_messages(TARO, 2, timeout=60)[1]
    assert "Return-Path: <送信者@example.net>".encode() in got and "早馬".encode() in got


def binary_through(first, last, count):
    with dial(first) as client:
        replies = send_binary(client, TARO, BINARY % (b"mixed", NO_LINES))
        assert [r[:3] for r in replies] == ["250"] * 3, replies
    got = last.wait_for_messages(TARO, count, timeout=60)[count - 1]
    assert leaf(email.message_from_bytes(got), 1) == NO_LINES


@pytest.mark.parametrize("server", PEERS, ids=name_of)
def test_through(server):
    with Hayauma(users=[HANAKO, TARO]) as last:
        more = {"options": OPTIONS[name_of(server)]} if name_of(server) in OPTIONS else {}
        with server(relay_to=last.ports["smtp"], **more) as peer:
            has = offers(peer.port)
            with first_host(peer.port) as first:
                through(peer, first, last, has)
                if "smtputf8" in has:
                    utf8_through(first, last)
                binary_through(first, last, 3 if "smtputf8" in has else 2)
            if name_of(server) == "exim":  # which logs who used chunks, as it got and gave them
                assert "chunking" in has
                lines = [line for line in peer.log().splitlines() if " K " in line]
                for arrow in (" <= ", " => "):
                    assert any(arrow in line for line in lines), peer.log()


def test_msmtp():
    with Hayauma(users=[HANAKO, TARO], tls=True,
                 listen={"smtp": 0, "submission": 0}) as server:
        done = subprocess.run(
            ["msmtp", "--host=127.0.0.1", f"--port={server.ports['submission']}", "--tls=on",
             "--tls-certcheck=off", "--tls-trust-file=", "--auth=plain", f"--user={HANAKO}",
             f"--passwordeval=echo {PASSWORD}", f"--from={HANAKO}", "--domain=client.example.net",
             "--dsn-notify=success", "--dsn-return=headers", TARO],
            input=MESSAGE.replace("\r\n", "\n").encode(), capture_output=True, timeout=180,
            check=False)
        assert done.returncode == 0, done.stderr
        assert "早馬".encode() in server.wait_for_messages(TARO, 1)[0]
        assert report_of(server.wait_for_messages(HANAKO, 1)[0])["action"] == "delivered"


def test_what_we_send_has_no_bare_line_ends():
    """What came with NUL by option, or as binary, leaves as lines, byte for byte."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hop = f'smart_host = "[127.0.0.1]:{listener.getsockname()[1]}"\n'
        with Hayauma(users=[TARO], options=hop) as server, dial(server) as client:
            send_binary(client, "x@far.example", BINARY % (b"mixed", NO_LINES))
            listener.settimeout(180)
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"220 sink\r\n")
                talk(peer, b"", rb"EHLO .*\r\n")
                said = talk(peer, b"250-sink\r\n250 8BITMIME\r\n", rb"MAIL .*\r\n")
                talk(peer, b"250 ok\r\n", rb"RCPT .*\r\n")
                talk(peer, b"250 ok\r\n", rb"DATA\r\n")
                said = talk(peer, b"354 go on\r\n", rb"\r\n\.\r\n")
                peer.sendall(b"250 ok\r\n")
            assert b"\0" not in said
            rest = said.replace(b"\r\n", b"")
            assert b"\r" not in rest and b"\n" not in rest
