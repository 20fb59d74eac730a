"""What the machine is, and what the processes of a server spend on it: all read
from /proc, so that measuring costs the measured nothing."""
import datetime
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


def _name(entry):
    """"edge" of `hayauma process edge 0`; of other programs what the kernel calls them."""
    words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
    if words[1:2] == ["process"]:
        return words[2]
    if words[1:2] == ["run"]:
        return "supervisor"
    return (entry / "comm").read_text().strip()


def processes(pid):
    """{process: (name, fields of its stat from the third on)} of `pid` and all below it."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                found[int(entry.name)] = (_name(entry), fields)
            except OSError:
                continue

    def is_below(process):
        while process in found and process != pid:
            process = int(found[process][1][1])
        return process == pid
    return {process: facts for process, facts in found.items() if is_below(process)}


def cpu_seconds(pid):
    """{name: CPU seconds} of `pid` and all below it, also those that were waited for."""
    spent = {}
    for name, fields in processes(pid).values():
        spent[name] = spent.get(name, 0) + sum(map(int, fields[11:15])) / TICKS
    return spent


def unused_seconds():
    """Of all processors together: idle, waiting for a disk, and taken by the host."""
    words = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    idle, waiting, stolen = (int(words[at]) / TICKS for at in (3, 4, 7))
    return {"(idle)": idle + waiting, "(stolen)": stolen}


def difference(after, before):
    return {name: value - before.get(name, 0) for name, value in after.items()
            if value > before.get(name, 0)}


def memory(pid):
    """{name: PSS in bytes}: what all processes take, each shared page counted once."""
    taken = {}
    for process, (name, _) in processes(pid).items():
        try:
            lines = pathlib.Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        pss = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
        taken[name] = taken.get(name, 0) + pss * 1024
    return taken


def wake_ups(pid):
    """{name: how often a thread waited and was woken}, since its start."""
    counts = {}
    for process, (name, _) in processes(pid).items():
        for status in pathlib.Path(f"/proc/{process}/task").glob("*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            number = int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
            counts[name] = counts.get(name, 0) + number
    return counts


def sync_time_ms(folder, preload=None):
    """Median of 100 appends of 4 KiB, each with fdatasync, where the queues lie."""
    script = ("import os,sys,tempfile,time,statistics\n"
              "f=tempfile.TemporaryFile(dir=sys.argv[1]);t=[]\n"
              "for _ in range(100):\n s=time.monotonic();os.write(f.fileno(),bytes(4096));"
              "os.fdatasync(f.fileno());t.append(time.monotonic()-s)\n"
              "print(statistics.median(t)*1000)")
    environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    done = subprocess.run(["/usr/bin/python3", "-c", script, folder], check=True,
                          capture_output=True, text=True, env=environment)
    return round(float(done.stdout), 3)


def write_rate(folder, total=512 << 20, chunk=10 << 20):
    """Bytes a second of writing one file from its beginning to its end, durably: the
    next 10 MiB are written once fdatasync() has returned for those before."""
    block = os.urandom(chunk)
    with tempfile.TemporaryFile(dir=folder) as file:
        started = time.monotonic()
        for _ in range(total // chunk):
            os.write(file.fileno(), block)
            os.fdatasync(file.fileno())
        return total // chunk * chunk / (time.monotonic() - started)


def conditions(folder, peers):
    cpu = next((line.partition(":")[2].strip()
                for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), "unknown")

    def said(*command):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return {"date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "commit": said("git", "-C", ROOT, "describe", "--always", "--dirty"),
            "cores": os.cpu_count(), "cpu": cpu, "kernel": platform.release(),
            "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20} MiB",
            "file system": said("stat", "-f", "-c", "%T", folder),
            "append of 4 KiB and fdatasync": f"{sync_time_ms(folder)} ms (median of 100)",
            "link": "loopback, no TLS",
            "features": "durable commits, decision records, limits counted, log level notice",
            "peers": (", ".join(peers) or "none") + ": Debian 12, default durability",
            "load before": round(os.getloadavg()[0], 2)}


def median(values):
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
