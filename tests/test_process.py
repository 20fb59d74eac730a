"""The processes: start, readiness, reload, crashes, stop, as root and as an
ordinary user. What each may not do is in src/process/confine_test.c; here is
seen that those that run really are confined."""
import os
import pathlib
import re
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

import hayauma
import ports

NOBODY = 65534
ROOMY = 'drain = "60s"'  # for a busy machine: without it none is near its end here


class Server(hayauma.Hayauma):
    """One that can be started as another user, and that kills on calls nobody lists."""

    def __init__(self, as_user=None, **options):
        super().__init__(**options)
        self.as_user = as_user
        if as_user is not None:
            os.chown(self.folder, as_user, as_user)

    def command(self):
        words = [str(self.binary), "run", "-c", str(self.config)]
        if self.as_user is None:
            return words
        return ["setpriv", f"--reuid={self.as_user}", f"--regid={self.as_user}",
                "--clear-groups", "--", *words]

    def start(self, timeout=30):
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **hayauma.SANITIZER_OPTIONS, "HAYAUMA_SECCOMP_KILL": "1"})
        self.wait_until_ready(timeout)
        return self

    def wait_for_log(self, pattern, timeout=15, begin=0):
        def seen():
            return re.search(pattern, self.log_path.read_text(errors="replace")[begin:])
        return ports.wait_until(seen, f"the log says {pattern}; it says:\n{self.log()}", timeout,
                                0.05)


def users():
    if os.geteuid() == 0:
        return [pytest.param(None, id="root"), pytest.param(NOBODY, id="user")]
    return [pytest.param(None, id="user")]


@pytest.fixture(params=users())
def server(request):
    with Server(as_user=request.param, users=()) as running:
        yield running


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_all_are_confined(server):
    is_root = os.geteuid() == 0 and server.as_user is None
    owners = set()
    # The first edge answers while others still start.
    ports.wait_until(lambda: all(status_of(pid)["Seccomp"] == "2"
                                 for pid in server.children().values()), "all are confined")
    for name, pid in server.children().items():
        status = status_of(pid)
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), name
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0, name
        uids, gids = set(status["Uid"].split()), set(status["Gid"].split())
        assert len(uids) == len(gids) == 1 and "0" not in uids | gids, name
        owners.add((name.partition("/")[0], *uids))
        if os.geteuid() == 0:
            root = os.readlink(f"/proc/{pid}/root")
            if is_root and name.startswith("keeper"):
                assert root == f"{server.folder}/state"
            elif is_root:
                assert root.endswith("(deleted)"), f"{name}: {root}"
        else:  # not dumpable: not even we may look
            with pytest.raises(PermissionError):
                os.readlink(f"/proc/{pid}/root")
        if os.geteuid() == 0:
            limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size +0 +0 ", limits), name
    if is_root:
        kinds, uids = {kind for kind, _ in owners}, {uid for _, uid in owners}
        assert len(kinds) == len(uids), "every kind has a user of its own"


def test_names_and_status(server):
    children = server.children()

    def all_ready():  # some are still about to be when the edges greet
        rows = {row["name"]: row for row in server.rows("status")}
        return rows if {rows[name]["state"] for name in children} == {"ready"} else None
    rows = ports.wait_until(all_ready, "every process is ready")
    for name, pid in children.items():
        assert rows[name]["pid"] == pid
        assert rows[name]["restarts"] == 0
    assert rows["supervisor/0"]["pid"] == server.process.pid


def test_kill_each(server):
    for name in sorted(server.children()):
        before = server.children()
        old = server.kill(name)

        def again(name=name, old=old):
            now = server.children().get(name)
            return now and now != old
        ports.wait_until(again, f"{name} runs again", 15, 0.05)
        after = server.children()
        assert {k: v for k, v in after.items() if k != name} == \
            {k: v for k, v in before.items() if k != name}, f"{name} took others along"

        def is_ready(name=name):
            rows = {row["name"]: row for row in server.rows("status")}
            return rows[name]["state"] == "ready" and rows[name]["restarts"] >= 1
        ports.wait_until(is_ready, f"{name} is ready again", 15, 0.1)
    assert server.greets("smtp")


def test_callers_wait_for_a_restarted_edge(server):
    """The supervisor keeps the sockets open: nobody is refused meanwhile."""
    for name in [name for name in server.children() if name.startswith("edge")]:
        server.kill(name)
    with socket.create_connection(("127.0.0.1", server.ports["smtp"]), 15) as client:
        assert client.recv(1000).startswith(b"220 ")


def test_reload(server):
    """A good one is taken, by SIGHUP too, with sockets opened and closed and no
    connection dropped; a bad one changes nothing."""
    pids = server.children()
    first, second = server.ports["smtp"], ports.free_port()
    with socket.create_connection(("127.0.0.1", first), 180) as client:
        assert client.recv(1000).startswith(b"220 ")

        server.config.write_text(server.config.read_text() + "no_such_option = 1\n")
        begin = server.log_path.stat().st_size
        done = server.run("reload", check=False)
        assert done.returncode == os.EX_CONFIG
        line = len(server.config.read_text().splitlines())
        assert f"hayauma.conf:{line}:" in done.stderr and "no_such_option" in done.stderr
        os.kill(server.process.pid, signal.SIGHUP)
        server.wait_for_log(rf"reload_refused text=.*hayauma.conf:{line}: .*no_such_option",
                            begin=begin)
        assert server.greets("smtp")

        begin = server.log_path.stat().st_size
        server.write_config()
        text = server.config.read_text()
        server.config.write_text(text.replace(f"127.0.0.1:{first}", f"127.0.0.1:{second}"))
        os.kill(server.process.pid, signal.SIGHUP)
        server.wait_for_log("notice supervisor/0 reloaded", begin=begin)
        server.ports["smtp"] = second
        ports.wait_until(lambda: server.greets("smtp"), "the new port answers", 10, 0.1)

        def is_closed():
            try:
                socket.create_connection(("127.0.0.1", first), 1).close()
                return False
            except ConnectionRefusedError:
                return True
        ports.wait_until(is_closed, "the old port is closed", 10, 0.1)

        client.sendall(b"QUIT\r\n")
        assert client.recv(1000).startswith(b"221 ")
    assert server.children() == pids


def test_reload_refuses_a_taken_port(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = server.config.read_text()
        server.config.write_text(text.replace("listen = {",
                                              f'listen = {{ "smtp://127.0.0.1:{port}", '))
        done = server.run("reload", check=False)
        assert done.returncode != 0
        assert f"127.0.0.1:{port}" in done.stderr and "Address already in use" in done.stderr
        assert server.greets("smtp")


def test_second_is_refused(server):
    second = subprocess.run(server.command(), capture_output=True, text=True, timeout=180)
    assert second.returncode != 0
    assert "another Hayauma" in second.stderr
    assert len(second.stderr.strip().splitlines()) == 1
    assert server.greets("smtp")
    assert server.run("status").returncode == 0


@pytest.mark.parametrize("how", ["TERM", "INT", "stop"])
def test_stop(how):
    server = Server(options=ROOMY)
    try:
        server.start()
        children = server.children()
        if how == "stop":
            assert server.run("stop").returncode == 0
        else:
            server.process.send_signal(signal.Signals[f"SIG{how}"])
        assert server.process.wait(180) == 0
        assert not any(hayauma.is_running(pid) for pid in children.values())
        server.check_log()
        assert "process_killed" not in server.log(100000)
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.remove()


def test_stuck_process_does_not_hold_up_the_end():
    server = Server(options='drain = "1s"')
    try:
        server.start()
        stuck = server.children()["resolver/0"]
        os.kill(stuck, signal.SIGSTOP)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(180) == 0
        assert "stopping drain_ms=1000" in server.log(100000)
        assert not hayauma.is_running(stuck)
        assert "process_killed process=resolver/0" in server.log(100000)
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.remove()


def test_commands_give_up_soon_where_nobody_answers(server):
    """A stopped process still has its socket: the command connects and hears nothing."""
    commands = [("keeper", ("queue", "list")), ("keeper", ("why", "a@example.jp")),
                ("supervisor", ("status",))]
    stopped = [server.children()["keeper/0"], server.process.pid]
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor() as all_at_once:
            done = list(all_at_once.map(
                lambda command: server.run(*command[1], check=False, timeout=180), commands))
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    for (name, _), one in zip(commands, done):
        assert one.returncode == os.EX_TEMPFAIL, one.stderr
        assert f"the {name} does not answer" in one.stderr
    assert server.queue() == []


def test_all_end_with_the_supervisor(server):
    children = server.children()
    server.kill("supervisor")
    ports.wait_until(lambda: not any(hayauma.is_running(pid) for pid in children.values()),
                     "every process ends with its supervisor", 10, 0.05)
    server.start()  # neither lock nor sockets were left behind


def refused(text, binary=None, as_user=None):
    """Starts with this change to a good configuration; what it says. It must not run."""
    server = Server(as_user=as_user, binary=binary)
    try:
        server.config.write_text(text(server))
        done = subprocess.run(server.command(), capture_output=True, text=True, timeout=180)
        assert done.returncode != 0, done.stderr
        return done.stderr
    finally:
        server.remove()


def test_says_what_prevents_starting():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(lambda s: s.config.read_text().replace(f":{s.ports['smtp']}\"",
                                                              f":{port}\""))
        assert re.search(rf"hayauma.conf:\d+: cannot listen on smtp://127.0.0.1:{port}: "
                         "Address already in use", said)
    said = refused(lambda s: s.config.read_text() +
                   f'tls {{ certificate = "{s.folder}/none.pem" }}\n')
    assert "tls.certificate" in said and "none.pem" in said

    said = refused(lambda s: s.config.read_text() + "domains = ;\n")
    assert "hayauma.conf:" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make such a folder")
def test_says_whose_state_folder_it_is():
    def other_owner(server):
        state = server.folder / "state"
        state.mkdir(0o700)
        os.chown(state, 12345, 12345)
        return server.config.read_text()
    said = refused(other_owner)
    assert "belongs to uid 12345" in said and "chown" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_control_is_for_those_who_may():
    with Server(as_user=None) as server:
        done = subprocess.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                               "--clear-groups", "--", server.binary, "stop", "-c", server.config],
                              capture_output=True, text=True, timeout=180)
        assert done.returncode == os.EX_NOPERM
        assert server.greets("smtp")


def test_users_are_read_again():
    """A user made while the server runs is known a second later; half of many
    gone at once wait for somebody who says that it is meant."""
    with Server() as server:
        begin = server.log_path.stat().st_size
        server.add_user("hanako@example.jp")
        server.wait_for_log("tables_read users=1", begin=begin)
        users = server.folder / "users"
        one = users.read_text()
        many = "".join(one.replace("hanako@", f"u{i}@") for i in range(30))
        users.write_text(many)
        server.wait_for_log("tables_read users=30", begin=begin)
        users.write_text(one)
        server.wait_for_log("reload_refused text=.*half of the rows", begin=begin)
        server.reload()
        server.wait_for_log("notice supervisor/0 reloaded", begin=begin)


def test_log_lines_have_time_and_process(server):
    for line in server.log().splitlines():
        assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z "
                        r"(error|warning|notice|info|debug) [a-z]+/\d+ ", line), line
