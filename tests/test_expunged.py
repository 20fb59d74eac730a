"""What users delete can be brought back for a while, also after a crash; and who
reads on other machines is told which messages went, exactly (RFC 7162)."""
import imaplib
import poplib
import re

import ports
from hayauma import PASSWORD, Hayauma

USER = "hanako@example.jp"
OPTIONS = ('auth { plaintext_without_tls = { "127.0.0.0/8" } }\n'
           'processes { edge = 1 access = 1 relay = 1 worker = 1 }\n')


def imap(server):
    client = imaplib.IMAP4("127.0.0.1", server.ports["imap"], timeout=180)
    assert client.login(USER, PASSWORD)[0] == "OK"
    return client


def test_deleted_mail_comes_back():
    with Hayauma(users=[USER], listen={"smtp": 0, "imap": 0, "pop3": 0},
                 options=OPTIONS) as server:
        for i in range(6):
            server.send("a@example.net", [USER], f"Subject: number {i}\r\n\r\nhello\r\n")
        server.wait_for_messages(USER, 6)
        client = imap(server)
        client.create("Old")
        client.select("INBOX")
        client.copy("5:6", "Old")
        client.store("1:2", "+FLAGS", r"(\Deleted \Flagged)")
        client.expunge()
        assert client.delete("Old")[0] == "OK"
        client.logout()
        reader = poplib.POP3("127.0.0.1", server.ports["pop3"], timeout=180)
        reader.user(USER)
        reader.pass_(PASSWORD)
        reader.dele(1)
        reader.quit()

        def rows():
            return [(r["mailbox"], r["uid"]) for r in
                    server.rows("mailbox", "expunged", USER, "--json")]
        # A deleted mailbox is given up with batches that come anyway.
        for i in range(20):
            if len(rows()) == 5:
                break
            server.send("a@example.net", [USER], f"Subject: later {i}\r\n\r\nhello\r\n")
        assert sorted(rows()) == [("INBOX", 1), ("INBOX", 2), ("INBOX", 3), ("Old", 1), ("Old", 2)]
        assert "the store is good" in server.run("check", "--store").stdout
        server.kill("keeper/0")
        ports.wait_until(lambda: server.run("status", check=False).returncode == 0, "it is back")

        before = len(server.messages(USER))
        assert "1 messages are back" in server.run("mailbox", "undelete", USER, "inbox", "2").stdout
        assert len(server.messages(USER)) == before + 1 and len(rows()) == 4
        gone = server.run("mailbox", "undelete", USER, "INBOX", "2", check=False)
        assert gone.returncode and "deleted message" in gone.stderr
        server.run("mailbox", "undelete", USER)
        assert rows() == [] and len(server.messages(USER)) == before + 3
        assert [b"number 4" in m or b"number 5" in m for m in server.messages(USER, "Old")] \
            == [True, True]
        client = imap(server)
        client.select("INBOX")
        assert len(client.search(None, "FLAGGED")[1][0].split()) == 2
        assert client.search(None, "DELETED")[1] == [b""]
        client.logout()
        assert "the store is good" in server.run("check", "--store").stdout


def test_deleted_mail_goes_by_itself():
    with Hayauma(users=[USER], listen={"smtp": 0, "imap": 0}, options=OPTIONS) as server:
        for i in range(3):
            server.send("a@example.net", [USER], f"Subject: number {i}\r\n\r\nhello\r\n")
        server.wait_for_messages(USER, 3)
        client = imap(server)
        client.select("INBOX")
        client.store("1:2", "+FLAGS", r"(\Deleted)")
        client.expunge()
        client.logout()
        assert len(server.rows("mailbox", "expunged", USER, "--json")) == 2
        server.write_config('expunge_keep = "1s"')
        server.reload()
        # Nobody touches the account.
        ports.wait_until(lambda: not server.rows("mailbox", "expunged", USER, "--json"),
                         "they are given up", 30, 1)
        checked = server.run("check", "--store").stdout
        assert "the store is good" in checked and " 1 bodies" in checked, checked


def vanished(server, modseq, known=""):
    """What SELECT says went after that; and UID FETCH, where all UIDs are known."""
    client = imap(server)
    client._simple_command("ENABLE", "QRESYNC")
    status = client.status("INBOX", "(UIDVALIDITY)")[1][0]
    validity = re.search(rb"UIDVALIDITY (\d+)", status)[1].decode()
    client.untagged_responses.clear()
    client._simple_command("SELECT", "INBOX", f"(QRESYNC ({validity} {modseq}{known}))")
    told = [line.split()[1] if b" " in line else line
            for line in client.untagged_responses.get("VANISHED", [])]
    if not known:
        client.state = "SELECTED"
        client.untagged_responses.clear()
        client._simple_command("UID", "FETCH", "1:*", f"(FLAGS) (CHANGEDSINCE {modseq} VANISHED)")
        assert told == [line.split()[1] for line in client.untagged_responses.get("VANISHED", [])]
    client.shutdown()
    return told


def highest(server):
    client = imap(server)
    status = client.status("INBOX", "(HIGHESTMODSEQ)")[1][0]
    client.shutdown()
    return int(re.search(rb"HIGHESTMODSEQ (\d+)", status)[1])


def test_exactly_what_went_since_is_told():
    with Hayauma(users=[USER], listen={"smtp": 0, "imap": 0}, options=OPTIONS) as server:
        for i in range(12):
            server.send("a@example.net", [USER], f"Subject: number {i}\r\n\r\nhello\r\n")
        server.wait_for_messages(USER, 12)
        client = imap(server)
        client.create("Other")
        client.select("INBOX")
        seen = [highest(server)]

        def expunge(uids):
            client.uid("STORE", uids, "+FLAGS", r"(\Deleted)")
            client.expunge()
            seen.append(highest(server))
        expunge("2")
        expunge("4:5,8")
        client.uid("MOVE", "10", "Other")
        seen.append(highest(server))
        assert seen == sorted(set(seen)), "each time another one"

        def check():
            assert vanished(server, seen[0]) == [b"2,4:5,8,10"]
            assert vanished(server, seen[1]) == [b"4:5,8,10"]
            assert vanished(server, seen[1], " 5:9") == [b"5,8"]
            assert vanished(server, seen[2]) == [b"10"]
            assert vanished(server, seen[3]) == []
        check()  # as sessions were told
        client.shutdown()
        server.stop()
        server.start()
        check()  # as it stands in the store
