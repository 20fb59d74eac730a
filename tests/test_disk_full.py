"""A disk without room: 452 before anything is lost, what is there is read and
deleted as ever, and with room mail is taken again."""
import os
import smtplib
import subprocess
import tempfile

import pytest

import ports
from hayauma import Hayauma

USER = "hanako@example.jp"
GIB = 1 << 30  # the reserve, on a disk of this size


@pytest.fixture(name="disk")
def small_disk():
    """2 GiB of memory that call themselves a disk."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a disk of its own")
    folder = tempfile.mkdtemp(prefix="hayauma-disk-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=755", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)
    os.rmdir(folder)


def free(disk):
    s = os.statvfs(disk)
    return s.f_bavail * s.f_bsize


def answer(server, octets=100):
    """The reply to a message: to MAIL, or after the final dot."""
    with server.smtp() as client:
        try:
            client.sendmail("a@example.net", [USER],
                            b"Subject: x\r\n\r\n" + b"y" * octets + b"\r\n")
        except smtplib.SMTPSenderRefused as refused:
            return refused.smtp_code, refused.smtp_error
        except smtplib.SMTPDataError as refused:
            return refused.smtp_code, refused.smtp_error
        except smtplib.SMTPRecipientsRefused as refused:
            return refused.recipients[USER]
    return 250, b""


def test_a_full_disk_is_said_and_survived(disk):
    with Hayauma(users=[USER], folder=disk) as server:
        for _ in range(5):
            assert answer(server)[0] == 250
        ballast = os.path.join(disk, "ballast")
        with open(ballast, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, free(disk) - GIB + (8 << 20))
        ports.wait_until(lambda: "intake_closed" in server.log(), "edges are told", 20)
        code, text = answer(server)
        assert (code, text[:5]) == (452, b"4.3.1"), text
        assert len(server.messages(USER)) == 5
        assert "the disk is full" in server.log()
        # The last of it, but for what the store has for itself already.
        with open(os.path.join(disk, "more"), "wb") as f:
            os.posix_fallocate(f.fileno(), 0, free(disk) - (1 << 20))
        assert answer(server)[0] == 452
        assert len(server.messages(USER)) == 5 and server.run("status").returncode == 0
        server.kill("keeper/0")
        ports.wait_until(lambda: server.run("status", check=False).returncode == 0, "it is back")
        assert answer(server)[0] == 452 and len(server.messages(USER)) == 5
        os.remove(ballast)
        os.remove(os.path.join(disk, "more"))
        ports.wait_until(lambda: "intake_open" in server.log().split("intake_closed")[-1],
                         "mail is taken again", 30)
        assert answer(server)[0] == 250
        server.wait_for_messages(USER, 6)
        assert "the store is good" in server.run("check", "--store").stdout
