"""A real nsd on a loopback port, authoritative for the root and whatever a test
puts into it; with `signed`, the root is signed, and `anchor` is its key.

    with Nsd('example.example. MX 10 mx.example.\\nmx.example. A 127.0.0.11\\n') as dns:
        options = dns.options()"""
import subprocess

from dns_server import DnsServer

ROOT_SOA = ". 60 SOA ns. hostmaster. 1 3600 600 86400 60\n. 60 NS ns.\nns. 60 A 127.0.0.1\n"


class Nsd(DnsServer):
    """`records` belong to the root; `zones` maps further zones to their own
    records; None: a zone that cannot be read, for which nsd answers SERVFAIL. Owner
    names are absolute."""

    name = "nsd"

    def __init__(self, records, zones=None, signed=False):
        super().__init__()
        self.anchor = "/dev/null"
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

    def _run(self, *words):
        return subprocess.run([self.peer / "usr/bin" / words[0], *words[1:]], check=True,
                              stdout=subprocess.PIPE, text=True, cwd=self.folder,
                              env=self.environment()).stdout.strip()

    def _sign(self):
        key = self._run("ldns-keygen", "-a", "ECDSAP256SHA256", "-k", ".")
        self._run("ldns-signzone", "-n", "-f", "zone-root", "zone-root", key)
        self.anchor = self.folder / f"{key}.key"

    def options(self):
        return (f'dns {{ servers = {{ "127.0.0.1@{self.port}" }} '
                f'trust_anchor = "{self.anchor}" port = %d }}')

    def configure(self):
        lines = ["server:", f"  ip-address: 127.0.0.1@{self.port}", f"  zonesdir: {self.folder}",
                 '  username: ""', f"  pidfile: {self.folder}/pid", "  database: ''",
                 f"  xfrdfile: {self.folder}/xfrd", f"  zonelistfile: {self.folder}/list",
                 "  cookie-secret-file: ''", "  rrl-ratelimit: 0", "remote-control:",
                 "  control-enable: no"]
        for name in ["", *self.zones]:
            lines += ["zone:", f"  name: {name or '.'}", f"  zonefile: zone-{name or 'root'}"]
        (self.folder / "nsd.conf").write_text("\n".join(lines) + "\n")

    def arguments(self):
        return ["-d", "-c", self.folder / "nsd.conf"]
