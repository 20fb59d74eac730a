"""Mailboxes of other programs come in and go out again: Maildir with Dovecot's
files, Maildir++, mbox files and folders of them."""
import os
import random

from hayauma import Hayauma
from test_reading import HANAKO, OPTIONS, TARO, bodies, imap, ok

NAMES = ["INBOX", "Archive", "Archive/2026", "a.b/ö", "日本語"]
EMPTY = ["Empty", "a.b"]  # the second comes with the one below it


def texts(count, seed):
    chance = random.Random(seed)
    return [f"From: a@example.net\r\nSubject: {i}\r\n\r\n".encode()
            + b"".join(b"%d\r\n" % chance.randrange(10 ** 9) for _ in range(chance.randrange(60)))
            for i in range(count)]


def state(server, account, with_uids=True):
    """Each mailbox as IMAP tells it: what a reader would miss if it changed."""
    client = imap(server, account)
    ok(client.enable("UTF8=ACCEPT"))
    found = {}
    for row in server.rows("mailbox", "list", account):
        name = row["name"]
        ok(client.select('"' + name + '"'))
        rows = ok(client.fetch("1:*", "(UID FLAGS INTERNALDATE)")) if row["messages"] else []
        plain = [r.replace(rb"\Recent", b"").split(b"(", 1)[1] for r in rows if r]
        if not with_uids:
            plain = [r.split(b" ", 2)[2] for r in plain]
        found[name] = (row["subscribed"],
                       (row["uid_validity"], row["uid_next"]) if with_uids else None,
                       [tuple(sorted(r.replace(b"(", b" ").replace(b")", b" ").split()))
                        for r in plain],
                       list(bodies(client).values()) if row["messages"] else [])
    client.logout()
    return found


def fill(server, account):
    client = imap(server, account)
    ok(client.create("Empty"))
    for i, name in enumerate(("INBOX", "Archive", "Archive/2026", "a.b/&APY-", "&ZeVnLIqe-")):
        if name != "INBOX":
            ok(client.create('"' + name + '"'))
        for k, text in enumerate(texts(12, i)):
            flags = " ".join(word for bit, word in enumerate(
                (r"\Seen", r"\Flagged", r"\Answered", r"\Draft", "$Forwarded", "work"))
                if k >> bit & 1 or k == 5 and bit > 3)
            ok(client.append('"' + name + '"', f"({flags})",
                             f'"{k + 10}-Nov-2025 04:25:03 +0900"', text))
        ok(client.select('"' + name + '"'))
        ok(client.store("3,7", "+FLAGS", r"(\Deleted)"))
        ok(client.expunge())
    ok(client.subscribe('"Archive/2026"'))
    ok(client.subscribe("INBOX"))
    client.logout()


def test_an_account_goes_out_and_in_again():
    with Hayauma(users=[HANAKO, TARO, "mbox@example.jp"], listen={"smtp": 0, "imap": 0},
                 options=OPTIONS) as server:
        fill(server, HANAKO)
        before = state(server, HANAKO)
        assert sorted(before) == sorted(NAMES + EMPTY) and before["Archive/2026"][0]
        maildir, mbox = server.folder / "Maildir", server.folder / "mail"
        server.run("mailbox", "export", HANAKO, "--maildir", maildir)
        assert (maildir / ".Archive.2026" / "dovecot-uidlist").read_text().startswith("3 V")
        server.run("mailbox", "import", TARO, "--maildir", maildir)
        assert state(server, TARO) == before
        # what was imported is not imported again
        done = server.run("mailbox", "import", TARO, "--maildir", maildir)
        assert "0 messages imported, 50 were there already" in done.stderr
        assert state(server, TARO) == before

        server.run("mailbox", "export", HANAKO, "--mbox", mbox)
        assert (mbox / "Archive").is_file() and (mbox / "Archive.sbd" / "2026").is_file()
        server.run("mailbox", "import", "mbox@example.jp", "--mbox", mbox)
        after = state(server, "mbox@example.jp")
        for name in NAMES:
            assert after[name][1:] == before[name][1:]


def test_a_maildir_of_dovecot_keeps_its_uids_and_goes_on():
    with Hayauma(users=[HANAKO], listen={"smtp": 0, "imap": 0}, options=OPTIONS) as server:
        maildir = server.folder / "Maildir"
        for part in ("cur", "new", "tmp"):
            (maildir / part).mkdir(parents=True)
        rows = ["3 V1600000001 N5000 Gabcdef0123456789"]
        wanted = {}
        for i, text in enumerate(texts(1000, 1)):
            name = f"16000{i:05}.M{i}P1.old,S={len(text)}"
            wanted[3 * i + 7] = text
            rows.append(f"{3 * i + 7} W{len(text)} :{name}")
            path = maildir / "cur" / (name + ":2,S" + "b" * (i % 2))
            path.write_bytes(text.replace(b"\r\n", b"\n"))
            os.utime(path, (1_500_000_000 + i,) * 2)
        (maildir / "dovecot-uidlist").write_text("\n".join(rows) + "\n")
        (maildir / "dovecot-keywords").write_text("0 unused\n1 $Junk\n")
        large = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 80_000
        (maildir / "new" / "1700000000.large").write_bytes(large.replace(b"\r\n", b"\n"))
        wanted[5000] = large
        # the first half, as if it had been broken off there
        cut = "\n".join(rows[:501]) + "\n"
        moved = maildir / "dovecot-uidlist"
        half = server.folder / "half"
        for part in ("cur", "new", "tmp"):
            (half / part).mkdir(parents=True)
        os.link(maildir / "dovecot-keywords", half / "dovecot-keywords")
        (half / "dovecot-uidlist").write_text(cut.replace("N5000", "N2"))
        for row in rows[1:501]:
            name = row.split(" :")[1]
            for path in (maildir / "cur").glob(name + ":*"):
                os.link(path, half / "cur" / path.name)
        server.run("mailbox", "import", HANAKO, "INBOX", "--maildir", half)
        done = server.run("mailbox", "import", HANAKO, "INBOX", "--maildir", maildir)
        assert "501 messages imported, 500 were there already" in done.stderr
        assert moved.exists()
        client = imap(server)
        ok(client.select())
        assert client.response("UIDVALIDITY")[1] == [b"1600000001"]
        assert client.response("UIDNEXT")[1] == [b"5001"]
        # the file has no UID there: it comes last, behind those that have
        assert sorted(bodies(client)) == sorted(wanted)
        assert bodies(client) == wanted
        assert len(ok(client.uid("SEARCH", "KEYWORD", "$Junk"))[0].split()) == 500
        row = ok(client.uid("FETCH", "10", "(INTERNALDATE)"))[0]
        assert b"14-Jul-2017 02:40:01 +0000" in row
        client.logout()
