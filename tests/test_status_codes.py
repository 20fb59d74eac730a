"""Every reply has an enhanced status code of the registry and of its class (RFC 2034, 3463,
5248). Each client of hayauma.py watches that in all tests; here are the replies that the
others do not meet, and the proof that it watches."""
import smtplib

import pytest

import ports
from hayauma import LMTP, SMTP, Hayauma
from smtp_peer import SmtpPeer

HANAKO = "hanako@example.jp"
BEFORE = ["NOOP", "HELP", "HELP MAIL", "HELP NONSENSE", "VRFY", "VRFY hanako", "EXPN staff",
          "ETRN", "ETRN x.example", "MAIL FROM:<a@example.net>", "RCPT TO:<a@example.net>", "DATA",
          "BDAT", "BDAT 0", "BDAT 0 LAST", "RSET", "RSET x", "STARTTLS", "STARTTLS x", "AUTH",
          "AUTH PLAIN", "AUTH PLAIN =", "AUTH NONSENSE", "XCLIENT", "XCLIENT ADDR=x", "TURN",
          "SEND FROM:<a@example.net>", "NONSENSE", "", "x" * 3000, "NO\x00OP", "EHLO", "HELO",
          "EHLO a b c", "LHLO x.example"]
MAIL = ["MAIL", "MAIL FROM:", "MAIL FROM:<a@", "MAIL FROM:<a@example.net> SIZE=x",
        "MAIL FROM:<a@example.net> SIZE=99999999999", "MAIL FROM:<a@example.net> BODY=9BIT",
        "MAIL FROM:<a@example.net> RET=SOME", "MAIL FROM:<a@example.net> ENVID=+",
        "MAIL FROM:<a@example.net> BY=0;R", "MAIL FROM:<a@example.net> MT-PRIORITY=11",
        "MAIL FROM:<a@example.net> HOLDFOR=x", "MAIL FROM:<a@example.net> NONSENSE=1",
        "MAIL FROM:<a@example.net> REQUIRETLS", "MAIL FROM:<a@example.net> AUTH=+",
        "MAIL FROM:<\u00e4@example.net>", "MAIL FROM:<a@example.net> RET=FULL RET=FULL"]
RCPT = ["RCPT", "RCPT TO:", "RCPT TO:<a@", "RCPT TO:<nobody@example.jp>",
        "RCPT TO:<a@elsewhere.example>", "RCPT TO:<a@[nonsense]>", "RCPT TO:<@a,@b:c@d.example>",
        "RCPT TO:<hanako@example.jp> NOTIFY=SOMETIMES", "RCPT TO:<hanako@example.jp> ORCPT=x",
        "RCPT TO:<hanako@example.jp> NONSENSE", "RCPT TO:<\u00e4@example.jp>", "DATA",
        "MAIL FROM:<b@example.net>", "EXPN staff", "RCPT TO:<hanako@example.jp>",
        "RCPT TO:<hanako@example.jp> NOTIFY=NEVER"]


def say(client, verb):
    """The code of the reply, and of what follows where it asks for more."""
    client.asked = verb.split(" ")[0].lower() or "empty"
    client.send(verb.encode() + b"\r\n")
    codes = [client.getreply()[0]]
    if codes[0] in (334, 354):
        client.send(b"*\r\n" if codes[0] == 334 else b"x\r\n.\r\n")
        codes.append(client.getreply()[0])
    return codes


def conversation(client, opening, verbs):
    """Says them all, on a new connection wherever the server has ended one; the codes seen."""
    seen = set()
    for verb in [*verbs, "QUIT"]:
        for _ in range(2):
            if not client.sock:
                client.connect(*client.at)
                for verb_before in opening:
                    say(client, verb_before)
            try:
                seen.update(say(client, verb))
                break
            except smtplib.SMTPServerDisconnected:
                continue  # the one before ended it
        else:
            raise AssertionError(f"no reply to {verb}")
    client.close()
    return seen


@pytest.mark.parametrize("kind", [SMTP, LMTP])
def test_replies_to_what_is_wrong(kind):
    options = 'relay_networks = { "192.0.2.0/24" }\n'
    with Hayauma(users=[HANAKO], options=options,
                 limits="connections_per_client = 0 errors_per_minute = 0") as server:
        client = kind("", local_hostname="client.example.net")
        client.at = "127.0.0.1", server.ports["smtp" if kind is SMTP else "lmtp"]
        hello = "EHLO x.example" if kind is SMTP else "LHLO x.example"
        seen = conversation(client, [], BEFORE)
        seen |= conversation(client, [hello], [*BEFORE, *MAIL])
        seen |= conversation(client, [hello, "MAIL FROM:<a@example.net>"], [*RCPT, "DATA"])
        assert {250, 354, 500, 501, 502, 503, 504, 550, 555} <= seen, seen


@pytest.mark.parametrize("reply", ["550 No such user", "550 4.1.1 No such user", "550 5.1.11 No",
                                   "550-5.1.1 No\r\n550 5.1.2 such user", "550 5.8.0 No",
                                   "250 Ok", "550 5.01.1 No"])
def test_a_reply_without_its_code_is_noticed(reply):
    port = ports.free_port()
    with SmtpPeer("127.0.0.11", port, replies={"RCPT": reply, "MAIL": "250 2.1.0 Ok"}), \
            SMTP("127.0.0.11", port, "client.example.net", 20) as client:
        client.ehlo()
        client.mail("a@example.net")
        with pytest.raises(AssertionError):
            client.rcpt("b@example.net")
        client.close()
