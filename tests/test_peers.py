"""The peers themselves, so that a failure of theirs is not taken for ours."""
import smtplib

import ports
from postfix import Postfix


def test_two_postfixes_pass_a_message():
    with Postfix("b.example.net", domains=["example.net"]) as receiver, \
            Postfix("a.example.net", relay_to=receiver.port) as giver:
        with smtplib.SMTP("127.0.0.1", giver.port, timeout=20) as client:
            client.sendmail("a@example.org", ["b@example.net"],
                            "Subject: hello\r\n\r\nfrom one to the other\r\n")
        messages = ports.wait_until(receiver.messages, "the message arrives:\n" + giver.log())
        assert messages[0]["Subject"] == "hello"
        assert messages[0]["Delivered-To"] == "b@example.net"
        ports.wait_until(giver.is_idle, "the first one's queue is empty")
