"""An SMTP server on a loopback address that behaves as a test wants it to.

    with SmtpPeer("127.0.0.11", port, replies={"RCPT": "450 4.2.0 later"}) as peer:
        ...
        assert peer.messages[0].recipients == ["hanako@two.example"]"""
import dataclasses
import re
import socket
import socketserver
import ssl
import threading
import time


@dataclasses.dataclass
class Taken:
    mail: str          # the whole command
    rcpts: list        # the whole commands
    recipients: list   # the addresses in them
    octets: bytes      # transparency undone
    bdat: bool = False


class Session(socketserver.StreamRequestHandler):
    timeout = 60

    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def _step(self, name):
        """False: the connection ends here."""
        peer = self.server.peer
        if name == peer.close_at:
            return False
        if name == peer.hang_at:
            peer.ended.wait(60)
            return False
        if name == peer.garbage_at:
            self.wfile.write(b"\x00\xff what is this\r\nno reply at all\r\n")
            return False
        return True

    def _read_data(self):
        lines = []
        while True:
            line = self.rfile.readline()
            if line == b".\r\n":
                return b"".join(lines)
            if not line:
                raise ConnectionError
            lines.append(line[1:] if line.startswith(b".") else line)

    def handle(self):
        peer = self.server.peer
        peer.connections += 1
        try:
            if self._step("greeting"):
                self.reply(peer.replies.get("greeting", f"220 {peer.name} ESMTP"))
                self._session(peer)
        except (ConnectionError, TimeoutError, ssl.SSLError):
            pass

    def _start_tls(self, peer):
        self.connection = peer.tls.wrap_socket(self.connection, server_side=True)
        self.setup_files()

    def setup_files(self):
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)

    def _session(self, peer):
        mail, rcpts, accepted, chunks = "", [], 0, []
        for raw in iter(lambda: self.rfile.readline(), b""):
            line = raw.decode("utf-8", "surrogateescape").rstrip("\r\n")
            verb = line.split(" ")[0].upper()
            peer.commands.append(line)
            if not self._step(verb):
                return
            wanted = peer.replies.get(verb)
            if callable(wanted):
                wanted = wanted(line)
            if verb in ("EHLO", "LHLO"):
                is_plain = not isinstance(self.connection, ssl.SSLSocket)
                offers = [peer.name, *peer.offers, *(["STARTTLS"] if peer.tls and is_plain else [])]
                self.reply(wanted or "\r\n".join(
                    f"250{'-' if i + 1 < len(offers) else ' '}{o}" for i, o in enumerate(offers)))
            elif verb == "MAIL":
                mail, rcpts, accepted = line, [], 0
                self.reply(wanted or "250 2.1.0 ok")
            elif verb == "RCPT":
                self.reply(wanted or "250 2.1.5 ok")
                if not wanted or wanted.startswith("2"):
                    rcpts.append(line)
                    accepted += 1
            elif verb == "DATA":
                if wanted or not accepted:
                    self.reply(wanted or "503 5.5.1 no recipients")
                    continue
                self.reply("354 go on")
                octets = self._read_data()
                if not self._step("."):
                    return
                self._take(peer, Taken(mail, rcpts, [], octets), accepted)
            elif verb == "BDAT":
                chunks.append(self.rfile.read(int(line.split(" ")[1])))
                if not line.upper().endswith(" LAST"):
                    self.reply("250 2.0.0 chunk")
                    continue
                self._take(peer, Taken(mail, rcpts, [], b"".join(chunks), True), accepted)
                chunks = []
            elif verb == "STARTTLS" and peer.tls and not wanted:
                self.reply("220 2.0.0 begin")
                self._start_tls(peer)
            elif verb == "QUIT":
                self.reply("221 2.0.0 bye")
                return
            else:
                self.reply(wanted or "250 2.0.0 ok")

    def _take(self, peer, taken, accepted):
        wanted = peer.replies.get(".")
        if not wanted or wanted.startswith("2"):
            taken.recipients = [re.search("<(.*?)>", rcpt).group(1) for rcpt in taken.rcpts]
            peer.messages.append(taken)
            peer.times.append(time.monotonic())
        for _ in range(accepted if peer.is_lmtp else 1):
            self.reply(wanted or "250 2.0.0 taken")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, True, 128


class Server6(Server):
    address_family = socket.AF_INET6


class SmtpPeer:
    """`replies`: to commands ("greeting", "MAIL", …, "." after the text): a text, or
    a function of the command that gives one. `close_at`, `hang_at`, `garbage_at`
    name a step at which it does that. `tls`: a file with certificate and key: STARTTLS
    is offered."""

    def __init__(self, host, port, name="peer.example", replies=None,
                 offers=("PIPELINING", "8BITMIME", "SIZE 0"), close_at=None, hang_at=None,
                 garbage_at=None, is_lmtp=False, tls=None):
        self.host, self.port, self.name = host, port, name
        self.replies, self.offers, self.is_lmtp = dict(replies or {}), offers, is_lmtp
        self.close_at, self.hang_at, self.garbage_at = close_at, hang_at, garbage_at
        self.tls = None
        if tls:
            self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.tls.load_cert_chain(tls)
        self.connections, self.commands, self.messages, self.times = 0, [], [], []
        self.ended, self.server = threading.Event(), None

    def start(self):
        self.server = (Server6 if ":" in self.host else Server)((self.host, self.port), Session)
        self.server.peer = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        self.ended.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
