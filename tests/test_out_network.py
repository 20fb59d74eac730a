"""What needs a network of its own: netns_out_mx.py, run in one. As an ordinary user this
works where the kernel gives users namespaces."""
import os
import pathlib
import subprocess
import sys

import pytest


def run(marks):
    tests = pathlib.Path(__file__).parent
    words = ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    done = subprocess.run([*words, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                           "-m", marks, tests / "netns_out_mx.py"], capture_output=True, text=True,
                          timeout=600, cwd=tests.parent, check=False)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]


def test_in_a_network_of_its_own():
    run("not long")


@pytest.mark.long
def test_what_takes_minutes_there():
    run("long")
