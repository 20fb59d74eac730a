"""The servers that are measured, each made for one purpose:

    relay     everything goes on to a sink (or to hosts by domain)
    accept    everything is taken, and stays in the queue
    local     everything goes into mailboxes

`delay` has every sync of the disk last 2 ms longer, for all alike."""
import os
import pathlib
import shutil
import subprocess
import tempfile

import machine
import ports
from dovecot import Dovecot
from exim import Exim
from hayauma import RELEASE, Hayauma
from opensmtpd import Opensmtpd
from postfix import Postfix, sudo
from sendmail import Sendmail

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "bench"
SHIM = FOLDER / "sync_delay.so"
BACKLOG = FOLDER / "listen_backlog.so"
DOMAIN = "example.net"

# All limits are on and counted, and high enough that one client may be the whole world.
LIMITS = ("connections_per_client = 100000 messages_per_connection = 10000000 recipients = 1000 "
          "message_size = 64M")


class HayaumaServer:
    name = "hayauma"

    def __init__(self, row, sink, routes=None, domains=(DOMAIN,)):
        """`routes` maps domains to a host and port; all else goes to `sink`, or into
        mailboxes in `domains`."""
        self.row, self.next_hop = row, sink.port if sink else ports.free_port()
        self.domains = list(domains)
        self.routes = routes or (sink.routes if sink else {})
        self.start()

    def _options(self):
        if self.row.purpose == "local":
            return "users { auto_create = true }\n"
        if self.row.purpose == "accept":
            return f'smart_host = "smtp:[127.0.0.1]:{ports.free_port()}"\n'
        table = ""
        if self.routes:
            path = pathlib.Path(tempfile.mkstemp(prefix="mailertable-", dir=FOLDER)[1])
            path.write_text("".join(f"{domain}\tsmtp:[{host}]:{port}\n"
                                    for domain, (host, port) in self.routes.items()))
            path.chmod(0o644)
            table = f'tables {{ mailertable = "{path}" }}\n'
        return f'{table}smart_host = "smtp:[127.0.0.1]:{self.next_hop}"\n'

    def start(self):
        here = self.row.purpose == "local"
        self.server = Hayauma(
            binary=RELEASE, folder=FOLDER, listen={"smtp": 0, "lmtp": 0} if here else {"smtp": 0},
            role="mailbox" if here else "relay", domains=self.domains if here else [],
            options=f'log_level = "notice"\n{self._options()}', limits=LIMITS)
        if self.row.is_slow:
            self.server.environment["LD_PRELOAD"] = str(SHIM)
        self.server.start()
        self.port = self.server.ports["lmtp" if self.row.is_lmtp else "smtp"]
        self.pid = self.server.process.pid

    def fill(self):
        """Every mailbox is there before it is measured."""
        self.row.send(self.port, self.row.users, per_connection=100)

    def stop(self):
        self.server.stop()
        self.server.remove()


class PeerServer:
    """What the others share. `options` by purpose are said to their class; `preload`
    is loaded into its processes."""
    kind, options, preload = None, {}, ()

    def __init__(self, row, sink):
        self.row, self.sink = row, sink
        self.start()

    def _make(self, **more):
        return self.kind(folder=FOLDER, relay_to=self.sink.port if self.sink else 25,
                         options=self.options.get(self.row.purpose, ""), **more)

    def _preloaded(self):
        return [*self.preload, *([SHIM] if self.row.is_slow else [])]

    def start(self):
        self.server = self._make()
        if preloaded := self._preloaded():
            self.server.put("/etc/ld.so.preload", "".join(f"{one}\n" for one in preloaded))
        self.server.start()
        self.port, self.pid = self.server.port, self.server.process.pid

    def stop(self):
        self.server.remove()


class PostfixServer(PeerServer):
    name, kind = "postfix", Postfix
    # Accepting only: HOLD is the cheapest that Postfix can do with a message.
    options = {"accept": {"smtpd_data_restrictions": "check_client_access static:HOLD"}}

    def _make(self, **more):
        options = dict(self.options.get(self.row.purpose, {}))
        if self.sink and self.sink.routes:
            path = pathlib.Path(tempfile.mkstemp(prefix="transport-", dir=FOLDER)[1])
            path.write_text("".join(f"{domain}\tsmtp:[{host}]:{port}\n"
                                    for domain, (host, port) in self.sink.routes.items()))
            path.chmod(0o644)
            options["transport_maps"] = f"texthash:{path}"
        if self.row.is_slow:
            options["import_environment"] = (
                "MAIL_CONFIG MAIL_LOGTAG TZ LANG=C POSTLOG_SERVICE POSTLOG_HOSTNAME "
                f"LD_LIBRARY_PATH LD_PRELOAD={SHIM}")
        # Its default of 100 processes would leave most of more connections waiting. Its
        # master, who listens, asks for as many waiting ones as there are processes.
        processes = max(100, min(600, self.row.connections + 50))
        return Postfix(folder=FOLDER, relay_to=self.sink.port if self.sink else 25,
                       options=options, processes=processes,
                       preload=BACKLOG if self.row.connections > processes else None)

    def _preloaded(self):
        return []  # its environment says it


class EximServer(PeerServer):
    name, kind = "exim", Exim
    options = {"accept": "queue_only\n"}


class OpensmtpdServer(PeerServer):
    name, kind, preload = "opensmtpd", Opensmtpd, (BACKLOG,)
    # By default it waits seconds between connections to one host, and has five of them:
    # 17 messages/s. So it gets as many as Postfix has, at once, for as long as there is mail.
    options = {"relay": "".join(
        f"mta limit {key} {value}\n" for key, value in (
            ("max-conn-per-host", 50), ("max-conn-per-route", 50), ("max-conn-per-connector", 50),
            ("conn-delay-route", 0), ("conn-delay-relay", 0), ("reconn-delay-route", 0),
            ("session-mail-max", 1000000)))}

    def _make(self, **more):
        to = self.sink.port if self.sink and self.row.purpose == "relay" else ports.free_port()
        return Opensmtpd(folder=FOLDER, relay_to=to,
                         options=self.options.get(self.row.purpose, ""))


class SendmailServer(PeerServer):
    name, kind = "sendmail", Sendmail
    options = {"accept": "define(`confDELIVERY_MODE', `queueonly')\n"}


class DovecotServer(PeerServer):
    """Speaks LMTP whatever the row says: it has no SMTP."""
    name = "dovecot"

    def _make(self, **more):
        return Dovecot(folder=FOLDER, **more)

    def fill(self):
        """It makes one mailbox; the others are copies (mailboxes.py)."""
        self.row.send(self.server.port, 1, users=1, connections=1, is_lmtp=True)
        self.server.stop()
        subprocess.run([*sudo(), "/usr/bin/python3", ROOT / "bench" / "mailboxes.py",
                        self.server.real("/var/mail-here"), DOMAIN, str(self.row.users)],
                       check=True)
        subprocess.run([*sudo(), "sync"], check=True)
        self.server.start()
        self.pid = self.server.process.pid


class FloorServer:
    """The least that a server made like ours can cost: floor.c."""
    name, more = "floor", ()

    def __init__(self, row, sink):
        self.folder = tempfile.mkdtemp(prefix="floor-", dir=FOLDER)
        self.port = ports.free_port()
        command = [FOLDER / "floor", str(self.port), self.folder, *self.more,
                   *(["--lmtp"] if row.is_lmtp else []),
                   *(["--sink", str(sink.port)] if sink else [])]
        environment = {"LD_PRELOAD": str(SHIM)} if row.is_slow else {}
        self.process = subprocess.Popen(command, env={**os.environ, **environment})
        self.pid = self.process.pid
        ports.wait_until(lambda: ports.is_listening(self.port), "the floor server listens")

    def fill(self):
        """It has no mailboxes."""

    def stop(self):
        self.process.terminate()
        self.process.wait(10)
        shutil.rmtree(self.folder)


class InlineFloorServer(FloorServer):
    """Writes in the keeper's loop, without a thread: for bench/where."""
    name, more = "floor-inline", ("--inline",)


class WireServer:
    """No server: the source speaks to the sink. The most that can be measured here."""
    name = "wire"

    def __init__(self, row, sink):
        self.port, self.pid, self.sink = sink.port, sink.process.pid, sink

    def stop(self):
        pass


SERVERS = {kind.name: kind for kind in (HayaumaServer, PostfixServer, EximServer, OpensmtpdServer,
                                        SendmailServer, DovecotServer, FloorServer,
                                        InlineFloorServer, WireServer)}


def spent(server):
    """{process: CPU seconds} of all that the server is."""
    return machine.cpu_seconds(server.pid)
