"""A real Dovecot from tools/peers: LMTP, IMAP and POP3 on loopback ports, a
mailbox for every name (mdbox); see peer.py."""
import ports
from peer import Peer

PASSWORD = "correct-horse"  # its static driver divides at spaces

CONFIG = """\
protocols = lmtp imap pop3
listen = 127.0.0.1
base_dir = /run/dovecot
state_dir = /run/dovecot/state
log_path = /var/log/dovecot/log
hostname = {hostname}
postmaster_address = postmaster@{hostname}
ssl = no
disable_plaintext_auth = no
default_process_limit = 1100
auth_username_format = %Lu
mail_location = {location}:~/mail
first_valid_uid = 1000
{options}
passdb {{
    driver = static
    args = password={password}
}}
userdb {{
    driver = static
    args = uid=vmail gid=vmail home=/var/mail-here/%2.256Hu/%u allow_all_users=yes
}}
service lmtp {{
    process_min_avail = {lmtp_processes}
    inet_listener lmtp {{
        address = 127.0.0.1
        port = {port}
    }}
}}
service imap-login {{
    inet_listener imap {{
        port = {imap}
    }}
    inet_listener imaps {{
        port = 0
    }}
}}
service pop3-login {{
    inet_listener pop3 {{
        port = {pop3}
    }}
    inet_listener pop3s {{
        port = 0
    }}
}}
"""


class Dovecot(Peer):
    """`port` speaks LMTP, `imap_port` and `pop3_port` what they say; every
    user has PASSWORD. `location` is the format of mailboxes."""
    name, users = "dovecot", ("dovecot", "dovenull", "vmail")
    writable = {"/var/mail-here": ("vmail", "vmail", "0755"),
                "/var/log/dovecot": ("root", "root", "0755"),
                "/var/lib/dovecot": ("root", "root", "0755"),
                "/run": ("root", "root", "0755")}

    def __init__(self, hostname="dovecot.example.net", location="mdbox", options="",
                 lmtp_processes=2, **more):
        self.imap_port, self.pop3_port = ports.free_port(), ports.free_port()
        self.config = {"hostname": hostname, "location": location, "options": options,
                       "lmtp_processes": lmtp_processes, "imap": self.imap_port,
                       "pop3": self.pop3_port, "password": PASSWORD}
        super().__init__(**more)

    def configure(self, more=""):
        """Writes its configuration, with `more` lines in it."""
        text = CONFIG.format(port=self.port, **self.config) + more
        self.put("/etc/dovecot/dovecot.conf", text)

    def command(self):
        return ["/usr/sbin/dovecot", "-F", "-c", "/etc/dovecot/dovecot.conf"]

    def logs(self):
        return [self.real("/var/log/dovecot") / "log"]
