"""A real nsd on a loopback port, authoritative for the root and whatever a test
puts into it; with `signed`, the root is signed, and `anchor` is its key.

    with Nsd('example.example. MX 10 mx.example.\\nmx.example. A 127.0.0.11\\n') as dns:
        options = dns.options()"""
import os
import pathlib
import shutil
import subprocess
import tempfile

import ports

ROOT_SOA = ". 60 SOA ns. hostmaster. 1 3600 600 86400 60\n. 60 NS ns.\nns. 60 A 127.0.0.1\n"


class Nsd:
    """`records` belong to the root; `zones` maps further zones to their own
    records; None: a zone that cannot be read, for which nsd answers SERVFAIL. Owner
    names are absolute."""

    def __init__(self, records, zones=None, signed=False):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hayauma-nsd-"))
        self.folder.chmod(0o755)
        self.port, self.process, self.anchor = ports.free_port(), None, "/dev/null"
        self.records, self.zones, self.signed = records, zones or {}, signed
        self.write()

    def _write_zone(self, name, text):
        (self.folder / f"zone-{name or 'root'}").write_text("$TTL 60\n" + text)

    def write(self):
        self._write_zone("", ROOT_SOA + self.records)
        for name, records in self.zones.items():
            if records is None:
                continue
            self._write_zone(name, f"{name}. SOA ns. hostmaster. 1 3600 600 86400 60\n"
                                   f"{name}. NS ns.\n{records}")
        if self.signed:
            self._sign()

    def _sign(self):
        key = subprocess.run(["ldns-keygen", "-a", "ECDSAP256SHA256", "-k", "."], check=True,
                             capture_output=True, text=True, cwd=self.folder).stdout.strip()
        subprocess.run(["ldns-signzone", "-n", "-f", "zone-root", "zone-root", key], check=True,
                       cwd=self.folder)
        self.anchor = self.folder / f"{key}.key"

    def options(self):
        return (f'dns {{ servers = {{ "127.0.0.1@{self.port}" }} '
                f'trust_anchor = "{self.anchor}" port = %d }}')

    def __enter__(self):
        lines = ["server:", f"  ip-address: 127.0.0.1@{self.port}", f"  zonesdir: {self.folder}",
                 '  username: ""', f"  pidfile: {self.folder}/pid", "  database: ''",
                 f"  xfrdfile: {self.folder}/xfrd", f"  zonelistfile: {self.folder}/list",
                 f"  cookie-secret-file: ''", "  rrl-ratelimit: 0", "remote-control:",
                 "  control-enable: no"]
        for name in ["", *self.zones]:
            lines += ["zone:", f"  name: {name or '.'}", f"  zonefile: zone-{name or 'root'}"]
        (self.folder / "nsd.conf").write_text("\n".join(lines) + "\n")
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(["nsd", "-d", "-c", self.folder / "nsd.conf"],
                                            stdout=log, stderr=log)
        ports.wait_until(self._answers, "nsd answers:\n" + (self.folder / "log").read_text())
        return self

    def _answers(self):
        if self.process.poll() is not None:
            raise AssertionError("nsd ended:\n" + (self.folder / "log").read_text())
        return ports.answers_dns(self.port)

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            assert os.path.basename(self.folder).startswith("hayauma-nsd-")
