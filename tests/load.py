"""Mail under load, with a record of what was acknowledged; and a server that
takes mail and records it. Both in threads, for tests that need to know exactly
what happened to each message rather than how fast it went.

Each message carries one id, in X-Load-Id, and is sent once: after a broken
connection the next message has a new id. So in a mailbox no id may ever stand
twice, acknowledged or not."""
import random
import re
import smtplib
import socketserver
import threading

ID_HEADER = re.compile(rb"^X-Load-Id: (\S+)\r?$", re.MULTILINE)


def ids_of(messages):
    """The id of each message (octets) that has one."""
    return [match.group(1).decode() for match in map(ID_HEADER.search, messages) if match]


class Load:
    """`connections` threads, each sending one message after another to
    `choose(n)`, a list of recipients for its n-th, until stop()."""

    def __init__(self, server, choose, connections=4, octets=2000, messages_per_connection=20):
        self.server, self.choose, self.octets = server, choose, octets
        self.messages_per_connection = messages_per_connection
        self.acknowledged, self.attempted, self.errors = {}, set(), []
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._send_all, args=(n,), daemon=True)
                         for n in range(connections)]
        self._run = f"{random.getrandbits(32):08x}"

    def start(self):
        for thread in self._threads:
            thread.start()
        return self

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "a client hangs: no answer and no end for a minute"

    def count(self):
        return len(self.acknowledged)

    def _send_all(self, number):
        sent = 0
        while not self._stop.is_set():
            try:
                with self.server.smtp() as client:
                    client.ehlo()
                    for _ in range(self.messages_per_connection):
                        if self._stop.is_set():
                            break
                        self._send_one(client, f"{self._run}-{number}-{sent}", sent)
                        sent += 1
            except (OSError, smtplib.SMTPException) as error:
                sent += 1
                with self._lock:
                    self.errors.append(repr(error))
                self._stop.wait(0.1)

    def _send_one(self, client, message_id, sent):
        recipients = self.choose(sent)
        text = (f"From: a@example.net\r\nSubject: load\r\nX-Load-Id: {message_id}\r\n"
                f"Message-ID: <{message_id}@example.net>\r\n\r\n")
        text += ("x" * 78 + "\r\n") * (self.octets // 80)
        with self._lock:
            self.attempted.add(message_id)
        for code, words in [client.mail("a@example.net"), *map(client.rcpt, recipients)]:
            if code != 250:
                raise smtplib.SMTPResponseException(code, words)
        code, words = client.data(text.encode())
        if code != 250:
            raise smtplib.SMTPResponseException(code, words)
        with self._lock:
            self.acknowledged[message_id] = recipients


class Sink(socketserver.ThreadingTCPServer):
    """Takes every message. `received` has the octets of each, `transactions` its recipients."""
    allow_reuse_address, daemon_threads, request_queue_size = True, True, 128

    def __init__(self, port=0):
        self.received, self.transactions, self.connections = [], [], 0
        self.reply_to_rcpt = "250 2.1.5 fine"
        self.refused = set()  # recipients that are not here
        super().__init__(("127.0.0.1", port), SinkSession)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class SinkSession(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def _reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def _read_data(self):
        lines = []
        for line in iter(self.rfile.readline, b""):
            if line == b".\r\n":
                return b"".join(lines)
            lines.append(line[1:] if line.startswith(b".") else line)
        return None

    def handle(self):
        self.server.connections += 1
        recipients = []
        self._reply("220 sink.example.net ESMTP")
        for line in iter(self.rfile.readline, b""):
            verb = line[:4].upper()
            if verb == b"EHLO":
                self._reply("250-sink.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE")
            elif verb == b"RCPT":
                address = re.search(rb"<(.*?)>", line).group(1).decode()
                if address in self.server.refused:
                    self._reply("550 5.1.1 no such mailbox")
                    continue
                if self.server.reply_to_rcpt.startswith("2"):
                    recipients.append(address)
                self._reply(self.server.reply_to_rcpt)
            elif verb == b"DATA" and not recipients:
                self._reply("503 5.5.1 no recipients")
            elif verb == b"DATA":
                self._reply("354 go on")
                text = self._read_data()
                if text is None:
                    return
                self.server.received.append(text)
                self.server.transactions.append(recipients)
                recipients = []
                self._reply("250 2.0.0 taken")
            elif verb == b"QUIT":
                self._reply("221 2.0.0 bye")
                return
            else:
                recipients = [] if verb in (b"RSET", b"MAIL") else recipients
                self._reply("250 2.0.0 fine")
