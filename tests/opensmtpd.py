"""A real OpenSMTPD from tools/peers, on a loopback port; see peer.py."""
from peer import Peer

CONFIG = """\
table here {{ {domains} }}
smtp limit max-mails 100000
smtp limit max-rcpt 20000
{options}
listen on 127.0.0.1 port {port} hostname {hostname}
action "relay" relay host smtp://127.0.0.1:{relay_to}
action "here" maildir "/var/mail-here/all" virtual {{ "@" = "opensmtpd" }}
match from any for domain <here> action "here"
match from any for any action "relay"
"""


class Opensmtpd(Peer):
    """`domains` are delivered here, all to one Maildir; all else goes
    to `relay_to`, a port on loopback. `options` are lines of smtpd.conf."""
    name, users = "opensmtpd", ("opensmtpd", "opensmtpq")
    writable = {"/var/spool": ("root", "root", "0755"),
                "/var/mail-here": ("opensmtpd", "opensmtpd", "0755"),
                "/run": ("root", "root", "0755")}

    def __init__(self, hostname="opensmtpd.example.net", domains=(), relay_to=25, options="",
                 **more):
        self.config = {"hostname": hostname, "relay_to": relay_to, "options": options,
                       "domains": ", ".join(domains) or "never.invalid"}
        super().__init__(**more)

    def configure(self):
        self.put("/etc/smtpd.conf", CONFIG.format(port=self.port, **self.config))
        # It looks up everybody's name, and would wait for servers that do not answer.
        self.put("/etc/resolv.conf", "lookup file\n")
        self.as_root("mkdir", "-p", str(self.folder / "var/lib/opensmtpd/empty"))
        self.as_root("chmod", "-R", "0711", str(self.folder / "var/lib/opensmtpd"))
        self.as_root("chown", "-R", "0:0", str(self.folder / "var"))
        self.as_root("mkdir", "-m", "0711", str(self.real("/var/spool") / "smtpd"))

    def command(self):
        return ["/usr/sbin/smtpd", "-d"]

    def mail_files(self):
        """Messages delivered here."""
        return list((self.real("/var/mail-here") / "all" / "new").glob("*"))
