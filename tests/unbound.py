"""A real unbound from tools/peers on a loopback port, as a site's own resolver before an
nsd of nsd.py: it caches, adds what it knows, and says SERVFAIL for what is forged."""
from dns_server import DnsServer

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


class Unbound(DnsServer):
    """`dns` is a running Nsd. With `validates`, it checks signatures itself."""

    name = "unbound"

    def __init__(self, dns, validates=True):
        super().__init__()
        self.dns = dns
        is_signed = validates and str(dns.anchor) != "/dev/null"
        (self.folder / "unbound.conf").write_text(CONFIG.format(
            port=self.port, folder=self.folder, nsd_port=dns.port,
            modules="validator iterator" if is_signed else "iterator",
            anchor=f'trust-anchor-file: "{dns.anchor}"' if is_signed else ""))

    def options(self):
        return self.dns.options().replace(f"@{self.dns.port}", f"@{self.port}")

    def arguments(self):
        return ["-d", "-p", "-c", self.folder / "unbound.conf"]
