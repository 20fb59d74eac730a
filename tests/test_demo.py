"""`make run`: the demonstration, on other ports and in another folder."""
import pathlib
import re
import signal
import subprocess
import sys
import time

import ports
from hayauma import ROOT


def start(folder, numbers):
    names = ["--smtp", "--lmtp", "--submission", "--imap", "--pop3"]
    words = ["--folder", folder, *(str(word) for pair in zip(names, numbers) for word in pair)]
    return subprocess.Popen([sys.executable, ROOT / "tools" / "demo", *words], text=True, cwd=ROOT,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def read_until(process, wanted, timeout=180):
    """What it printed until a line matched."""
    text, end = "", time.monotonic() + timeout
    while not re.search(wanted, text):
        line = process.stdout.readline()
        assert line and time.monotonic() < end, "it said:\n" + text
        text += line
    return text


def test_the_commands_it_prints_work(tmp_path):
    tmp_path.parent.chmod(0o755)
    folder, numbers = tmp_path / "demo", [ports.free_port() for _ in range(5)]
    for count in (1, 2):  # the second start finds the mail of the first
        demo = start(folder, numbers)
        try:
            text = read_until(demo, "Ctrl-C ends it").replace("\\\n        ", "")
            commands = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
            assert len(commands) == 12
            for command in commands:
                done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=ROOT,
                                      timeout=180)
                assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
                if "mailbox show" in command or "pop3:" in command:
                    assert "Subject: test" in done.stdout
                if "imap:" in command:
                    assert '"test' in done.stdout and "hanako" in done.stdout
            listing = next(command for command in commands if "mailbox list" in command)
            listed = subprocess.run(listing, shell=True, capture_output=True, text=True,
                                    cwd=ROOT).stdout
            assert len(listed.splitlines()) >= 2 * count
        finally:
            demo.send_signal(signal.SIGTERM)
            demo.communicate(timeout=180)
        assert demo.returncode == 0
    assert pathlib.Path(folder / "passwords").stat().st_mode & 0o777 == 0o600
