"""A real Postfix from tools/peers, on loopback ports, with everything of its
own in one temporary folder. It needs root to start (its master does); an
ordinary user's test starts it through sudo.

Postfix wants a user and a group that nothing else uses. Debian's base has
plenty that nobody uses: mail_owner is `uucp`, setgid_group is `news`."""
import contextlib
import email
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import ports

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAIL_OWNER, SETGID_GROUP, MAILBOX_OWNER = "uucp", "news", 65534

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = {peer}/usr/sbin
daemon_directory = {peer}/usr/lib/postfix/sbin
shlib_directory = {peer}/usr/lib/postfix
meta_directory = {peer}/etc/postfix
mail_owner = {owner}
setgid_group = {group}
default_privs = nobody
import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME
    LD_LIBRARY_PATH
maillog_file_prefixes = {folder}
maillog_file = {folder}/log
myhostname = {hostname}
myorigin = {hostname}
mydestination =
local_recipient_maps =
local_transport = error:nothing is delivered to local accounts
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtp_host_lookup = native
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_peername_lookup = no
biff = no
swap_bangpath = no
append_dot_mydomain = no
message_size_limit = 52428800
mailbox_size_limit = 0
virtual_mailbox_limit = 0
minimal_backoff_time = 3s
maximal_backoff_time = 10s
queue_run_delay = 2s
virtual_mailbox_domains = {domains}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:all/
virtual_uid_maps = static:{mailbox_owner}
virtual_gid_maps = static:{mailbox_owner}
"""

MASTER_CF = """\
127.0.0.1:{port} inet n - n - {smtpd_processes} smtpd
pickup     unix       n - n 60   1   pickup
cleanup    unix       n - n -    0   cleanup
qmgr       unix       n - n 300  1   qmgr
tlsmgr     unix       - - n 1000? 1  tlsmgr
rewrite    unix       - - n -    -   trivial-rewrite
bounce     unix       - - n -    0   bounce
defer      unix       - - n -    0   bounce
trace      unix       - - n -    0   bounce
verify     unix       - - n -    1   verify
flush      unix       n - n 1000? 0  flush
proxymap   unix       - - n -    -   proxymap
smtp       unix       - - n -    {smtp_processes}   smtp
lmtp       unix       - - n -    -   lmtp
relay      unix       - - n -    {smtp_processes}   smtp
showq      unix       n - n -    -   showq
error      unix       - - n -    -   error
retry      unix       - - n -    -   error
discard    unix       - - n -    -   discard
virtual    unix       - n n -    -   virtual
anvil      unix       - - n -    1   anvil
scache     unix       - - n -    1   scache
postlog    unix-dgram n - n -    1   postlogd
"""

QUEUES = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming",
          "saved", "trace", "private"]


def sudo():
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


class Postfix:
    """`domains` are delivered to one Maildir; all else goes to `relay_to`, a
    port on loopback ("lmtp" in front of it speaks LMTP). `options` are lines of
    main.cf, `services` of master.cf; `preload` is loaded into its master. Its own
    folder is made in `folder`, else where temporary files are."""

    def __init__(self, hostname="postfix.example.net", domains=(), relay_to=None, options=None,
                 folder=None, processes=100, services="", preload=None):
        subprocess.run([ROOT / "tools" / "peers", "postfix"], check=True,
                       stdout=subprocess.DEVNULL)
        self.peer = ROOT / "build" / "peers" / "postfix"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hayauma-postfix-", dir=folder))
        self.folder.chmod(0o755)
        self.port = ports.free_port()
        main_cf = MAIN_CF.format(folder=self.folder, peer=self.peer, hostname=hostname,
                                 domains=" ".join(domains), owner=MAIL_OWNER, group=SETGID_GROUP,
                                 mailbox_owner=MAILBOX_OWNER)
        if relay_to:
            transport = "lmtp:inet" if str(relay_to).startswith("lmtp:") else "smtp"
            port = str(relay_to).rpartition(":")[2]
            main_cf += f"default_transport = {transport}:[127.0.0.1]:{port}\n".replace(
                "inet:[127.0.0.1]", "inet:127.0.0.1")
        for name, value in (options or {}).items():
            main_cf += f"{name} = {value}\n"
        etc = self.folder / "etc"
        etc.mkdir()
        (etc / "main.cf").write_text(main_cf)
        (etc / "master.cf").write_text(MASTER_CF.format(
            port=self.port, smtpd_processes=processes, smtp_processes=processes) + services)
        self._make_folders()
        self.preload = preload
        self.process = None

    def _make_folders(self):
        """What `postfix check` would make, with its owners and modes."""
        queue, f = self.folder / "queue", self.folder
        commands = [f"mkdir -p {queue}/pid {queue}/public {queue}/maildrop {f}/data {f}/mail",
                    f"cd {queue} && mkdir -p {' '.join(QUEUES)}",
                    f"cd {queue} && chown {MAIL_OWNER} {' '.join(QUEUES)} {f}/data",
                    f"cd {queue} && chmod 700 {' '.join(QUEUES)} {f}/data",
                    f"cd {queue} && chown {MAIL_OWNER}:{SETGID_GROUP} public maildrop",
                    f"cd {queue} && chmod 710 public && chmod 730 maildrop",
                    f"chown {MAILBOX_OWNER}:{MAILBOX_OWNER} {f}/mail",
                    f"chown -R 0:0 {f}/etc {queue}/pid && chown 0:0 {queue}"]
        subprocess.run([*sudo(), "sh", "-ec", "\n".join(commands)], check=True)

    def start(self):
        master = self.peer / "usr/lib/postfix/sbin/master"
        libraries = (self.peer / "library-path").read_text().strip()
        self.process = subprocess.Popen(
            [*sudo(), "env", f"LD_LIBRARY_PATH={libraries}",
             *([f"LD_PRELOAD={self.preload}"] if self.preload else []),
             master, "-c", self.folder / "etc", "-d"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=(self.folder / "stderr").open("wb"))
        ports.wait_until(lambda: self.process.poll() is not None or ports.is_listening(self.port),
                         "Postfix listens")
        if self.process.poll() is not None:
            raise AssertionError("Postfix did not start:\n" + self.log())
        return self

    def log(self):
        return "".join(path.read_text(errors="replace") if path.exists() else ""
                       for path in (self.folder / "stderr", self.folder / "log"))

    def messages(self):
        """All messages delivered here, parsed."""
        files = sorted((self.folder / "mail" / "all" / "new").glob("*"))
        return [email.message_from_bytes(file.read_bytes()) for file in files]

    def is_idle(self):
        """Nothing waits in its queue."""
        queue = self.folder / "queue"
        return not any(path.is_file() for name in ("maildrop", "incoming", "active", "deferred")
                       for path in (queue / name).rglob("*"))

    def stop(self):
        if self.process and self.process.poll() is None:
            if os.geteuid() == 0:
                self.process.send_signal(signal.SIGTERM)
            else:
                subprocess.run(["sudo", "-n", "kill", str(self.process.pid)], check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def remove(self):
        self.stop()
        if os.geteuid() == 0:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            subprocess.run(["sudo", "-n", "rm", "-rf", "--", str(self.folder)], check=False)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.remove()
