"""A Hayauma server for a test: its own folder, its own loopback ports, started
as an administrator would start it, and watched.

    with Hayauma(users=["hanako@example.jp"]) as server:
        server.send("a@example.net", ["hanako@example.jp"], MESSAGE)
        server.wait_for_messages("hanako@example.jp", 1)

Leaving the block stops it, and fails the test when a sanitizer reported, an
assertion failed, or a process ended otherwise than by kill(). Works as root
(processes then run as their own users) and as an ordinary user.

Environment: HAYAUMA is the program to test (build/san/hayauma, which `make
check` builds, else build/hayauma); HAYAUMA_KEEP=1 keeps the folders."""
import json
import os
import pathlib
import re
import shutil
import signal
import smtplib
import subprocess
import sys
import tempfile
import time

import ports

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tools"))
import status_codes  # noqa: E402, it lies there
RELEASE = ROOT / "build" / "hayauma"
SANITIZED = ROOT / "build" / "san" / "hayauma"

SANITIZER_OPTIONS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1:print_stacktrace=1",
}
TROUBLE = re.compile(r"(Address|Leak|UndefinedBehavior)Sanitizer|runtime error:|Assertion .* failed"
                     r"|signal (ABRT|SEGV|BUS|ILL|FPE|SYS)|DEADLYSIGNAL")
PASSWORD, NOBODY = "correct horse", 65534
LOG_HELD_S = 0.03  # a process keeps lines for 5 ms, so that they go out together


def program():
    chosen = os.environ.get("HAYAUMA")
    return pathlib.Path(chosen) if chosen else SANITIZED if SANITIZED.exists() else RELEASE


# What an edge decides; what becomes of a message is the keeper's part of a record.
DECISIONS = {"received", "accepted", "refused", "rule", "routed", "held", "discarded"}


def decided(steps):
    """What `try` and `why` must agree about: all but times, ports, the way of the
    connection, and what an administrator did."""
    found = []
    for step in steps:
        if step["kind"] not in DECISIONS or "administrator" in step.get("text", ""):
            continue
        kept = {k: v for k, v in step.items() if k not in ("at", "host", "detail")}
        kept["details"] = [word for word in step.get("detail", "").split()
                           if not word.startswith(("listen=", "protocol=", "size=", "tls="))]
        found.append(kept)
    return sorted(found, key=lambda step: step.get("recipient", -1))


class Watched:
    """A client that fails where a reply has not the enhanced status code it needs."""

    asked = ""  # the last verb, in lower case

    def connect(self, *words, **more):
        self.asked = ""
        return super().connect(*words, **more)

    def putcmd(self, cmd, args=""):
        self.asked = cmd.split(" ")[0].lower()
        super().putcmd(cmd, args)

    def getreply(self):
        code, text = super().getreply()
        wrong = code > 0 and status_codes.wrong_with_reply(self.asked, code,
                                                           text.decode(errors="replace"))
        assert not wrong, wrong
        return code, text


class SMTP(Watched, smtplib.SMTP):
    pass


class SMTP_SSL(Watched, smtplib.SMTP_SSL):
    pass


class LMTP(Watched, smtplib.LMTP):
    pass


class Hayauma:
    """`listen` maps a protocol to its port (0: a free one); `limits` are those
    options, and `options` is text for the end of hayauma.conf; `users` are made
    before the start, all with PASSWORD. With `tls`, there is a self-signed
    certificate. The server's own folder is made in `folder`, else where temporary
    files are. `as_nobody` has root's test run everything as the user nobody."""

    compares = False  # send() asks `hayauma try` about each message, too

    def __init__(self, hostname="mx1.example.jp", domains=("example.jp",), users=(), options="",
                 listen=None, tls=False, binary=None, role="mailbox", folder=None, as_nobody=False,
                 limits="connections_per_client = 0 messages_per_connection = 0"):
        self.binary = pathlib.Path(binary or program())
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hayauma-test-", dir=folder))
        self.folder.chmod(0o755)
        self.config, self.log_path = self.folder / "hayauma.conf", self.folder / "log"
        self.hostname, self.domains, self.users, self.role = hostname, domains, users, role
        self.options, self.tls, self.limits = options, tls, limits
        self.ports = {protocol: port or ports.free_port() for protocol, port in
                      (listen or {"smtp": 0, "lmtp": 0}).items()}
        self.process, self.killed, self._before_kill = None, 0, {}
        self.environment = {}  # of the server, besides our own
        if not self.binary.exists():
            raise AssertionError(f"there is no {self.binary}: run `make check`")
        self._identity = {}
        if as_nobody and os.geteuid() == 0:
            self._identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            shutil.copy(self.binary, self.folder)  # a checkout may be closed to others
            self.binary = self.folder / self.binary.name
            os.chown(self.folder, NOBODY, NOBODY)
        if tls:
            self._make_certificate()
        self.write_config()
        for address in users:
            self.add_user(address)

    # Configuration and commands

    def write_config(self, more=""):
        def texts(items):
            return "{ " + ", ".join(f'"{item}"' for item in items) + " }"
        listen = [f"{protocol}://127.0.0.1:{port}" for protocol, port in self.ports.items()]
        lines = [f'hostname = "{self.hostname}"', f'role = "{self.role}"',
                 f"domains = {texts(self.domains)}", f"listen = {texts(listen)}",
                 f'state_dir = "{self.folder}/state"', f'run_dir = "{self.folder}/run"',
                 f'users {{ file = "{self.folder}/users" }}',
                 f"limits {{ {self.limits} }}"]
        if self.tls:
            lines.append(f'tls {{ certificate = "{self.folder}/cert.pem" '
                         f'key = "{self.folder}/key.pem" }}')
        self.config.write_text("\n".join([*lines, self.options, more, ""]))

    def _make_certificate(self):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        f"/CN={self.hostname}", "-addext", f"subjectAltName=DNS:{self.hostname}",
                        "-keyout", self.folder / "key.pem", "-out", self.folder / "cert.pem"],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                       **self._identity)

    def run(self, *words, text="", check=True, timeout=180):
        """`hayauma WORDS -c FILE`; the finished process, output as text. Where it says that
        what it should change is being delivered, it is said again, with `check`."""
        for _ in range(100):
            done = subprocess.run([self.binary, *words, "-c", self.config], input=text, text=True,
                                  capture_output=True, timeout=timeout, errors="replace",
                                  env={**os.environ, **SANITIZER_OPTIONS}, **self._identity)
            if not check or "being delivered; try again in a moment" not in done.stderr:
                break
            time.sleep(0.1)
        if check and done.returncode != 0:
            raise AssertionError(f"hayauma {' '.join(map(str, words))}: status {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}")
        return done

    def rows(self, *words, **options):
        """A listing as a list of dictionaries: one array, or an object a line."""
        output = self.run(*words, "--json", **options).stdout.strip()
        if output.startswith("["):
            return json.loads(output)
        return [json.loads(line) for line in output.splitlines() if line]

    def add_user(self, address, password=PASSWORD):
        self.run("user", "add", address, text=password + "\n")

    def why(self, key, check=True):
        """What `hayauma why KEY` tells."""
        return self.run("why", str(key), check=check).stdout

    def wait_for_why(self, key, wanted, timeout=20):
        """Waits until `why` says `wanted` (a pattern); its whole text."""
        def told():
            text = self.why(key, check=False)
            return text if re.search(wanted, text) else None
        return ports.wait_until(told, f"why {key} says {wanted}; it says:\n"
                                + self.why(key, check=False), timeout, 0.2)

    def queue(self):
        return self.rows("queue", "list")

    def messages(self, address, mailbox="INBOX"):
        """Every message of a mailbox, as octets with lines that end in LF."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="export-", dir=self.folder))
        if self._identity:
            os.chown(folder, NOBODY, NOBODY)
        maildir = folder / "Maildir"
        done = self.run("mailbox", "export", address, mailbox, "--maildir", str(maildir),
                        check=False)
        found = [p.read_bytes().replace(b"\r\n", b"\n")
                 for part in ("cur", "new") for p in sorted((maildir / part).glob("*"))]
        shutil.rmtree(folder)
        if done.returncode != 0 and found:
            raise AssertionError(f"mailbox export: {done.stderr}")
        return found

    def message(self, address, uid=1, mailbox="INBOX"):
        """One message, each octet as it is stored."""
        return subprocess.run([self.binary, "mailbox", "show", address, mailbox, str(uid), "-c",
                               self.config], check=True, capture_output=True, timeout=180,
                              **self._identity).stdout

    def wait_for_messages(self, address, count, mailbox="INBOX", timeout=20):
        def there():
            found = self.messages(address, mailbox)
            return found if len(found) >= count else None
        return ports.wait_until(there, f"{count} messages for {address}", timeout, 0.2)

    # Speaking to it

    def smtp(self, protocol="smtp", timeout=180):
        return SMTP("127.0.0.1", self.ports[protocol], "client.example.net", timeout)

    def lmtp(self):
        return LMTP("127.0.0.1", self.ports["lmtp"], "client.example.net")

    def send(self, mail_from, recipients, text):
        """One message over SMTP; the recipients refused, with code and words. Where the
        server `compares`, `hayauma try` must give the record that `why` has of it."""
        with self.smtp() as client:
            if not self.compares:
                return client.sendmail(mail_from, recipients, text)
            client.ehlo()
            code, words = client.mail(mail_from)
            assert code == 250, words
            refused = {}
            for rcpt_to in recipients:
                code, words = client.rcpt(rcpt_to)
                if code != 250:
                    refused[rcpt_to] = (code, words)
            if len(refused) < len(recipients):
                code, words = client.data(text)
        self.compare_with_try(words.decode(), "127.0.0.1", mail_from, recipients, text)
        if len(refused) == len(recipients):
            raise smtplib.SMTPRecipientsRefused(refused)
        if code != 250:
            raise smtplib.SMTPDataError(code, words)
        return refused

    def compare_with_try(self, words, client, mail_from, recipients, text=None):
        """`words` are those of the last reply, with the message's id."""
        message = ["--message", str(self.folder / "tried")] if text is not None else []
        if message:
            octets = text if isinstance(text, bytes) else text.encode()
            (self.folder / "tried").write_bytes(octets)
        tried = self.rows("try", "--client", client, "--helo", "client.example.net", "--mail-from",
                          mail_from, *message, "--rcpt", *recipients)[0]["steps"]
        message_id = re.search(r"\b([0-9a-z]{13})\b", words)[1]
        self.wait_for_why(message_id, "received")
        told = next(row for row in self.rows("why", message_id) if row["id"] == message_id)
        tried, told = decided(tried), decided(told["steps"])
        assert tried == told, f"{mail_from} {recipients}\ntried {tried}\ntold {told}"

    def greets(self, protocol):
        try:
            with self.smtp(protocol, timeout=60):
                return True
        except (OSError, smtplib.SMTPException):
            return False

    # Running

    def start(self, timeout=30):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen([self.binary, "run", "-c", self.config],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **SANITIZER_OPTIONS,
                                                 **self.environment}, **self._identity)
        self.wait_until_ready(timeout)
        return self

    def wait_until_ready(self, timeout=30):
        """Until a greeting comes on each port and the control socket answers."""
        waiting = [p for p in self.ports if p in ("smtp", "lmtp", "submission")]

        def is_ready():
            if self.process.poll() is not None:
                raise AssertionError(f"ended at start, status {self.process.returncode}:\n"
                                     + self.log())
            while waiting and self.greets(waiting[0]):
                waiting.pop(0)
            return not waiting and self.run(
                "status", "--no-probe", check=False).returncode == 0
        ports.wait_until(is_ready, "the server is ready", timeout, 0.1)

    def log(self, last=200):
        time.sleep(LOG_HELD_S)
        lines = self.log_path.read_text(errors="replace").splitlines() \
            if self.log_path.exists() else []
        return "\n".join(lines[-last:])

    def children(self):
        """pid by name ("edge/0") of every process of this server but the supervisor."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except (OSError, ValueError):
                continue
            if parent == self.process.pid and words[1:2] == ["process"]:
                found["/".join(words[2:4])] = int(entry.name)
        return found

    def children_left(self):
        """Of the processes there were when kill() was called last, those that run."""
        return [pid for pid in self._before_kill.values() if is_running(pid)]

    def kill(self, name, number=signal.SIGKILL):
        """Kills one process ("edge/0") or "supervisor"; its pid."""
        self._before_kill = self.children()
        pid = self.process.pid if name == "supervisor" else self._before_kill[name]
        self.killed += 1
        os.kill(pid, number)
        if name == "supervisor":
            self.process.wait(180)
        return pid

    def reload(self):
        self.run("reload")

    def stop(self, timeout=25):
        """As a service manager stops it; fails when something went wrong in its life."""
        children = self.children() if self.process and self.process.poll() is None else {}
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"did not stop within {timeout} s:\n{self.log()}") from None
        ports.wait_until(lambda: not any(is_running(pid) for pid in children.values()),
                         "every process ends with its supervisor", 15)
        self.check_log()
        if self.process and not self.killed:
            assert self.process.returncode == 0, \
                f"the supervisor ended with {self.process.returncode}:\n{self.log()}"

    def check_log(self):
        lines = self.log(last=100000).splitlines()
        bad = [index for index, line in enumerate(lines) if TROUBLE.search(line)]
        if bad:
            begin = max(0, bad[0] - 5)
            raise AssertionError("in the log:\n" + "\n".join(lines[begin:bad[0] + 60]))

    def remove(self):
        if os.environ.get("HAYAUMA_KEEP"):
            print(f"kept: {self.folder}")
            return
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.__exit__(AssertionError, None, None)
            raise

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                self.stop()
                return
            print(f"--- log of {self.hostname}\n{self.log()}")  # shown where a test fails
            if self.process and self.process.poll() is None:
                children = self.children()
                self.process.kill()
                self.process.wait()
                ports.wait_until(lambda: not any(is_running(pid) for pid in children.values()),
                                 "every process ends with its supervisor", 5)
        finally:
            self.remove()


def is_running(pid):
    """False for one that is gone, and for one that only waits to be reaped."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
