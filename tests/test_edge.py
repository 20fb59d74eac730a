"""The process that speaks to everyone: who gets in, who may send where, and
what it says when it cannot go on."""
import os
import re
import resource
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor

import pytest

import ports
from hayauma import Hayauma, SMTP_SSL

HANAKO = "hanako@example.jp"
STRANGERS = 'relay_networks = { "192.0.2.0/24" }\n'  # the loopback is none of ours


def talk(connection, octets, wanted):
    """Sends octets; reads until `wanted` (a pattern) was said. All that was said."""
    connection.sendall(octets)
    said = b""
    while not re.search(wanted, said):
        part = connection.recv(65536)
        assert part, f"the connection ended after {said!r}"
        said += part
    return said


def dial(server, protocol="smtp"):
    connection = socket.create_connection(("127.0.0.1", server.ports[protocol]), timeout=180)
    talk(connection, b"", rb"220 .*\r\n")
    return connection


def envelope(server, *recipients):
    """A session with MAIL and RCPT said: each answer to RCPT."""
    client = server.smtp()
    client.ehlo()
    assert client.mail("a@example.net")[0] == 250
    return client, [client.rcpt(r) for r in recipients]


def any_certificate():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def test_starttls_forgets_what_came_before():
    with Hayauma(users=[HANAKO], tls=True) as server, dial(server) as plain:
        talk(plain, b"EHLO attacker.example\r\n", rb"250 .*\r\n")
        talk(plain, b"STARTTLS\r\nMAIL FROM:<attacker@example.net>\r\n", rb"220 .*\r\n")
        with any_certificate().wrap_socket(plain, server_hostname="mx1.example.jp") as secured:
            said = talk(secured, b"RCPT TO:<hanako@example.jp>\r\n", rb"\r\n")
            assert said.startswith(b"503"), said
            said = talk(secured, b"EHLO client.example.net\r\n", rb"250 .*\r\n")
            assert b"STARTTLS" not in said


def test_submission_wants_a_login():
    with Hayauma(users=[HANAKO], tls=True, listen={"smtp": 0, "submissions": 0}) as server:
        with SMTP_SSL("127.0.0.1", server.ports["submissions"], timeout=180,
                      context=any_certificate()) as client:
            client.ehlo()
            assert client.mail(HANAKO)[0] == 530


def test_no_way_of_writing_it_relays():
    with Hayauma(users=[HANAKO], options=STRANGERS) as server:
        client = server.smtp()
        client.ehlo()
        client.mail("")
        for rcpt_to in ("x@outside.example", "@example.jp:x@outside.example",
                        "x%outside.example@example.jp", "outside.example!x@example.jp",
                        '"x@outside.example"@example.jp', "x@[192.0.2.77]",
                        '"x%outside.example"@[127.0.0.1]', "x@outside.example@example.jp"):
            code, text = client.docmd(f"RCPT TO:<{rcpt_to}>")
            assert 500 <= code < 600, f"{rcpt_to}: {text}"
        client.close()


def test_accepted_recipients():
    with Hayauma(users=[HANAKO], options=STRANGERS) as server:
        client, answers = envelope(server, HANAKO, "Hanako+list@EXAMPLE.jp", "postmaster",
                                   "postmaster@example.jp", "abuse@example.jp",
                                   "hanako@[127.0.0.1]", "postmaster@mx1.example.jp")
        assert [code for code, _ in answers] == [250] * 7, answers
        client.close()


def test_a_loop_ends():
    hops = "".join(f"Received: from a by b; Thu, 1 Jan 2026 00:00:{i:02} +0000\r\n"
                   for i in range(11))
    with Hayauma(users=[HANAKO], options="limits { received_hops = 10 }\n") as server:
        client, _ = envelope(server, HANAKO)
        code, text = client.data(hops + "\r\nround and round\r\n")
        assert code == 554 and b"5.4.6" in text
        client.close()


def test_connections_of_one_client():
    server = Hayauma(users=[HANAKO], options="processes { edge = 1 }\n")
    text = server.config.read_text()
    server.config.write_text(text.replace("connections_per_client = 0",
                                          "connections_per_client = 3"))
    with server:
        held = [dial(server) for _ in range(3)]
        with socket.create_connection(("127.0.0.1", server.ports["smtp"]), timeout=180) as fourth:
            assert talk(fourth, b"", rb"\r\n").startswith(b"421 4.7.0")
        held.pop().close()
        ports.wait_until(lambda: server.greets("smtp"), "there is room again")
        for connection in held:
            connection.close()


def test_recipients_of_one_message():
    with Hayauma(users=[HANAKO], options="limits { recipients = 100 }\n") as server:
        client, answers = envelope(server, *[HANAKO] * 101)
        assert [code for code, _ in answers[:100]] == [250] * 100
        assert answers[100][0] == 452
        message_id = re.search(r"Too many recipients \((\w{13})\)", answers[100][1].decode())[1]
        client.close()
        server.wait_for_why(message_id, r"limits\.recipients .*452 4\.5\.3")


def test_status_says_who_is_limited_and_why():
    options = (STRANGERS + "processes { edge = 1 }\n"
               "limits { messages_per_minute = 2 sender_recipients_per_minute = 1 }\n")
    with Hayauma(users=[HANAKO], options=options) as server:
        client, answers = envelope(server, HANAKO, HANAKO)
        assert [code for code, _ in answers] == [250, 451]
        codes = []
        for _ in range(3):
            client.rset()
            codes.append(client.mail("b@example.net")[0])
        assert codes == [250, 451, 451]
        client.close()
        limited = [peer for row in server.rows("status", "--no-probe")
                   for peer in row.get("limited", [])]
        assert {(p["who"], p["rule"], p["count"]) for p in limited} == {
            ("[127.0.0.1]", "limits.messages_per_minute", 2),
            ("a@example.net", "limits.sender_recipients_per_minute", 1)}
        assert all(re.search(r"hayauma\.conf:\d+$", p["origin"]) for p in limited), limited
        said = server.run("status", "--no-probe").stdout
        for who, times in ((r"\[127\.0\.0\.1\] by limits\.messages_per_minute", 2),
                           (r"a@example\.net by limits\.sender_recipients_per_minute", 1)):
            assert re.search(rf"limited: {who} \(.*hayauma\.conf:\d+\), {times} times", said), said


def test_a_client_that_does_not_read():
    """Commands pile up with the client once it leaves its replies unread."""
    with Hayauma(users=[HANAKO], options="processes { edge = 1 }\n") as server:
        with dial(server) as connection:
            connection.settimeout(1)
            with pytest.raises(OSError):
                while True:
                    connection.sendall(b"NOOP\r\n" * 10000)
        assert server.greets("smtp")


def test_thousands_of_silent_connections():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(2000, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    options = "limits { connections = 10000 }\nprocesses { edge = 1 }\n"
    try:
        with Hayauma(users=[HANAKO], options=options) as server:
            held = [dial(server) for _ in range(count)]
            assert server.greets("smtp")
            for connection in held:
                connection.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_stopping_says_goodbye():
    with Hayauma(users=[HANAKO]) as server, ThreadPoolExecutor() as beside:
        with dial(server) as connection:
            stopped = beside.submit(server.stop)
            assert connection.recv(1000).startswith(b"421 4.3.2")
        stopped.result()  # who stays is waited for


def test_a_local_user_may_send_anywhere():
    """The socket of local users: known by the kernel, named in the trace field."""
    with Hayauma(users=[HANAKO], options=STRANGERS) as server:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(180)
            connection.connect(str(server.folder / "run" / "submit"))
            talk(connection, b"", rb"220 .*\r\n")
            talk(connection, b"EHLO localhost\r\n", rb"250 .*\r\n")
            talk(connection, b"MAIL FROM:<root>\r\n", rb"250 .*\r\n")
            talk(connection, b"RCPT TO:<x@outside.example>\r\n", rb"250 .*\r\n")
            talk(connection, b"RSET\r\n", rb"250 .*\r\n")
            talk(connection, b"MAIL FROM:<root>\r\n", rb"250 .*\r\n")
            talk(connection, b"RCPT TO:<hanako>\r\n", rb"250 .*\r\n")
            talk(connection, b"DATA\r\n", rb"354 .*\r\n")
            talk(connection, b"Subject: local\r\n\r\ntext\r\n.\r\n", rb"250 2.0.0 .*\r\n")
        message, = server.wait_for_messages(HANAKO, 1)
        assert f"uid {os.getuid()}".encode() in message
        assert message.startswith(b"Return-Path: <root@mx1.example.jp>")


def test_one_mailbox_gets_one_copy():
    with Hayauma(users=[HANAKO]) as server:
        server.send("a@example.net", [HANAKO, "HANAKO+x@example.jp", "hanako@[127.0.0.1]"],
                    "Subject: once\r\n\r\ntext\r\n")
        server.send("a@example.net", [HANAKO], "Subject: then\r\n\r\ntext\r\n")
        assert len(server.wait_for_messages(HANAKO, 2)) == 2
