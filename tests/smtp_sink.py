"""An SMTP server on a Unix socket for tests of `hayauma send`: remembers what it
was told and answers as the test wants."""
import pathlib
import socketserver
import threading


class Session(socketserver.StreamRequestHandler):
    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def answer_to(self, line):
        for start, text in self.server.sink.replies.items():
            if line.upper().startswith(start.upper()):
                return text
        return None

    def handle(self):
        sink, recipients = self.server.sink, []
        self.reply(sink.replies.get("", "220 sink ESMTP"))
        for raw in self.rfile:
            line = raw.decode("utf-8", "replace")
            assert line.endswith("\r\n"), raw
            line = line[:-2]
            sink.commands.append(line)
            wanted, verb = self.answer_to(line), line.split(" ")[0].upper()
            if verb == "EHLO":
                self.reply("\r\n".join(f"250{'-' if more else ' '}{word}" for word, more in
                                       zip(sink.offers, [True] * (len(sink.offers) - 1)
                                           + [False])))
            elif verb == "DATA" and not wanted:
                self.reply("354 go on")
                lines = []
                while not lines or lines[-1] != b".\r\n":
                    lines.append(self.rfile.readline())
                    assert lines[-1].endswith(b"\r\n"), lines[-1]
                sink.messages.append((recipients, b"".join(lines[:-1])))
                recipients = []
                self.reply(sink.replies.get(".", "250 2.0.0 taken"))
            elif verb == "QUIT":
                self.reply("221 bye")
                return
            elif verb == "RCPT":
                if sink.recipients_max and len(recipients) >= sink.recipients_max:
                    wanted = "452 4.5.3 too many"
                if not wanted:
                    recipients.append(line[line.index("<") + 1:line.index(">")])
                self.reply(wanted or "250 2.1.5 ok")
            else:
                self.reply(wanted or "250 ok")


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class SmtpSink:
    """`replies`: what is answered to commands that start so ("": the greeting,
    ".": after the text). `commands` and `messages` (recipients, octets with
    dots still doubled) are what came."""

    def __init__(self, path, offers=("sink", "8BITMIME", "SMTPUTF8", "SIZE", "DSN"), replies=None,
                 recipients_max=0):
        self.offers, self.replies, self.recipients_max = offers, replies or {}, recipients_max
        self.commands, self.messages = [], []
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.server = Server(str(path), Session)
        self.server.sink = self

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def starting(self, verb):
        return [line for line in self.commands if line.startswith(verb)]
