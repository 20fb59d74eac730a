"""A client that believes only what it is told: a mailbox as the untagged
responses describe it, sequence number by sequence number."""
import re
import socket

FETCH = re.compile(rb"^\* (\d+) FETCH \((.*)\)$")


class Mirror:
    def __init__(self, port, account, password, timeout=180):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.file = self.socket.makefile("rb")
        self.rows = []  # [uid or None, set of flags or None]
        self.tags = 0
        assert self.line().startswith(b"* OK")
        self.command(f'LOGIN {account} "{password}"')

    def close(self):
        self.file.close()
        self.socket.close()

    def line(self):
        """One line of the server's; octets of literals within it are left out."""
        whole = b""
        while True:
            part = self.file.readline()
            assert part.endswith(b"\r\n"), f"the connection ended after {whole + part!r}"
            part = part[:-2]
            literal = re.search(rb"\{(\d+)\}$", part)
            if not literal:
                return whole + part
            self.file.read(int(literal.group(1)))
            whole += part[:literal.start()] + b'""'

    def take(self, line):
        if line.endswith(b" EXISTS"):
            count = int(line.split()[1])
            assert count >= len(self.rows), (line, len(self.rows))
            self.rows += [[None, None] for _ in range(count - len(self.rows))]
        elif line.endswith(b" EXPUNGE"):
            number = int(line.split()[1])
            assert 1 <= number <= len(self.rows), (line, len(self.rows))
            del self.rows[number - 1]
        elif found := FETCH.match(line):
            number = int(found.group(1))
            assert 1 <= number <= len(self.rows), (line, len(self.rows))
            row = self.rows[number - 1]
            if uid := re.search(rb"UID (\d+)", found.group(2)):
                assert row[0] in (None, int(uid.group(1))), (line, row)
                row[0] = int(uid.group(1))
            if flags := re.search(rb"FLAGS \(([^)]*)\)", found.group(2)):
                row[1] = frozenset(flags.group(1).split()) - {rb"\Recent"}
        assert not line.startswith(b"* BYE"), line

    def send(self, octets):
        self.socket.sendall(octets)

    def wait(self, tag):
        """Takes what comes until the command's own answer; that."""
        while True:
            line = self.line()
            if line.startswith(tag + b" "):
                return line[len(tag) + 1:]
            self.take(line)

    def command(self, text, literal=None, wanted=b"OK"):
        self.tags += 1
        tag = b"t%d" % self.tags
        octets = tag + b" " + text.encode()
        if literal is not None:
            octets += b" {%d+}\r\n" % len(literal) + literal
        self.send(octets + b"\r\n")
        answer = self.wait(tag)
        assert wanted is None or answer.startswith(wanted), (text, answer)
        return answer

    def select(self, name):
        self.rows = []
        self.command(f"SELECT {name}")
        self.learn()

    def learn(self):
        """Asks for what is not known yet."""
        if any(uid is None or flags is None for uid, flags in self.rows):
            self.command("FETCH 1:* (UID FLAGS)")

    def idle(self, until):
        """Idles until `until()`, which is asked after each line or 50 ms."""
        self.tags += 1
        tag = b"t%d" % self.tags
        self.send(tag + b" IDLE\r\n")
        while not (line := self.line()).startswith(b"+"):
            self.take(line)
        until()
        self.send(b"DONE\r\n")
        assert self.wait(tag).startswith(b"OK")

    def state(self):
        return {uid: flags for uid, flags in self.rows}
