"""A backup of a server that takes mail meanwhile, and what comes of it."""
import shutil
import subprocess
import threading

import pytest

import ports
from hayauma import Hayauma
from load import Load
from reconcile import reconcile

USER = "hanako@example.jp"
BIG = b"From: a@example.net\r\nSubject: big\r\n\r\n" + (b"y" * 78 + b"\r\n") * 8000


def test_a_backup_under_load_is_a_store_of_one_moment():
    with Hayauma(users=[USER]) as server:
        server.send("a@example.net", [USER, "b@remote.invalid"], BIG)
        load = Load(server, lambda n: [USER] if n % 3 else [USER, "b@remote.invalid"]).start()
        ports.wait_until(lambda: load.count() > 50, "some mail")
        before = dict(load.acknowledged)
        folder = server.folder / "backup"
        done = server.run("backup", str(folder))
        assert "the backup is complete" in done.stdout
        again = server.run("backup", str(folder), check=False)
        assert again.returncode and "must be new" in again.stderr
        server.run("backup", str(server.folder / "second"))
        for _ in range(3):  # while mail goes on
            online = server.run("check", "--store").stdout
            assert "the store is good" in online and "what checkpoint and log say" in online
        assert not (server.folder / "state" / "check.running").exists()
        load.stop()
        attempted = set(load.attempted)
        in_use = server.run("restore", str(folder), check=False)
        assert in_use.returncode and "stop it first" in in_use.stderr
        in_use = server.run("check", "--store", "--repair", check=False)
        assert in_use.returncode and "the server runs: stop it first" in in_use.stderr
        server.stop()
        refused = server.run("restore", str(folder), check=False)
        assert refused.returncode and "holds mail already" in refused.stderr

        state = server.folder / "state"
        owner = state.stat()
        shutil.rmtree(state)
        state.mkdir()
        shutil.chown(state, owner.st_uid, owner.st_gid)
        assert "restored" in server.run("restore", str(folder)).stdout
        for words in [("check", "--store"), ("check", "--store", str(folder)),
                      ("check", "--store", str(server.folder / "second"))]:
            assert "the store is good" in server.run(*words).stdout
        server.start()
        # What was acknowledged before the backup began is in it; what came later may be.
        sent = type("Sent", (), {"acknowledged": {i: [USER] for i in before},
                                 "attempted": attempted})
        counts = reconcile(sent, {USER: server.messages(USER)}, {})
        assert counts["kept"] >= len(before) > 50
        assert any(b"Subject: big" in m and len(m) > 600000 for m in server.messages(USER))
        assert server.queue()
        server.send("a@example.net", [USER], b"Subject: after\r\n\r\nhello\r\n")
        ports.wait_until(lambda: any(b"Subject: after" in m for m in server.messages(USER)),
                         "new mail")


def test_faults_are_found_and_a_lost_index_is_made_anew():
    with Hayauma(users=[USER]) as server:
        for n in range(20):
            server.send("a@example.net", [USER, "b@remote.invalid"],
                        b"Subject: %d\r\n\r\nhello\r\n" % n)
        server.send("a@example.net", [USER], BIG)
        server.stop()
        good = server.run("check", "--store").stdout
        assert "1 mailboxes with 21 messages; 20 queue entries" in good
        assert "the index is what checkpoint and log say" in good

        state = server.folder / "state"
        shutil.rmtree(state / "index")
        assert "made anew" in server.run("check", "--store", "--repair").stdout
        assert "the store is good" in server.run("check", "--store").stdout

        [file] = (state / "blobs").iterdir()
        file.rename(state / "away")
        bad = server.run("check", "--store", check=False)
        assert bad.returncode == 65 and f"blobs/{file.name}: No such file" in bad.stdout
        (state / "away").rename(file)

        segment = max((state / "mail").iterdir(), key=lambda f: f.read_bytes().count(b"hello"))
        text = bytearray(segment.read_bytes())
        text[text.rindex(b"hello")] ^= 1
        segment.write_bytes(text)
        bad = server.run("check", "--store", check=False)
        assert bad.returncode == 65
        assert "is damaged" in bad.stdout and "body " in bad.stdout
        text[text.rindex(b"iello")] ^= 1
        segment.write_bytes(text)
        server.start()
        assert len(server.messages(USER)) == 21


def test_what_is_cut_short_is_no_backup():
    with Hayauma(users=[USER]) as server:
        server.send("a@example.net", [USER], b"Subject: one\r\n\r\nhello\r\n")
        server.run("backup", str(server.folder / "b"))
        server.stop()
        (server.folder / "b" / "complete").unlink()
        done = server.run("restore", str(server.folder / "b"), check=False)
        assert done.returncode and "not a complete backup" in done.stderr
