"""A store on a real disk, RocksDB included: its system calls are recorded while much
happens to it, and the disk is made as it was behind each of them. What is opened there
has everything that was acknowledged, nothing half, and finds no fault in itself."""
import os
import pathlib
import random
import shutil
import subprocess
import tempfile

import pytest

import hayauma
import recorded_disk
from recorded_disk import CUT, DROP, KEEP, TEAR

CALLS = 2000
PROGRAM = hayauma.ROOT / "build/bench/store_history"
MEMORY = pathlib.Path("/dev/shm")


@pytest.fixture(scope="module")
def place():
    """In memory where there is some: each image is written, opened and thrown away."""
    folder = tempfile.mkdtemp(prefix="hayauma-disk-", dir=MEMORY if MEMORY.is_dir() else None)
    yield pathlib.Path(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("record") / "record_disk.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", path,
                    hayauma.ROOT / "tests/record_disk.c", "-ldl"], check=True)
    return path


def record(place, library, seed, calls, **environment):
    folder = place / f"run-{seed}"
    folder.mkdir()
    subprocess.run([PROGRAM, "run", folder / "store", folder / "history", str(seed), str(calls)],
                   check=True, timeout=300,
                   env={**os.environ, **environment, "LD_PRELOAD": str(library),
                        "RECORD_TO": str(folder / "calls"), "RECORD_ROOT": str(folder / "store")})
    return recorded_disk.read(folder / "calls"), folder / "history"


class Checker:
    """Asks the program about one image after another."""

    def __init__(self, place, history):
        self.place, self.count = place, 0
        self.process = subprocess.Popen([PROGRAM, "check", history], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(180)

    def ask(self, disk, loss, cut, without_index=False):
        self.count += 1
        folder = self.place / f"image-{os.getpid()}-{self.count}"
        disk.image(folder, loss, cut)
        if without_index:
            shutil.rmtree(folder / "index", ignore_errors=True)
        self.process.stdin.write(f"{folder} {cut}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        shutil.rmtree(folder)
        return answer


def check_cuts(place, calls, history, wanted):
    """`wanted(cut)` gives [(loss, without_index)]; returns how many were checked."""
    disk, files = recorded_disk.Disk(), {}
    with Checker(place, history) as checker:
        for cut in range(len(calls) + 1):
            if cut:
                disk.do(calls[cut - 1], files)
            for loss, without_index in wanted(cut):
                answer = checker.ask(disk, loss, cut, without_index)
                assert answer == "good", f"after call {cut}, {loss}, {without_index}: {answer}"
        return checker.count


def syncs_beside(calls):
    """How many syncs something was written beside."""
    return sum(kind == "S" and any(k == "W" for k, _, _, _ in calls[begun:at])
               for at, (kind, _, begun, _) in enumerate(calls))


def test_some_prefixes_of_a_real_run(place, library):
    calls, history = record(place, library, 1, CALLS, SYNC_LONGER_US="4000")
    assert syncs_beside(calls) > 20, "several syncs, and what is written beside them"
    assert any(kind == "C" and b".sst" in octets for kind, _, _, octets in calls), "RocksDB's too"
    assert any(b"load.new" in octets for _, _, _, octets in calls), "files made beside it as well"
    chosen = set(random.Random(2).sample(range(len(calls)), 150)) | {len(calls)}
    losses = [(DROP, False), (TEAR, False), (DROP, True), (CUT, False), (KEEP, False),
              (TEAR, True)]
    assert check_cuts(place, calls, history,
                      lambda cut: [losses[cut % 6]] if cut in chosen else []) == 151


def test_the_clock_may_jump(place, library):
    """A day ahead, a day back: nothing depends on it but what is written as a time."""
    calls, history = record(place, library, 3, CALLS, CLOCK_JUMPS="1")
    losses = [(DROP, False), (KEEP, False), (DROP, True)]
    check_cuts(place, calls, history,
               lambda cut: [losses[cut % 3]] if cut % 100 == 0 or cut == len(calls) else [])


@pytest.mark.parametrize("lies,name", [("S", "fdatasync"), ("F", "fsync of folders")])
def test_a_disk_that_lies_is_noticed(place, library, lies, name):
    calls, history = record(place, library, 7 + len(name), CALLS)
    disk, files = recorded_disk.Disk(lies), {}
    with Checker(place, history) as checker:
        for cut, call in enumerate(calls, 1):
            disk.do(call, files)
            if cut % 25 == 0 and checker.ask(disk, DROP, cut) != "good":
                return
    raise AssertionError(f"no {name}, and nobody notices")


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20, 24))
def test_all_prefixes_of_a_real_run(place, library, seed):
    calls, history = record(place, library, seed, CALLS, SYNC_LONGER_US="4000")
    every = [(loss, without) for loss in (DROP, CUT, TEAR, KEEP) for without in (False, True)]
    check_cuts(place, calls, history, lambda cut: every)


@pytest.mark.long
@pytest.mark.parametrize("program", ["store_history_test", "store_crash_test"])
def test_all_prefixes_over_the_simulated_disk(program):
    subprocess.run([hayauma.ROOT / "build" / program], check=True, timeout=7200,
                   env={**os.environ, "HAYAUMA_LONG": "1"})
