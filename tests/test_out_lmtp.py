"""LMTP over a Unix socket: a real Dovecot behind local_relay, and behind a row of the
mailertable. The relay has no file system: what the configuration does not name is
out of its reach."""
import contextlib
import imaplib
import os

import ports
from dovecot import PASSWORD, Dovecot
from hayauma import Hayauma

SENDER = "hanako@example.jp"
MODE = "0600" if os.geteuid() == 0 else "0666"  # hayauma run is who connects
OPTIONS = f"service lmtp {{\n unix_listener hayauma {{\n  mode = {MODE}\n }}\n}}\n"


def inbox(server, user):
    """The first message of a mailbox of Dovecot's."""
    client = imaplib.IMAP4("127.0.0.1", server.dovecot.imap_port)
    try:
        client.login(user, PASSWORD)
        client.select("INBOX")
        return client.fetch("1", "(RFC822)")[1][0][1]
    finally:
        client.logout()


@contextlib.contextmanager
def site(options):
    """Dovecot, and us before it; `options` may say %(socket)s and %(table)s."""
    with Dovecot(options=OPTIONS) as dovecot:
        socket = dovecot.real("/run") / "dovecot" / "hayauma"
        table = dovecot.folder / "mailertable"
        table.write_text(f"inside.example lmtp:unix:{socket}\n")
        table.chmod(0o644)
        with Hayauma(users=[SENDER], options=options % {"socket": socket, "table": table}
                     + "\nqueue { retry_min = 1s retry_max = 2s }") as server:
            server.dovecot = dovecot
            yield server


def test_as_local_relay():
    with site('relay_domains = { "inside.example" }\nlocal_relay = "lmtp:unix:%(socket)s"'
              ) as server:
        people = [f"u{n}@inside.example" for n in range(5)]
        with server.smtp() as client:
            client.sendmail(SENDER, people, "Subject: over a socket\r\n\r\nx\r\n",
                            rcpt_options=["NOTIFY=SUCCESS"])
        report = server.wait_for_messages(SENDER, 1)[0]
        assert report.count(b"Action: delivered") == len(people)  # LMTP is the end: RFC 2033
        for person in people:
            assert b"Subject: over a socket" in inbox(server, person)
        told = server.why(people[0])
        assert "unix:" in told and "dovecot/hayauma" in told
        # Away and back.
        server.dovecot.stop()
        server.send(SENDER, ["late@inside.example"], "Subject: late\r\n\r\nx\r\n")
        row = ports.wait_until(lambda: [r for e in server.queue() for r in e["recipients"]
                                        if r["attempts"]], "it was tried")[0]
        assert "connecting to unix:" in row["reply"]
        server.dovecot.start()
        ports.wait_until(lambda: not server.queue(), "it went there", 30)
        assert b"Subject: late" in inbox(server, "late@inside.example")


def test_by_the_mailertable():
    """A row may lead there once lmtp_sockets names the socket, and not before."""
    with site('relay_domains = { "inside.example" }\ntables { mailertable = "%(table)s" }'
              ) as server:
        server.send(SENDER, ["taro@inside.example"], "Subject: by table\r\n\r\nx\r\n")
        row = ports.wait_until(lambda: [r for e in server.queue() for r in e["recipients"]
                                        if r["attempts"]], "it was tried")[0]
        assert "lmtp_sockets does not name it" in row["reply"]
        socket = server.dovecot.real("/run") / "dovecot" / "hayauma"
        hop = ["queue", "move", "--to", f"lmtp:unix:{socket}", "--all"]
        assert server.run(*hop, check=False).returncode == 64
        server.write_config(f'lmtp_sockets = {{ "{socket}" }}')
        server.run("reload")
        ports.wait_until(lambda: not server.queue(), "it went there", 30)
        assert b"Subject: by table" in inbox(server, "taro@inside.example")
