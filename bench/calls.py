"""System calls of a server, by process and name, counted with perf's tracepoints:
where the kernel has none, or nobody installed perf, nothing is counted."""
import collections
import pathlib
import re
import shutil
import subprocess
import threading
import time

import machine


class _Trace(threading.Thread):
    """`perf trace -s` on all processes of a server, until stop()."""

    def __init__(self, pid):
        super().__init__()
        self.names = {process: name for process, (name, _) in machine.processes(pid).items()}
        self.perf = subprocess.Popen(
            ["perf", "trace", "-s", "-p", ",".join(map(str, self.names))],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.text = ""
        self.start()
        time.sleep(1)

    def run(self):
        self.text = self.perf.stderr.read()

    def stop(self):
        """{process: {call: number}}."""
        self.perf.send_signal(2)
        self.join(30)
        self.perf.wait()
        found, name = collections.defaultdict(collections.Counter), None
        tasks = {}
        for process, own in self.names.items():
            for task in pathlib.Path(f"/proc/{process}/task").iterdir():
                tasks[int(task.name)] = own
        for line in self.text.splitlines():
            head = re.match(r" \S.* \((\d+)\), \d+ events", line)
            call = re.match(r"\s+([a-z_0-9]+)\s+(\d+)\s+\d", line)
            if head:
                name = tasks.get(int(head[1]), "others")
            elif call and name:
                found[name][call[1]] += int(call[2])
        return found


def a_message(pid, messages, work):
    """{process: {call: number a message}}, the busiest first, while work() passes
    `messages` through the server `pid`."""
    if not shutil.which("perf"):
        return {}
    trace = _Trace(pid)
    try:
        work()
    finally:
        found = trace.stop()
    return {name: {call: number / messages for call, number in each.most_common()}
            for name, each in sorted(found.items())}


def total(found):
    return sum(sum(each.values()) for each in found.values())


def most(each, count):
    """"read 2.04, sendto 2.03": those that matter, `count` at most."""
    return ", ".join(f"{call} {number:.2f}" for call, number in list(each.items())[:count]
                     if number > 0.005)
