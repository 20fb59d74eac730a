"""A real unbound from tools/peers on a loopback port, as a site's own resolver before an
nsd of nsd.py: it caches, adds what it knows, and says SERVFAIL for what is forged."""
import pathlib
import shutil
import subprocess
import tempfile

import ports
from peer import ROOT

CONFIG = """\
server:
  interface: 127.0.0.1@{port}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "{folder}"
  pidfile: "{folder}/pid"
  use-syslog: no
  logfile: ""
  do-ip6: no
  do-not-query-localhost: no
  module-config: "{modules}"
  root-hints: ""
  {anchor}
remote-control:
  control-enable: no
stub-zone:
  name: "."
  stub-addr: 127.0.0.1@{nsd_port}
"""


class Unbound:
    """`dns` is a running Nsd. With `validates`, it checks signatures itself."""

    def __init__(self, dns, validates=True):
        subprocess.run([ROOT / "tools" / "peers", "unbound"], check=True,
                       stdout=subprocess.DEVNULL)
        self.peer = ROOT / "build" / "peers" / "unbound"
        self.dns, self.port = dns, ports.free_port()
        self.process = None
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hayauma-unbound-"))
        is_signed = validates and str(dns.anchor) != "/dev/null"
        (self.folder / "unbound.conf").write_text(CONFIG.format(
            port=self.port, folder=self.folder, nsd_port=dns.port,
            modules="validator iterator" if is_signed else "iterator",
            anchor=f'trust-anchor-file: "{dns.anchor}"' if is_signed else ""))

    def options(self):
        return self.dns.options().replace(f"@{self.dns.port}", f"@{self.port}")

    def __enter__(self):
        libraries = (self.peer / "library-path").read_text().strip()
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [self.peer / "usr/sbin/unbound", "-d", "-p", "-c", self.folder / "unbound.conf"],
                stdout=log, stderr=log, env={"LD_LIBRARY_PATH": libraries})
        ports.wait_until(self._answers, "unbound answers:\n" + (self.folder / "log").read_text())
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("unbound ended:\n" + (self.folder / "log").read_text())
        return ports.answers_dns(self.port)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
