"""What the modules of other mail servers share (exim.py, opensmtpd.py,
sendmail.py, dovecot.py): each believes that it is installed.

A peer from tools/peers runs in a mount namespace of its own, in which its
files lie over /usr, its configuration over /etc with the users it wants, and
its spool, which is a real folder in the temporary folder of the test, where
it expects one. Nothing of that is seen outside, and nothing is left. It
needs root (an ordinary user's test goes through sudo)."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

import ports

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIRST_ID = 61500  # of the users that a peer wants: nobody's on Debian

# What runs in the namespace before the program: the folders of $1 and the
# system's below them, then the writable ones.
ENTER = """\
folder=$1 peer=$2 writable=$3
shift 3
usr=
for one in "$peer/usr" "$folder/usr"; do [ -d "$one" ] && usr="$one:$usr"; done
mount -t overlay overlay -o "lowerdir=$usr/usr" /usr
[ -d "$peer/lib" ] && mount -t overlay overlay -o "lowerdir=$peer/lib:/usr/lib" /usr/lib
mount -t overlay overlay -o "lowerdir=$folder/etc:/etc" /etc
mount -t overlay overlay -o "lowerdir=$folder/var:/var" /var
for one in $writable; do mount --bind "$folder/real$one" "$one"; done
exec "$@"
"""


def sudo():
    return [] if os.geteuid() == 0 else ["sudo", "-n"]


class Peer:
    """A class for a peer says: `name` of tools/peers; `users`; `writable`:
    {folder: (owner, group, mode)}; command(): what runs in the foreground; and
    configure(): writes its files with put(). `folder` is where its own folder is
    made, else where temporary files are. `environment` is for its processes."""
    name, users, writable = "", (), {}

    def __init__(self, folder=None, environment=None):
        subprocess.run([ROOT / "tools" / "peers", self.name], check=True,
                       stdout=subprocess.DEVNULL)
        self.peer = ROOT / "build" / "peers" / self.name
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"hayauma-{self.name}-", dir=folder))
        self.folder.chmod(0o755)
        self.port = ports.free_port()
        self.process, self.environment = None, environment or {}
        for part in ("etc", "var"):
            if (self.peer / part).exists():
                shutil.copytree(self.peer / part, self.folder / part, symlinks=True)
            (self.folder / part).mkdir(exist_ok=True)
        self._put_users()
        self._make_writable()
        self.configure()
        self.as_root("chown", "-R", "0:0", str(self.folder / "etc"))

    def _put_users(self):
        for path, line in (("/etc/passwd", "{0}:x:{1}:{1}::/nonexistent:/usr/sbin/nologin\n"),
                           ("/etc/group", "{0}:x:{1}:\n")):
            text = pathlib.Path(path).read_text()
            for number, user in enumerate(self.users):
                if f"\n{user}:" not in text:
                    text += line.format(user, FIRST_ID + number)
            self.put(path, text)

    def _make_writable(self):
        ids = dict(zip(self.users, range(FIRST_ID, FIRST_ID + 100)))
        for path, (owner, group, mode) in self.writable.items():
            real = self.folder / "real" / path.lstrip("/")
            real.mkdir(parents=True, exist_ok=True)
            if path.startswith("/var/"):
                (self.folder / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
            self.as_root("chmod", mode, str(real))
            self.as_root("chown", f"{ids.get(owner, 0)}:{ids.get(group, 0)}", str(real))

    def put(self, path, text):
        """Writes a file of /etc as the peer sees it."""
        file = self.folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(text)

    @staticmethod
    def as_root(*command):
        subprocess.run([*sudo(), *command], check=True)

    def enter(self, *command):
        """The command line that runs `command` where the peer's files are."""
        environment = {"PATH": os.environ["PATH"], **self.environment}
        return [*sudo(), "env", "-i", *(f"{k}={v}" for k, v in environment.items()), "unshare",
                "--mount", "--propagation", "private", "sh", "-ec", ENTER, "sh", self.folder,
                self.peer, " ".join(self.writable), *command]

    def start(self):
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(self.enter(*self.command()), stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output)
        with contextlib.suppress(AssertionError):
            ports.wait_until(
                lambda: self.process.poll() is not None or ports.is_listening(self.port), "")
        if self.process.poll() is not None or not ports.is_listening(self.port):
            raise AssertionError(f"{self.name} did not start:\n{self.log()}")
        return self

    def real(self, path):
        """Where a writable folder of the peer really lies."""
        return self.folder / "real" / path.lstrip("/")

    def logs(self):
        """Files besides its output."""
        return []

    def log(self):
        return "".join(path.read_text(errors="replace")
                       for path in (self.folder / "output", *self.logs()) if path.exists())

    def _signal(self, number):
        if os.geteuid() == 0:
            self.process.send_signal(number)
        else:
            subprocess.run(["sudo", "-n", "kill", f"-{number.value}", str(self.process.pid)],
                           check=False)

    def stop(self):
        """Ends it and its children; twice is once."""
        if self.process and self.process.poll() is None:
            children = descendants(self.process.pid)
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(15)
            if self.process.poll() is None:
                self._signal(signal.SIGKILL)
                self.process.wait()
            for pid in children:  # some leave their children behind
                subprocess.run([*sudo(), "kill", "-KILL", str(pid)], check=False,
                               stderr=subprocess.DEVNULL)
        self.process = None

    def remove(self):
        self.stop()
        self.as_root("rm", "-rf", "--", str(self.folder))

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_):
        self.remove()


def descendants(pid):
    """Every process below `pid`."""
    parents = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(stat[1])
    found, level = [], [pid]
    while level:
        level = [child for child, parent in parents.items() if parent in level]
        found += level
    return found
