"""A large access table is read again under load; of a million rows in `make
check-long`. No session fails, the new rows hold at once, and what it took in time
and memory is said."""
import json
import pathlib
import threading
import time

import pytest

import ports
from hayauma import RELEASE, Hayauma
from load import Load

HANAKO, RELOADS = "hanako@example.jp", 3


def table(rows, number):
    """As administrators have it: addresses, domains, networks; and one row that says
    which round it is."""
    kinds = ("spam{0}@host{0}.example REJECT\n", "From:domain{0}.example ERROR:550 No mail\n",
             "Connect:10.{1}.{2}.{3} REJECT\n", "To:gone{0}@example.jp REJECT\n")
    text = [kinds[i % 4].format(i, i >> 16 & 255, i >> 8 & 255, i & 255)
            for i in range(rows - 1)]
    return "".join(text) + f"round{number}@marker.example ERROR:550 round {number}\n"


class Memory:
    """The most that all processes of a server had at once, in octets (PSS: a page that
    several have counts once), while it was watched."""

    def __init__(self, server):
        self.server, self.most, self._stop = server, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def now(self):
        total = 0
        for pid in [self.server.process.pid, *self.server.children().values()]:
            try:
                text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue  # the compiler, which has just ended
            total += sum(int(line.split()[1]) for line in text.splitlines()
                         if line.startswith("Pss:")) * 1024
        return total

    def _watch(self):
        while not self._stop.wait(0.05):
            self.most = max(self.most, self.now())

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def is_refused(server, mail_from):
    with server.smtp() as client:
        client.ehlo()
        client.mail(mail_from)
        code, words = client.rcpt(HANAKO)
        return code == 550 and words


@pytest.mark.parametrize("rows", [20000, pytest.param(1000000, marks=pytest.mark.long)])
def test_no_session_fails_while_a_large_table_is_read_again(rows):
    # Its memory is looked at, so without sanitizers.
    server = Hayauma(binary=RELEASE, users=[HANAKO])
    path = server.folder / "access"
    path.write_text(table(rows, 0))
    server.options = f'tables {{ access = "{path}" }}\nrelay_networks = {{ }}\n'
    server.write_config()
    figures = {"rows": rows, "table_mib": round(path.stat().st_size / 2 ** 20, 1)}
    with server:
        before = Memory(server).now()
        steady = server.smtp()  # one session that lives through all of it
        steady.ehlo()
        load = Load(server, lambda n: [HANAKO], connections=4).start()
        times = []
        with Memory(server) as memory:
            for number in range(1, RELOADS + 1):
                text = table(rows, number)
                fresh = server.folder / "access.new"
                fresh.write_text(text)
                count = load.count()
                fresh.rename(path)
                begin = time.monotonic()
                server.run("reload", timeout=300)
                ports.wait_until(lambda number=number: all(
                    is_refused(server, f"round{number}@marker.example") for _ in range(12)),
                    "every edge has the new table", 60, 0)
                times.append(time.monotonic() - begin)
                assert not is_refused(server, f"round{number - 1}@marker.example")
                assert is_refused(server, "x@domain1.example")
                assert steady.mail("a@b.example")[0] == 250 and steady.rcpt(HANAKO)[0] == 250
                steady.rset()
                ports.wait_until(lambda count=count: load.count() > count, "mail goes on", 60)
        load.stop()
        steady.quit()
        figures |= {"reload_s": [round(t, 2) for t in times], "sent": load.count(),
                    "memory_before_mib": before >> 20, "memory_most_mib": memory.most >> 20,
                    "memory_after_mib": Memory(server).now() >> 20}
        print("FIGURES", json.dumps(figures))
        assert load.errors == [], load.errors[:3]
        assert load.count() > 0 and load.attempted == set(load.acknowledged)
        log = server.log_path.read_text()
        assert "reload_refused" not in log and "snapshot_refused" not in log
        assert log.count("event=process_ended") == 0
        # What was there before, a second snapshot, and what compiling one takes.
        assert memory.most < before + (60 << 20) + 700 * rows
