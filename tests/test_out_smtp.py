"""How a message leaves: as the next host takes it. BDAT, re-encoding for hosts without
8BITMIME or BINARYMIME, what needs SMTPUTF8, connections that are used again."""
import contextlib
import email
import email.policy
import re

import pytest

import ports
from hayauma import Hayauma
from smtp_peer import SmtpPeer

SENDER, TO = "hanako@example.jp", "u@far.example"
TEXT = "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" \
       "Content-Transfer-Encoding: 8bit\r\n\r\n早馬\r\n".encode()
BINARY = b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: image/x\r\n" \
         b"Content-Transfer-Encoding: binary\r\n\r\n" + bytes(range(256)) * 3
BASE = ("PIPELINING", "SIZE 0")


@contextlib.contextmanager
def site(offers, options="", **peer_options):
    port = ports.free_port()
    with Hayauma(users=[SENDER], options=f'smart_host = "[127.0.0.11]:{port}"\n{options}') \
            as server, SmtpPeer("127.0.0.11", port, offers=offers, **peer_options) as peer:
        yield server, peer


def submit(server, octets, mail="", rcpt_to=TO, bdat=False):
    with server.smtp() as client:
        client.ehlo()
        client.command_encoding = "utf-8"
        if "BINARYMIME" in mail and not client.has_extn("binarymime"):
            pytest.skip("this server takes no binary messages")
        code, said = client.docmd(f"MAIL FROM:<{SENDER}>", mail)
        assert code == 250, said
        assert client.docmd(f"RCPT TO:<{rcpt_to}>")[0] == 250
        if bdat:
            client.send(b"BDAT %d LAST\r\n" % len(octets) + octets)
            code, said = client.getreply()
        else:
            code, said = client.data(octets)
        assert code == 250, said


def taken(peer, count=1):
    ports.wait_until(lambda: len(peer.messages) >= count, f"{count} messages")
    return [email.message_from_bytes(m.octets.replace(b"\r\n", b"\n"),
                                     policy=email.policy.default)
            for m in peer.messages]


def test_the_first_message_leaves_with_its_envelope():
    with site((*BASE, "CHUNKING", "8BITMIME")) as (server, peer):
        submit(server, TEXT, "BODY=8BITMIME")
        assert taken(peer)[0].get_content() == "早馬\n"
        assert peer.messages[0].bdat and "BODY=8BITMIME" in peer.messages[0].mail
        ports.wait_until(lambda: not server.queue(), "the connection is idle")
        submit(server, b"Subject: y\r\n\r\n" + b"z" * 70 + b"\r\n")
        taken(peer, 2)
        assert not peer.messages[1].bdat and peer.connections == 1  # RFC 1047: see smtp_client.h


def test_bdat_with_a_refused_recipient():
    with site((*BASE, "CHUNKING"), replies={"RCPT": "550 5.1.1 nobody"}) as (server, _):
        submit(server, b"Subject: x\r\n\r\nx\r\n")
        assert b"Status: 5.1.1" in server.wait_for_messages(SENDER, 1)[0]


@pytest.mark.parametrize("size", [10, 300000])
def test_8bit_text_is_encoded_for_a_host_without(size):
    """In memory, and from the file of a large one."""
    text = "\r\n".join(["早馬の手紙" * 5] * (size // 77 + 1)) + "\r\n"
    with site(BASE) as (server, peer):
        submit(server, TEXT + text.encode(), "BODY=8BITMIME")
        message = taken(peer)[0]
        assert "BODY=" not in peer.messages[0].mail and peer.messages[0].octets.isascii()
        assert message["Content-Transfer-Encoding"] == "quoted-printable"
        assert message.get_content() == ("早馬\r\n" + text).replace("\r\n", "\n")
        assert "converted" in server.wait_for_why(TO, "converted")


@pytest.mark.parametrize("offers, is_chunked", [
    (BASE, False), ((*BASE, "8BITMIME"), False), ((*BASE, "8BITMIME", "CHUNKING"), True)])
def test_binary_goes_encoded(offers, is_chunked):
    with site(offers) as (server, peer):
        submit(server, BINARY, "BODY=BINARYMIME", bdat=True)
        message = taken(peer)[0]
        assert peer.messages[0].bdat == is_chunked
        assert "BINARYMIME" not in peer.messages[0].mail
        assert message["Content-Transfer-Encoding"] == "base64"
        assert message.get_content() == bytes(range(256)) * 3


def test_what_is_signed_is_not_encoded_without_leave():
    signed = b"DKIM-Signature: v=1; a=rsa-sha256\r\n" + TEXT
    with site(BASE) as (server, peer):
        submit(server, signed, "BODY=8BITMIME")
        report = server.wait_for_messages(SENDER, 1)[0]
        assert b"Status: 5.6.1" in report and b"signature" in report
        assert not peer.messages
    with site(BASE, "downgrade_signed = yes") as (server, peer):
        submit(server, signed, "BODY=8BITMIME")
        assert taken(peer)[0].get_content() == "早馬\n"


def test_internationalized_mail_needs_a_host_for_it():
    with site((*BASE, "8BITMIME")) as (server, peer):
        submit(server, TEXT, "SMTPUTF8 BODY=8BITMIME", rcpt_to="早馬@far.example")
        assert b"5.6.7" in server.wait_for_messages(SENDER, 1)[0]
        assert not peer.messages
    with site((*BASE, "8BITMIME", "SMTPUTF8")) as (server, peer):
        submit(server, TEXT, "SMTPUTF8 BODY=8BITMIME", rcpt_to="早馬@far.example")
        taken(peer)
        assert "SMTPUTF8" in peer.messages[0].mail and peer.messages[0].recipients == [
            "早馬@far.example"]


@pytest.mark.parametrize("reply", [
    "250", "250-2.0.0 first\r\n250-2.0.0 second\r\n250 2.0.0 taken", "250 " + "long " * 400,
    "299 2.0.0 whatever", "250 2.0.0 \x01\x7f odd"])
def test_odd_replies_are_taken_for_what_they_are(reply):
    with site(BASE, replies={".": reply}) as (server, peer):
        submit(server, b"Subject: x\r\n\r\nx\r\n")
        taken(peer)
        ports.wait_until(lambda: not server.queue(), "nothing is left:\n" + server.log())
        assert server.messages(SENDER) == []


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "."])
def test_421_at_any_step_is_for_later(step):
    with site(BASE, "queue { retry_min = 1s retry_max = 2s }",
              replies={step: "421 4.3.2 going down"}) as (server, peer):
        submit(server, b"Subject: x\r\n\r\nx\r\n")
        ports.wait_until(lambda: [r for row in server.queue() for r in row["recipients"]
                                  if r["attempts"]], "deferred")
        assert server.messages(SENDER) == []
        del peer.replies[step]
        taken(peer)


def test_an_idle_connection_is_used_again_and_ends():
    with site(BASE) as (server, peer):
        for number in range(3):
            submit(server, b"Subject: x\r\n\r\nx\r\n")
            taken(peer, number + 1)
            ports.wait_until(lambda: not server.queue(), "the connection is idle")
        assert peer.connections == 1
        ports.wait_until(lambda: peer.commands[-1] == "QUIT", "it is ended politely", 10)
        submit(server, b"Subject: x\r\n\r\nx\r\n")
        taken(peer, 4)
        assert peer.connections == 2


@pytest.mark.parametrize("by, offers, status", [
    ("BY=600;R", (*BASE, "DELIVERBY"), None), ("BY=600;R", BASE, "5.3.3")])
def test_what_is_to_be_delivered_by_a_time(by, offers, status):
    """RFC 2852: passed on; given back where the next host cannot and that was asked."""
    with site(offers) as (server, peer):
        submit(server, b"Subject: x\r\n\r\nx\r\n", by)
        if status:
            assert f"Status: {status}".encode() in server.wait_for_messages(SENDER, 1)[0]
            assert not peer.messages
            return
        taken(peer)
        left = re.search(r" BY=(\d+);R", peer.messages[0].mail)
        assert (left and 500 < int(left.group(1)) <= 600) if "DELIVERBY" in offers else not left


@pytest.mark.parametrize("by, notify, offers, is_told", [
    ("BY=600;N", "", BASE, True),
    ("BY=600;N", "NOTIFY=DELAY", (*BASE, "DSN"), True),
    ("BY=600;N", "NOTIFY=FAILURE", BASE, False),
    ("BY=600;N", "NOTIFY=NEVER", BASE, False),
    ("BY=600;N", "", (*BASE, "DELIVERBY"), False),
    ("BY=600;NT", "", (*BASE, "DELIVERBY", "DSN"), True),
    ("BY=600;RT", "NOTIFY=FAILURE", (*BASE, "DELIVERBY", "DSN"), True),
    ("BY=600;RT", "NOTIFY=NEVER", (*BASE, "DELIVERBY", "DSN"), False)])
def test_who_is_told_that_it_was_handed_on(by, notify, offers, is_told):
    """RFC 2852: with T, and with N where the next host keeps no time."""
    with site(offers) as (server, peer):
        with server.smtp() as client:
            client.ehlo()
            assert client.docmd(f"MAIL FROM:<{SENDER}>", by)[0] == 250
            assert client.docmd(f"RCPT TO:<{TO}>", notify)[0] == 250
            assert client.data(b"Subject: x\r\n\r\nx\r\n")[0] == 250
        taken(peer)
        left = re.search(r" BY=(\d+);(\w+)", peer.messages[0].mail)
        assert bool(left) == ("DELIVERBY" in offers)
        assert not left or left[2] == by[7:] and 500 < int(left[1]) <= 600
        if is_told:
            report = server.wait_for_messages(SENDER, 1)[0]
            assert b"\nAction: relayed\n" in report, report
        ports.wait_until(lambda: not server.queue(), "the queue is empty")
        assert len(server.messages(SENDER)) == is_told


def test_mail_that_requires_tls_goes_nowhere_without():
    """RFC 8689: the next host offers none, so the mail comes back, without its text."""
    port = ports.free_port()
    with Hayauma(users=[SENDER], tls=True, options=f'smart_host = "[127.0.0.11]:{port}"') \
            as server, SmtpPeer("127.0.0.11", port, offers=BASE) as peer:
        with server.smtp() as client:
            client.starttls()
            client.ehlo()
            assert client.has_extn("requiretls")
            assert client.docmd(f"MAIL FROM:<{SENDER}>", "REQUIRETLS")[0] == 250
            assert client.docmd(f"RCPT TO:<{TO}>")[0] == 250
            assert client.data(b"Subject: x\r\n\r\nsecret\r\n")[0] == 250
        report = server.wait_for_messages(SENDER, 1)[0]
        assert b"Status: 5.7.10" in report and b"secret" not in report
        assert not peer.messages
        with server.smtp() as client:  # and other mail goes as ever
            client.sendmail(SENDER, [TO], "Subject: x\r\n\r\nopen\r\n")
        ports.wait_until(lambda: peer.messages, "it went")
