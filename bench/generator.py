"""`hayauma bench source` and `sink`, as the rows use them."""
import json
import pathlib
import subprocess
import tempfile

import machine
import ports
from hayauma import RELEASE


class Sink:
    """Takes everything, and notes each message in a file; `host` is on loopback."""

    def __init__(self, folder, host="127.0.0.1", port=None):
        self.port = port or ports.free_port()
        self.record = pathlib.Path(tempfile.mkdtemp(prefix="sink-", dir=folder)) / "record"
        self.record.write_bytes(b"")
        self.process = subprocess.Popen(
            [RELEASE, "bench", "sink", "--listen", f"{host}:{self.port}", "--record",
             self.record], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ports.wait_until(lambda: ports.is_listening(self.port, host), "the sink listens")
        self.messages, self._recipients, self._offset = 0, 0, 0

    def _read(self):
        with self.record.open("rb") as file:
            file.seek(self._offset)
            while chunk := file.read(1 << 20):
                self.messages += chunk.count(b"\n")
                self._recipients += chunk.count(b",")
                self._offset += len(chunk)

    def count(self):
        """Messages that came so far."""
        self._read()
        return self.messages

    def recipients(self):
        self._read()
        return self._recipients + self.messages

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        self.record.unlink()
        self.record.parent.rmdir()


def send(port, row, messages, timeout=900):
    """Sends; what `hayauma bench source --json` said about it, with its own CPU time."""
    command = [RELEASE, "bench", "source", "--to", f"127.0.0.1:{port}",
               "--connections", row.connections, "--per-connection", row.per_connection,
               "--messages", messages, "--size", row.size, "--domain", row.domain,
               "--users", row.users, "--rcpt-per-message", row.recipients,
               "--domains", row.domains, "--json", *(["--lmtp"] if row.is_lmtp else [])]
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True,
                              timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{messages} messages were not taken in {timeout:.0f} s") from error
    if done.returncode != 0:
        raise RuntimeError(f"bench source: {done.stdout}{done.stderr}")
    said = json.loads(done.stdout)
    if said["taken"] if "taken" in said else said["messages"] < messages:
        raise RuntimeError(f"only {said['messages']} of {messages} were taken: {said['errors']}")
    return said


def cpu_us(process, messages, before=0.0):
    """CPU time of one process a message, in microseconds."""
    spent = sum(machine.cpu_seconds(process.pid).values())
    return (spent - before) / messages * 1e6
