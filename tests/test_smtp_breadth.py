"""Extensions of SMTP from one end to the other: what MAIL and RCPT ask for is
done, and real clients and servers are understood."""
import email
import re
import shutil
import smtplib
import socket
import socketserver
import subprocess
import threading

import pytest

import ports
from hayauma import Hayauma
from postfix import Postfix
from test_edge import STRANGERS, any_certificate, dial, talk

HANAKO, TARO = "hanako@example.jp", "taro@example.jp"
MESSAGE = b"From: <hanako@example.jp>\r\nSubject: hello\r\n\r\n\xe6\x97\xa9\xe9\xa6\xac\r\n"


def say(connection, *lines):
    """Each line, and the last line of its reply."""
    return [talk(connection, line.encode() + b"\r\n", rb"(?m)^\d{3} .*\r\n")
            .decode().strip().splitlines()[-1] for line in lines]


def submit(server):
    """A session on the submission socket of local users."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(180)
    connection.connect(str(server.folder / "run" / "submit"))
    talk(connection, b"", rb"220 .*\r\n")
    return connection


def chunk(connection, octets):
    return talk(connection, b"BDAT %d LAST\r\n%s" % (len(octets), octets), rb"\r\n").decode()


class Sink(socketserver.ThreadingTCPServer):
    """Takes every message; what it was told, in `commands`."""
    daemon_threads, allow_reuse_address = True, True

    class Session(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 sink ESMTP\r\n")
            for raw in self.rfile:
                line = raw.decode().strip()
                self.server.commands.append(line)
                verb = line.split(" ")[0].upper()
                if verb == "EHLO":
                    self.wfile.write(self.server.offers)
                elif verb == "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    while self.rfile.readline() != b".\r\n":
                        pass
                    self.wfile.write(b"250 2.0.0 taken\r\n")
                    self.server.messages += 1
                elif verb == "QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                else:
                    self.wfile.write(b"250 ok\r\n")

    def __init__(self, port, offers=("sink", "PIPELINING", "8BITMIME")):
        self.commands, self.messages = [], 0
        self.offers = b"".join(b"250%c%s\r\n" % (b" "[0] if i + 1 == len(offers) else b"-"[0],
                                                 offer.encode())
                               for i, offer in enumerate(offers))
        super().__init__(("127.0.0.1", port), self.Session)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


def report_of(text):
    """The fields of a delivery status notification about one recipient."""
    status = re.search(r"Content-Type: message/(global-)?delivery-status.*?\n\n(.*?)\n--",
                       text.decode(), re.DOTALL)[2]
    return {name.lower(): value for name, value in re.findall(r"(?m)^([\w-]+): (.*)$", status)}


def test_success_is_told_to_who_asked():
    with Hayauma(users=[HANAKO, TARO]) as server, dial(server) as client:
        replies = say(client, "EHLO client.example.net",
                      f"MAIL FROM:<{HANAKO}> RET=FULL ENVID=letter-1",
                      f"RCPT TO:<{TARO}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Taro@example.jp")
        assert [r[:3] for r in replies] == ["250"] * 3, replies
        assert chunk(client, MESSAGE).startswith("250 2.0.0")
        assert b"Subject: hello" in server.wait_for_messages(TARO, 1)[0]
        fields = report_of(server.wait_for_messages(HANAKO, 1)[0])
        assert fields["action"] == "delivered" and fields["status"].startswith("2."), fields
        assert fields["original-envelope-id"] == "letter-1"
        assert fields["original-recipient"] == "rfc822; Taro@example.jp" or \
            fields["original-recipient"] == "rfc822;Taro@example.jp", fields
        assert len(server.messages(TARO)) == 1
        assert server.queue() == []


@pytest.mark.parametrize("offers, is_told", [(("sink",), True), (("sink", "DSN"), False)])
def test_success_behind_another_host(offers, is_told):
    with Sink(0, offers) as sink:
        hop = f'smart_host = "[127.0.0.1]:{sink.server_address[1]}"\n'
        with Hayauma(users=[HANAKO], options=hop) as server, dial(server) as client:
            say(client, "EHLO client.example.net", f"MAIL FROM:<{HANAKO}>",
                "RCPT TO:<x@far.example> NOTIFY=SUCCESS")
            assert chunk(client, b"Subject: x\r\n\r\nx\r\n").startswith("250")
            ports.wait_until(lambda: sink.messages, "the message is relayed")
            if is_told:
                fields = report_of(server.wait_for_messages(HANAKO, 1)[0])
                assert fields["action"] == "relayed", fields
            else:
                ports.wait_until(lambda: server.queue() == [], "the queue is empty")
                assert server.messages(HANAKO) == []
                assert any(c.endswith("NOTIFY=SUCCESS") for c in sink.commands), sink.commands


def test_a_message_waits_for_its_time():
    with Hayauma(users=[HANAKO, TARO]) as server, submit(server) as client:
        said = talk(client, b"EHLO local\r\n", rb"250 .*\r\n")
        assert re.search(rb"250-FUTURERELEASE 2592000 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\r\n", said)
        replies = say(client, f"MAIL FROM:<{HANAKO}> HOLDFOR=10", f"RCPT TO:<{TARO}>")
        assert [r[:3] for r in replies] == ["250"] * 2, replies
        message_id = chunk(client, b"Subject: later\r\n\r\nlater\r\n").split()[2]
        assert server.messages(TARO) == []
        assert len(server.queue()) == 1
        assert "hold_until=" in server.why(message_id)
        assert b"Subject: later" in server.wait_for_messages(TARO, 1)[0]
        ports.wait_until(lambda: server.queue() == [], "the queue is empty")


def test_etrn_has_the_queue_tried_again():
    port = ports.free_port()
    options = (f'relay_domains = {{ "far.example" }}\nsmart_host = "[127.0.0.1]:{port}"\n'
               'smtp { etrn = yes }\nqueue { retry_min = 1h retry_max = 2h }\n')
    with Hayauma(users=[HANAKO], options=options) as server, dial(server) as client:
        server.send(HANAKO, ["x@far.example"], "Subject: x\r\n\r\nx\r\n")
        waiting = ports.wait_until(server.queue, "it is in the queue")
        server.wait_for_why(waiting[0]["id"], "deferred")
        replies = say(client, "EHLO far.example", "ETRN elsewhere.example")
        assert replies[1].startswith("459"), replies
        with Sink(port) as sink:
            assert say(client, "ETRN far.example")[0].startswith("250")
            ports.wait_until(lambda: sink.messages, "the message is delivered")


def test_priority_is_passed_on():
    with Sink(0, ("sink", "MT-PRIORITY MIXER")) as sink:
        hop = f'smart_host = "[127.0.0.1]:{sink.server_address[1]}"\n'
        with Hayauma(users=[HANAKO], options=hop) as server, dial(server) as client:
            say(client, "EHLO client.example.net", f"MAIL FROM:<{HANAKO}> MT-PRIORITY=3",
                "RCPT TO:<x@far.example>")
            chunk(client, b"Subject: x\r\n\r\nx\r\n")
            ports.wait_until(lambda: sink.messages, "the message is relayed")
            assert any(c.startswith("MAIL") and "MT-PRIORITY=3" in c for c in sink.commands)


def test_who_speaks_out_of_turn_is_recorded():
    with Hayauma(users=[HANAKO], options=STRANGERS) as server, dial(server) as client:
        said = talk(client, b"EHLO x\r\nMAIL FROM:<>\r\n", rb"554 .*\r\n").decode()
        message_id = re.search(r"554 5\.5\.0 .*\((\w+)\)", said)[1]
        server.wait_for_why(message_id, "smtp.strict_turns")


def test_errors_count_over_all_edges():
    options = STRANGERS + "processes { edge = 2 }\nlimits { errors_per_minute = 40 errors = 100 }\n"
    with Hayauma(users=[HANAKO], options=options) as server:
        answers = []
        for _ in range(30):  # whichever edge takes them
            with socket.create_connection(("127.0.0.1", server.ports["smtp"]), 180) as client:
                answers.append(talk(client, b"", rb"\r\n"))
                if answers[-1].startswith(b"421 4.7.0"):
                    break
                for _ in range(3):
                    if b"421" in talk(client, b"NONSENSE\r\n", rb"(500|421) .*\r\n"):
                        break
        # 14 connections where counts are shared; 28 at least where each edge has its own.
        assert answers[-1].startswith(b"421 4.7.0") and len(answers) < 20, len(answers)


# Real clients and servers

def test_swaks():
    if not shutil.which("swaks"):
        pytest.fail("swaks is not installed: tools/install-packages")
    with Hayauma(users=[HANAKO], tls=True) as server:
        done = subprocess.run(["swaks", "--server", f"127.0.0.1:{server.ports['smtp']}", "--to",
                               HANAKO, "--from", "a@example.net", "--tls", "--helo", "a.example",
                               "--body", "早馬"], capture_output=True, text=True, timeout=180,
                              check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "早馬".encode() in server.wait_for_messages(HANAKO, 1)[0]


def test_curl(tmp_path):
    letter = tmp_path / "letter"
    letter.write_bytes(MESSAGE)
    with Hayauma(users=[HANAKO]) as server:
        done = subprocess.run(["curl", "-sS", f"smtp://127.0.0.1:{server.ports['smtp']}/a.example",
                               "--mail-from", "送信者@example.net", "--mail-rcpt", HANAKO,
                               "--upload-file", letter], capture_output=True, text=True,
                              timeout=180, check=False,
                              env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"})
        assert done.returncode == 0, done.stderr
        assert "早馬".encode() in server.wait_for_messages(HANAKO, 1)[0]


def test_postfix_gives_us_utf8_and_dsn():
    with Hayauma(users=[HANAKO, TARO]) as server, \
            Postfix("giver.example.net", relay_to=server.ports["smtp"]) as giver:
        with socket.create_connection(("127.0.0.1", giver.port), 180) as client:
            talk(client, b"", rb"220 .*\r\n")
            replies = say(client, "EHLO client.example.net",
                          "MAIL FROM:<hanako@example.jp> SMTPUTF8 BODY=8BITMIME ENVID=p1",
                          "RCPT TO:<taro@example.jp> NOTIFY=SUCCESS", "DATA")
            assert [r[:3] for r in replies] == ["250", "250", "250", "354"], replies
            talk(client, "Subject: 早馬\r\n\r\n早馬\r\n.\r\n".encode(), rb"250 .*\r\n")
        assert "早馬".encode() in server.wait_for_messages(TARO, 1)[0]
        assert report_of(server.wait_for_messages(HANAKO, 1)[0])["action"] == "delivered"


def test_postfix_takes_utf8_from_us():
    with Postfix("taker.example.net", domains=["example.net"]) as taker:
        hop = f'smart_host = "[127.0.0.1]:{taker.port}"\n'
        with Hayauma(users=[HANAKO], options=hop) as server, dial(server) as client:
            say(client, "EHLO client.example.net",
                f"MAIL FROM:<{HANAKO}> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<b@example.net>")
            chunk(client, "Subject: 早馬\r\n\r\n早馬\r\n".encode())
            messages = ports.wait_until(taker.messages, "the message arrives:\n" + taker.log())
            assert messages[0].get_payload(decode=True).decode().strip() == "早馬"


# BINARYMIME (RFC 3030)

BINARY = (b"From: <hanako@example.jp>\r\nSubject: binary\r\nMIME-Version: 1.0\r\n"
          b"Content-Type: multipart/%s; boundary=b\r\nContent-Transfer-Encoding: binary\r\n\r\n"
          b"--b\r\nContent-Type: text/plain\r\n\r\nlines\r\n"
          b"--b\r\nContent-Type: application/octet-stream\r\n"
          b"Content-Transfer-Encoding: binary\r\n\r\n%s\r\n--b--\r\n")
NO_LINES = bytes(range(256)) * 3 + b"\r\n.\r\n\r\n.\n\r.\r"


def send_binary(client, rcpt_to, message):
    """The replies to MAIL, RCPT and the last of three chunks."""
    replies = say(client, "EHLO client.example.net",
                  f"MAIL FROM:<{HANAKO}> BODY=BINARYMIME", f"RCPT TO:<{rcpt_to}>")[1:]
    for piece in (message[:100], message[100:101]):
        assert talk(client, b"BDAT %d\r\n%s" % (len(piece), piece), rb"\r\n").startswith(b"250")
    return [*replies, chunk(client, message[101:])]


def leaf(message, number):
    return message.get_payload()[number].get_payload(decode=True)


@pytest.mark.parametrize("size", [1, 2000])
def test_a_binary_message_in_a_mailbox(size):
    """Octets that are no lines, small and through a lent file."""
    with Hayauma(users=[TARO]) as server, dial(server) as client:
        assert b"250-BINARYMIME\r\n" in talk(client, b"EHLO x\r\n", rb"250 .*\r\n")
        replies = send_binary(client, TARO, BINARY % (b"mixed", NO_LINES * size))
        assert [r[:3] for r in replies] == ["250"] * 3, replies
        raw = server.wait_for_messages(TARO, 1)[0]
        message = email.message_from_bytes(raw)
        assert leaf(message, 0) in (b"lines", b"lines\n", b"lines\r\n")
        assert leaf(message, 1) == NO_LINES * size
        assert message["Content-Transfer-Encoding"] == "8bit"
        assert b"\0" not in raw and b"\r" not in raw.replace(b"\r\n", b"")
        told = server.why(replies[2].split()[2])
        assert "parts_converted=1" in told and "flag=binarymime" in told, told


def test_a_signed_binary_message():
    for options, code in (("", "554 5.6.1"), ("downgrade_signed = yes\n", "250 2.0.0")):
        with Hayauma(users=[TARO], options=options) as server, dial(server) as client:
            replies = send_binary(client, TARO, BINARY % (b"signed", NO_LINES))
            assert replies[2].startswith(code), replies


def test_what_claims_to_be_lines_must_be():
    with Hayauma(users=[TARO]) as server, dial(server) as client:
        bad = BINARY.replace(b"lines", b"li\nnes") % (b"mixed", NO_LINES)
        replies = send_binary(client, TARO, bad)
        assert replies[2].startswith("554 5.6.0"), replies
        assert server.messages(TARO) == []


# DELIVERBY (RFC 2852)

def test_a_message_that_is_not_in_time():
    """R: it comes back when the time is over; N: its sender is told and it waits on."""
    hop = (f'smart_host = "[127.0.0.1]:{ports.free_port()}"\nsmtp {{ deliver_by_min = 1s }}\n'
           'queue { retry_min = 1h retry_max = 2h }\n')
    for mode, action in (("R", "failed"), ("N", "delayed")):
        with Hayauma(users=[HANAKO], options=hop) as server, dial(server) as client:
            replies = say(client, "EHLO client.example.net", f"MAIL FROM:<{HANAKO}> BY=2;{mode}",
                          "RCPT TO:<x@far.example>")
            assert [r[:3] for r in replies] == ["250"] * 3, replies
            message_id = chunk(client, b"Subject: x\r\n\r\nx\r\n").split()[2]
            fields = report_of(server.wait_for_messages(HANAKO, 1)[0])
            assert fields["action"] == action, fields
            assert "deliver_by=" in server.why(message_id)
            ports.wait_until(lambda: len(server.queue()) == (mode == "N"), "it went or stayed")


def test_requiretls_is_kept():
    """No host can promise it: the message comes back, without its text."""
    with Sink(0) as sink:
        hop = f'smart_host = "[127.0.0.1]:{sink.server_address[1]}"\n'
        with Hayauma(users=[HANAKO], options=hop, tls=True) as server:
            with dial(server) as clear:
                said = talk(clear, b"EHLO x\r\n", rb"250 .*\r\n")
                assert b"REQUIRETLS" not in said
                assert say(clear, f"MAIL FROM:<{HANAKO}> REQUIRETLS")[0].startswith("555")
                talk(clear, b"STARTTLS\r\n", rb"220 .*\r\n")
                with any_certificate().wrap_socket(clear) as client:
                    said = talk(client, b"EHLO x\r\n", rb"250 .*\r\n")
                    assert b"250-REQUIRETLS\r\n" in said
                    replies = say(client, f"MAIL FROM:<{HANAKO}> REQUIRETLS RET=FULL",
                                  "RCPT TO:<x@far.example>")
                    assert [r[:3] for r in replies] == ["250"] * 2, replies
                    message_id = chunk(client, b"Subject: x\r\n\r\nsecret\r\n").split()[2]
            report = server.wait_for_messages(HANAKO, 1)[0]
            assert report_of(report)["action"] == "failed" and b"secret" not in report
            assert "flag=requiretls" in server.why(message_id)
            assert sink.messages == 0


# A mailbox that is full

LARGE = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * 800  # 62 KB


@pytest.mark.parametrize("is_final, code", [("no", 452), ("yes", 552)])
def test_an_account_that_is_full(is_final, code):
    """Over SMTP the message stays with the client where nobody else wants it; else it
    waits in the queue, or goes back at once. LMTP is told the same."""
    wanted = (code, b"4.2.2" if code == 452 else b"5.2.2")
    options = f"users {{ over_quota_returns = {is_final} }}\nqueue {{ retry_min = 1h }}\n"
    server = Hayauma(users=[HANAKO], options=options)
    server.run("user", "add", TARO, "--quota", "100K", text="secret\n")

    def refusal(client, *recipients):
        client.ehlo_or_helo_if_needed()
        try:
            assert client.sendmail(HANAKO, recipients, LARGE) == {}
            return None
        except smtplib.SMTPDataError as error:
            return error.smtp_code, error.smtp_error[:5]
    with server:
        with server.smtp() as client:
            assert refusal(client, TARO) is None
            assert refusal(client, TARO) == wanted
            assert server.queue() == [] and len(server.messages(TARO)) == 1
            assert refusal(client, HANAKO, TARO) is None
        assert b"large" in server.wait_for_messages(HANAKO, 1)[0]
        if code == 452:
            waiting = ports.wait_until(server.queue, "it is in the queue")
            server.wait_for_why(waiting[0]["id"], "452 4.2.2")
        else:
            fields = report_of(server.wait_for_messages(HANAKO, 2)[1])
            assert fields["action"] == "failed" and fields["status"] == "5.2.2", fields
        with socket.create_connection(("127.0.0.1", server.ports["lmtp"]), 180) as client:
            talk(client, b"", rb"220 .*\r\n")
            say(client, "LHLO x", f"MAIL FROM:<{HANAKO}>", f"RCPT TO:<{TARO}>", "DATA")
            said = talk(client, LARGE + b".\r\n", rb"\d{3} .*\r\n")
        assert said.startswith(b"%d %s" % wanted), said
        assert len(server.messages(TARO)) == 1
