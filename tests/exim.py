"""A real Exim from tools/peers, on a loopback port; see peer.py."""
from peer import Peer

CONFIG = """\
primary_hostname = {hostname}
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
never_users = root
smtp_accept_max = 0
smtp_accept_max_per_connection = 0
# Of more than 20 clients that come at once the kernel would leave some without a greeting.
smtp_connect_backlog = 1000
# Else what comes after the tenth message of a connection waits for the queue runner.
smtp_accept_queue_per_connection = 0
acl_smtp_rcpt = accept_all
log_file_path = /var/log/exim4/%slog
{options}

begin acl
accept_all:
    accept

begin routers
here:
    driver = accept
    domains = {domains}
    transport = maildir
on:
    driver = manualroute
    domains = ! +never
    route_list = * 127.0.0.1
    self = send
    transport = smtp

begin transports
maildir:
    driver = appendfile
    directory = /var/mail-here/all
    maildir_format
    create_directory
    user = Debian-exim
smtp:
    driver = smtp
    port = {relay_to}
    allow_localhost

begin retry
* * F,1d,10s
"""


class Exim(Peer):
    """`domains` are delivered here, all to one Maildir; all else goes
    to `relay_to`, a port on loopback. `options` are lines of the main section."""
    name, users = "exim", ("Debian-exim",)
    writable = {path: ("Debian-exim", "Debian-exim", "0750") for path in
                ("/var/spool/exim4", "/var/log/exim4", "/var/mail-here")} \
        | {"/run": ("root", "root", "0755")}

    def __init__(self, hostname="exim.example.net", domains=(), relay_to=25, options="", **more):
        self.config = {"hostname": hostname, "domains": ":".join(domains) or "never.invalid",
                       "relay_to": relay_to,
                       "options": "domainlist never = never.invalid\n" + options}
        super().__init__(**more)

    def configure(self):
        self.put("/etc/exim4/exim4.conf", CONFIG.format(port=self.port, **self.config))

    def command(self):
        return ["/usr/sbin/exim4", "-bdf", "-q1m"]

    def logs(self):
        return [self.real("/var/log/exim4") / "mainlog", self.real("/var/log/exim4") / "paniclog"]

    def mail_files(self):
        """Messages delivered here."""
        return list((self.real("/var/mail-here") / "all" / "new").glob("*"))
