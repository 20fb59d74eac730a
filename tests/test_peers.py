"""The peers themselves, so that a failure of theirs is not taken for ours."""
import imaplib
import smtplib

import ports
import pytest
from dovecot import PASSWORD, Dovecot
from exim import Exim
from opensmtpd import Opensmtpd
from postfix import Postfix
from sendmail import Sendmail

TEXT = "Subject: hello\r\n\r\nfrom one to the other\r\n"


def send(port):
    with smtplib.SMTP("127.0.0.1", port, timeout=180) as client:
        client.sendmail("a@example.org", ["b@example.net"], TEXT)


def test_two_postfixes_pass_a_message():
    with Postfix("b.example.net", domains=["example.net"]) as receiver, \
            Postfix("a.example.net", relay_to=receiver.port) as giver:
        send(giver.port)
        messages = ports.wait_until(receiver.messages, "the message arrives:\n" + giver.log())
        assert messages[0]["Subject"] == "hello"
        assert messages[0]["Delivered-To"] == "b@example.net"
        ports.wait_until(giver.is_idle, "the first one's queue is empty")


@pytest.mark.parametrize("server", [Exim, Opensmtpd, Sendmail], ids=lambda server: server.name)
def test_it_passes_a_message_on(server):
    with Postfix("b.example.net", domains=["example.net"]) as receiver, \
            server(relay_to=receiver.port) as giver:
        send(giver.port)
        ports.wait_until(receiver.messages, f"the message arrives:\n{giver.log()}")


@pytest.mark.parametrize("server", [Exim, Opensmtpd], ids=lambda server: server.name)
def test_it_has_mailboxes(server):
    with server(domains=["example.net"]) as receiver:
        send(receiver.port)
        ports.wait_until(receiver.mail_files, f"the message arrives:\n{receiver.log()}")


def test_dovecot_has_mailboxes():
    with Dovecot() as server:
        with smtplib.LMTP("127.0.0.1", server.port) as client:
            client.sendmail("a@example.org", ["b@example.net"], TEXT)
        client = imaplib.IMAP4("127.0.0.1", server.imap_port)
        client.login("b@example.net", PASSWORD)
        assert client.select("INBOX")[1] == [b"1"]
        client.logout()
