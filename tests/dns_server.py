"""What nsd.py and unbound.py share: a program of tools/peers with a folder of its
own, on a loopback port, that has started when it answers and ends with the block."""
import pathlib
import shutil
import subprocess
import tempfile

import ports
from peer import ROOT


class DnsServer:
    """A class says its `name`, which is the peer's and the program's, and
    arguments(): the words behind the program's name. configure() is called before
    each start."""
    name = ""

    def __init__(self):
        subprocess.run([ROOT / "tools" / "peers", self.name], check=True,
                       stdout=subprocess.DEVNULL)
        self.peer = ROOT / "build" / "peers" / self.name
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"hayauma-{self.name}-"))
        self.folder.chmod(0o755)
        self.port, self.process = ports.free_port(), None

    def arguments(self):
        raise NotImplementedError

    def configure(self):
        pass

    def environment(self):
        return {"LD_LIBRARY_PATH": (self.peer / "library-path").read_text().strip()}

    def __enter__(self):
        self.configure()
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.peer / "usr/sbin" / self.name, *self.arguments()], stdout=log, stderr=log,
                env=self.environment())
        ports.wait_until(self._answers, f"{self.name} answers")
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended:\n" + (self.folder / "log").read_text())
        return ports.answers_dns(self.port)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(180)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
