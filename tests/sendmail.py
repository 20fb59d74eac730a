"""A real sendmail from tools/peers, on a loopback port; see peer.py. It relays
everything; its configuration is made with its own m4 macros."""
import os
import socket
import subprocess

from peer import ROOT, Peer, sudo

CONFIG = """\
include(`{cf}/m4/cf.m4')
OSTYPE(`linux')
define(`confDOMAIN_NAME', `{hostname}')
define(`confDEF_USER_ID', `65534:65534')
define(`confPID_FILE', `/run/sendmail.pid')
define(`confTO_IDENT', `0s')
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')
define(`confHOSTS_FILE', `/etc/hosts')
define(`confQUEUE_LA', `1000')
define(`confREFUSE_LA', `1000')
define(`confDELAY_LA', `0')
define(`confCONNECTION_RATE_THROTTLE', `0')
define(`confMAX_RCPTS_PER_MESSAGE', `0')
define(`confCOPY_ERRORS_TO', `')
define(`QUEUE_DIR', `/var/spool/mqueue')
define(`STATUS_FILE', `/var/spool/mqueue/statistics')
define(`ALIAS_FILE', `')
define(`SMART_HOST', `relay:[127.0.0.1]')
define(`RELAY_MAILER_ARGS', `TCP $h {relay_to}')
undefine(`confHOST_STATUS_DIRECTORY')
FEATURE(`no_default_msa')
FEATURE(`nocanonify')
FEATURE(`accept_unresolvable_domains')
FEATURE(`promiscuous_relay')
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port={port}, Listen=1000')
{options}
MAILER(`smtp')
"""


class Sendmail(Peer):
    """Everything goes to `relay_to`, a port on loopback. `options` are lines
    of its .mc file."""
    name, users = "sendmail", ("smmta", "smmsp")
    writable = {"/var/spool/mqueue": ("root", "root", "0700"), "/run": ("root", "root", "0755")}

    def __init__(self, hostname="sendmail.example.net", relay_to=25, options="", **more):
        self.config = {"hostname": hostname, "relay_to": relay_to, "options": options}
        super().__init__(**more)

    def configure(self):
        cf = self.peer / "usr/share/sendmail/cf"
        if not cf.exists():
            cf = next(self.peer.rglob("cf.m4")).parent.parent
        libraries = (self.peer / "library-path").read_text().strip()
        done = subprocess.run([self.peer / "usr/bin/m4", f"-D_CF_DIR_={cf}/"],
                              input=CONFIG.format(cf=cf, port=self.port, **self.config), text=True,
                              capture_output=True, cwd=cf,
                              env={**os.environ, "LD_LIBRARY_PATH": libraries}, check=True)
        self.put("/etc/mail/sendmail.cf", done.stdout)
        for name, text in (("local-host-names", ""), ("trusted-users", "root\n"),
                           ("service.switch", "hosts files\naliases files\npasswd files\n")):
            self.put(f"/etc/mail/{name}", text)
        # It looks for its own names before it listens, and waits for an answer.
        self.put("/etc/hosts", f"127.0.0.1 localhost\n127.0.0.2 {self.config['hostname']} "
                 f"{socket.gethostname()}\n")
        self.put("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")

    def command(self):
        return ["/usr/libexec/sendmail/sendmail", "-bD", "-q1m", "-C/etc/mail/sendmail.cf",
                "-X/dev/null"]
