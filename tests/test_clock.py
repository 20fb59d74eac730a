"""The wall clock is set years ahead and years back, under a running server and between
two runs: nothing is lost, no UID comes twice, and each message's story is found while the
clock is as it was."""
import imaplib
import struct
import subprocess

import pytest

import ports
from hayauma import PASSWORD, Hayauma
from load import Sink

HANAKO, REMOTE = "hanako@example.jp", "b@remote.example.net"
YEAR = 365 * 86400

# The seconds that the wall clock is wrong by stand in a file, which every process maps
# before it is confined.
CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *seconds;

__attribute__((constructor)) static void map(void)
{
        const char *path = getenv("CLOCK_FILE");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *p = fd < 0 ? MAP_FAILED : mmap(0, sizeof *seconds, PROT_READ, MAP_SHARED, fd, 0);

        if (p != MAP_FAILED)
                seconds = p;
        if (fd >= 0)
                close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
        static int (*real)(clockid_t, struct timespec *);
        int r;

        if (!real)
                real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
        r = real(clock, ret);
        if (r == 0 && clock == CLOCK_REALTIME && seconds)
                ret->tv_sec += *seconds;
        return r;
}
"""


class Clock:
    def __init__(self, folder):
        self.file = folder / "clock"
        self.file.write_bytes(bytes(8))
        self.file.chmod(0o644)

    def set(self, seconds):
        with self.file.open("r+b") as f:
            f.write(struct.pack("=q", seconds))


@pytest.fixture
def clock(tmp_path):
    source, library = tmp_path / "clock.c", tmp_path / "clock.so"
    source.write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.owner() == source.owner() and str(folder) != "/tmp":
            folder.chmod(folder.stat().st_mode | 0o011)
    made = Clock(tmp_path)
    made.environment = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(made.file)}
    return made


def uids_and_years(server):
    with imaplib.IMAP4("127.0.0.1", server.ports["imap"]) as imap:
        imap.login(HANAKO, PASSWORD)
        imap.select("INBOX", True)
        rows = imap.uid("FETCH", "1:*", "(INTERNALDATE)")[1]
    return [(int(row.split(b"UID ")[1].split()[0].rstrip(b")")),
             int(row.split(b'INTERNALDATE "')[1].split(b"-")[2][:4])) for row in rows]


def test_years_ahead_and_back(clock):
    with Sink() as sink:
        options = (f'smart_host = "smtp:[127.0.0.1]:{sink.port}"\n'
                   'relay_networks = { "127.0.0.0/8" }\nqueue { retry_min = "1s" }\n'
                   'auth { plaintext_without_tls = { "127.0.0.0/8" } }\n')
        server = Hayauma(users=[HANAKO], listen={"smtp": 0, "imap": 0}, options=options)
        server.environment = clock.environment
        with server:
            for number, seconds in enumerate([0, 2 * YEAR, -2 * YEAR, 0, 5 * YEAR]):
                clock.set(seconds)
                if number == 3:  # between two runs
                    server.stop()
                    clock.set(-3 * YEAR)
                    server.start()
                text = f"Subject: {number}\r\nMessage-ID: <m{number}@x>\r\n\r\nhello\r\n"
                server.send("a@example.net", [HANAKO, REMOTE], text.encode())
                server.wait_for_messages(HANAKO, number + 1)
                ports.wait_until(lambda n=number: len(sink.received) == n + 1, "passed on at once")
                server.wait_for_why(f"<m{number}@x>", "relayed")
            found = uids_and_years(server)
            assert [uid for uid, _ in found] == [1, 2, 3, 4, 5], found
            years = [year - found[0][1] for _, year in found]
            assert years[0] < years[1] and years[2] < 0 and years[4] >= 4, years
            assert "the store is good" in server.run("check", "--store").stdout
            ports.wait_until(lambda: not server.queue(), "nothing is left behind")
            server.stop()
            assert "the store is good" in server.run("check", "--store").stdout
