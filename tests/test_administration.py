"""What an administrator does with a running server: queue, why, mailbox, send."""
import re

import ports
from hayauma import Hayauma
from load import Sink

HANAKO, TARO = "hanako@example.jp", "taro@example.jp"
MESSAGE = "Subject: {0}\r\nMessage-ID: <{0}@example.net>\r\n\r\nbody of {0}\r\n"
EX_NOINPUT, EX_NOUSER = 66, 67


def test_the_queue_is_listed_held_released_retried_and_dropped():
    port = ports.free_port()
    with Hayauma(options=f'smart_host = "smtp:[127.0.0.1]:{port}"\nqueue {{ retry_min = 1h }}\n') \
            as server:
        for name in ("b@example.net", "c@example.com", "d@example.org"):
            server.send("a@example.jp", [name], MESSAGE.format("queued"))

        def put_off():
            return [row for row in server.queue() if row["recipients"][0]["state"] == "deferred"]
        ports.wait_until(lambda: put_off() and len(server.queue()) == 3, "one was tried")
        row = next(row for row in server.queue()
                   if row["recipients"][0]["rcpt_to"] == "b@example.net")
        assert [r["id"] for r in server.rows("queue", "list", "--recipient", "b@example.net")] \
            == [row["id"]]
        assert row["mail_from"] == "a@example.jp" and row["size"] > 0 and not row["held"]
        listed = server.run("queue", "list").stdout
        assert row["id"] in listed and "refused" in listed and "3 entries" in listed
        assert str(port) in server.run("queue", "show", row["id"]).stdout
        assert len(server.rows("queue", "list", "--domain", "example.com")) == 1
        assert server.rows("queue", "list", "--age", "1d") == []
        assert server.run("queue", "show", "0000000000001", check=False).returncode == EX_NOINPUT

        dropped = server.run("queue", "drop", "--recipient", "d@example.org").stdout
        assert dropped == "1 entry thrown away\n" and len(server.queue()) == 2
        server.wait_for_why("d@example.org", "dropped")

        server.run("queue", "hold", row["id"])
        assert server.rows("queue", "show", row["id"])[0]["held"]
        with Sink(port) as sink:
            server.run("queue", "retry")
            ports.wait_until(lambda: len(server.queue()) == 1, "the other one goes out")
            assert server.queue()[0]["id"] == row["id"]
            server.run("queue", "release", row["id"])
            server.run("queue", "retry", row["id"], check=False)
            ports.wait_until(lambda: not server.queue(), "it goes out when released")
            assert sink.received


def test_why_tells_by_id_message_id_and_address():
    with Hayauma(users=[HANAKO, TARO]) as server:
        server.send("a@example.net", [HANAKO, TARO], MESSAGE.format("told"))
        text = server.wait_for_why(HANAKO, "stored")
        number = re.match(r"Message (\S+)\n", text).group(1)
        assert TARO not in text  # asked about the other
        for key in (number, "<told@example.net>", "told@example.net"):
            text = server.why(key)
            assert text.startswith(f"Message {number}\n")
            assert f"to {HANAKO}: stored" in text and f"to {TARO}: stored" in text
            assert "by local user (users:1)" in text and "127.0.0.1" in text
        row, = server.rows("why", number)
        assert row["id"] == number
        assert {"received", "accepted", "stored"} <= {step["kind"] for step in row["steps"]}
        times = [step["at"] for step in row["steps"]]
        assert times == sorted(times)
        assert server.run("why", "nobody@example.org", check=False).returncode == EX_NOINPUT


def test_mailboxes_go_out_and_in_again():
    with Hayauma(users=[HANAKO, TARO]) as server:
        for name in ("one", "two", "three"):
            server.send("a@example.net", [HANAKO], MESSAGE.format(name))
        before = server.wait_for_messages(HANAKO, 3)
        row, = server.rows("mailbox", "list", HANAKO)
        assert (row["name"], row["messages"], row["unseen"]) == ("INBOX", 3, 3)
        assert [r["uid"] for r in server.rows("mailbox", "list", HANAKO, "INBOX")] == [1, 2, 3]
        shown = [server.message(HANAKO, uid) for uid in (1, 2, 3)]
        assert row["size"] == sum(map(len, shown)) and b"Subject: one\r\n" in shown[0]
        assert [text.replace(b"\r\n", b"\n") for text in shown] == before  # and in order

        mbox = server.folder / "mbox"
        server.run("mailbox", "export", HANAKO, "INBOX", "--mbox", mbox)
        assert server.run("mailbox", "export", HANAKO, "INBOX", "--mbox", mbox,
                          check=False).returncode != 0  # never writes over a file
        mbox.write_text(mbox.read_text().replace("Subject: two", "Status: RO\nSubject: two"))
        server.run("mailbox", "import", TARO, "Archive/2026", "--mbox", mbox)
        assert sorted(server.messages(TARO, "Archive/2026")) == sorted(before)
        assert [r["flags"] for r in server.rows("mailbox", "list", TARO, "Archive/2026")] \
            == [0, 1, 0]
        maildir = server.folder / "Maildir"
        server.run("mailbox", "export", TARO, "Archive/2026", "--maildir", maildir)
        assert len(list((maildir / "cur").iterdir())) == 1
        server.run("mailbox", "import", HANAKO, "Again", "--maildir", maildir)
        after = server.rows("mailbox", "list", HANAKO, "Again")
        assert [(r["size"], r["flags"]) for r in after] \
            == [(r["size"], r["flags"]) for r in
                server.rows("mailbox", "list", TARO, "Archive/2026")]
        done = server.run("mailbox", "import", "hanoko@example.jp", "INBOX", "--mbox", mbox,
                          check=False)
        assert done.returncode == EX_NOUSER and "hanoko" in done.stderr
        assert server.run("mailbox", "show", HANAKO, "INBOX", "99",
                          check=False).returncode == EX_NOINPUT


def test_many_messages_are_imported_over_one_connection():
    with Hayauma(users=[HANAKO]) as server:
        text = "From a@example.net Sun Nov 22 04:25:03 2026\nSubject: {0}\n\n" \
               + "line of text\n" * 50 + "\n"
        large = "From a@example.net Sun Nov 22 04:25:03 2026\nSubject: large\n\n" \
                + ("x" * 70 + "\n") * 50_000 + "\n"  # more than a channel's window
        server.run("mailbox", "import", HANAKO, "Many", "--mbox", "-",
                   text="".join(text.format(i) for i in range(500)) + large)
        row = next(r for r in server.rows("mailbox", "list", HANAKO) if r["name"] == "Many")
        assert row["messages"] == 501
        shown = server.run("mailbox", "show", HANAKO, "Many", "501").stdout
        assert shown.count("x" * 70) == 50_000


def test_send_is_taken_by_the_server():
    with Hayauma(users=[HANAKO]) as server:
        server.run("send", "-t", "-f", HANAKO, text=f"To: {HANAKO}\nSubject: sent\n\n.x\n..y\n")
        message = server.wait_for_messages(HANAKO, 1)[0]
        assert message.endswith(b"\n\n.x\n..y\n")
        assert message.count(b"\nMessage-ID: ") == message.count(b"\nDate: ") == 1
        done = server.run("send", "nobody@example.jp", text="Subject: x\n\n", check=False)
        assert done.returncode == EX_NOUSER and "550 5.1.1" in done.stderr
