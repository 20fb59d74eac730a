"""Aliases that name programs and files: who runs them, with what, and what becomes of
their exit status, their output, and programs that never end."""
import os
import pathlib
import pwd
import re
import stat

import pytest

import ports
from hayauma import Hayauma

HANAKO, SENDER = "hanako@example.jp", "a@example.net"
MESSAGE = "From: a@example.net\r\nSubject: agent\r\nMessage-ID: <{0}@t>\r\n\r\nFrom here\r\n.\r\n"
IS_ROOT = os.geteuid() == 0
KENJI, KENJI_ID = "kenji@example.jp", 61777

SHOW = """#!/bin/sh
{{ id -un; pwd; printf '%s\\n' "$0" "$#" "$@"; env | sort; ls /proc/self/fd | wc -l
   grep -i '^NoNewPrivs\\|^Groups' /proc/self/status; cat; }} > {folder}/out/shown.$$
mv {folder}/out/shown.$$ {folder}/out/shown
"""
END = "#!/bin/sh\ncat > /dev/null\necho \"said of $RECIPIENT by $SENDER\" >&2\nexit $1\n"
HANG = "#!/bin/sh\necho started >> {folder}/out/hung\nsleep 600 &\nsleep 600\n"

ALIASES = """\
show: "|{folder}/bin/show 'a b' \\"\\$(id); c\\" d"
file: {folder}/out/mbox
both: "|{folder}/bin/end 0", hanako, {folder}/out/mbox
end+*: "|{folder}/bin/end 0"
e67: "|{folder}/bin/end 67"
e75: "|{folder}/bin/end 75"
e3: "|{folder}/bin/end 3"
hang: "|{folder}/bin/hang"
gone: "|{folder}/bin/nothing-here"
link: {folder}/out/link
list: :include:{folder}/list
loose: :include:{folder}/loose
sh: "|/bin/sh -c 'cat | wc -l > {folder}/out/lines'"
large: "|/bin/sh -c 'wc -c > {folder}/out/size'"
"""


def owner_of(path):
    return pwd.getpwuid(path.stat().st_uid).pw_name


class Agents(Hayauma):
    def __init__(self, options=""):
        super().__init__(users=[HANAKO], limits="message_size = 4M")
        self.out = self.folder / "out"
        for name in "out", "bin":
            (self.folder / name).mkdir()
        (self.folder / "bin").chmod(0o755)
        self.out.chmod(0o777)
        for name, text in ("show", SHOW), ("end", END), ("hang", HANG):
            (self.folder / "bin" / name).write_text(text.format(folder=self.folder))
            (self.folder / "bin" / name).chmod(0o755)
        (self.out / "link").symlink_to("/etc/passwd")
        (self.folder / "list").write_text(f"{self.out}/of-list\n")
        (self.folder / "loose").write_text(f"{self.out}/of-loose\n")
        (self.folder / "list").chmod(0o644)
        (self.folder / "loose").chmod(0o666)
        if IS_ROOT:
            os.chown(self.folder / "list", pwd.getpwnam("daemon").pw_uid, -1)
        (self.folder / "aliases").write_text(ALIASES.format(folder=self.folder))
        (self.folder / "aliases").chmod(0o644)
        self.options = f'tables {{ aliases = "{self.folder}/aliases" }}\n' \
                       f'queue {{ retry_min = "1s" retry_max = "1s" }}\n{options}'
        self.write_config()

    def wait_for_file(self, name):
        path = self.out / name
        ports.wait_until(path.exists, f"{path} is there:\n{self.log(40)}", 30, 0.1)
        return path.read_text()

    def mail(self, name, mail_from=SENDER, text=None):
        self.send(mail_from, [f"{name}@example.jp"], text or MESSAGE.format(name))


@pytest.fixture(scope="module", name="server")
def server_with_agents():
    with Agents() as server:
        yield server


def test_a_program_gets_the_message_and_little_else(server):
    server.mail("show")
    lines = server.wait_for_file("shown").splitlines()
    user = "nobody" if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name
    assert lines[0] == user
    assert lines[2:7] == [f"{server.folder}/bin/show", "3", "a b", "$(id); c", "d"]
    text = "\n".join(lines)
    names = {line.split("=")[0] for line in lines[7:] if re.match(r"[A-Z_]+=", line)}
    assert names <= {"PATH", "SHELL", "HOME", "USER", "LOGNAME", "LC_ALL", "SENDER", "RECIPIENT",
                     "PWD", "OLDPWD", "_", "SHLVL"}, names
    assert f"SENDER={SENDER}" in lines and "RECIPIENT=show@example.jp" in lines
    assert "NoNewPrivs:\t1" in text
    # ls: three of its own, the folder it reads, and the pipe of the shell's group at most.
    count = int(next(line for line in lines if re.fullmatch(r"\d+", line) and line != "3"))
    assert count <= 5, lines
    message = text[text.index("From a@example.net"):]
    assert "\nReturn-Path: <a@example.net>\n" in message and "\nSubject: agent\n" in message
    assert message.endswith("\n\nFrom here\n.")
    told = server.wait_for_why("show@example.jp", "relayed")
    assert "aliases:1" in told and "the program took it" in told, told


def test_a_file_is_an_mbox_of_its_owners(server):
    for name in "one", "two":
        server.mail("file", text=MESSAGE.format(name))
    path = server.out / "mbox"
    ports.wait_until(lambda: path.exists() and path.read_text().count("Message-ID") == 2,
                     "both are there", 30, 0.1)
    text = path.read_text()
    assert text.count("\n>From here\n") == 2 and len(re.findall("^From a@", text, re.M)) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if IS_ROOT:
        assert owner_of(path) == "nobody"


def test_the_owner_of_a_list_does_what_it_says(server):
    server.mail("list")
    server.wait_for_file("of-list")
    if IS_ROOT:
        assert owner_of(server.out / "of-list") == "daemon"
    server.mail("loose")
    server.wait_for_why("loose@example.jp", "may be written by others")
    assert not (server.out / "of-loose").exists()


def test_programs_files_and_mailboxes_in_one_alias(server):
    before = len(server.messages(HANAKO))
    server.mail("both", text=MESSAGE.format("in-all"))
    server.wait_for_messages(HANAKO, before + 1)
    ports.wait_until(lambda: "<in-all@t>" in server.wait_for_file("mbox"), "in the file", 30, 0.1)
    server.mail("end+x")
    assert "the program took it" in server.wait_for_why("end+x@example.jp", "relayed|returned")


@pytest.mark.parametrize("name, words", [
    ("e67", "550 5.1.1 .*knows no such user: said of e67@example.jp by hanako@example.jp"),
    ("e3", "554 5.3.0 .*status 3: said of"),
    ("link", "550 5.2.0 .*cannot be written")])
def test_failures_come_back_with_what_was_said(server, name, words):
    before = len(server.messages(HANAKO))
    server.mail(name, HANAKO)
    report = server.wait_for_messages(HANAKO, before + 1)[-1].decode()
    assert re.search(words, " ".join(report.split())), report
    assert f"Final-Recipient: rfc822; {name}@example.jp" in report.replace("rfc822;", "rfc822; ") \
        .replace(";  ", "; ")


@pytest.mark.parametrize("name, words", [
    ("e75", "450 4.3.0 the program wants to be asked later"),
    ("gone", "451 4.3.5 the program cannot be run: .*No such file")])
def test_what_may_pass_is_tried_again(server, name, words):
    server.mail(name)
    told = server.wait_for_why(f"{name}@example.jp", words)
    assert "deferred" in told
    row = next(r for r in server.queue() if r["recipients"][0]["rcpt_to"].startswith(name))
    assert row["recipients"][0]["next_hop"] == f"agent:0000:{name}"
    server.run("queue", "drop", row["id"])


def test_a_shell_only_where_it_is_named(server):
    server.mail("sh")
    ports.wait_until(lambda: server.wait_for_file("lines").strip(), "counted", 30, 0.1)
    assert int(server.wait_for_file("lines")) > 5


def test_a_large_message_goes_through(server):
    text = MESSAGE.format("large") + ("x" * 76 + "\r\n") * 20000
    server.mail("large", text=text)
    ports.wait_until(lambda: server.wait_for_file("size").strip(), "counted", 30, 0.1)
    assert int(server.wait_for_file("size")) > 77 * 20000


def test_a_program_that_never_ends_is_ended():
    with Agents('agent { timeout = "3s" }\n') as server:
        server.mail("hang")
        server.wait_for_file("hung")
        server.wait_for_why("hang@example.jp", "took longer than agent.timeout")
        assert server.greets("smtp")


def test_a_reload_repairs_what_waits_and_errors_keep_the_old_aliases():
    with Agents() as server:
        server.mail("gone")
        server.wait_for_why("gone@example.jp", "cannot be run")
        text = (server.folder / "aliases").read_text()
        (server.folder / "aliases").write_text(text + "bad: \"|cat > /tmp/x\"\n")
        done = server.run("reload", check=False)
        assert done.returncode != 0 and "aliases:15" in done.stderr, done.stderr
        (server.folder / "aliases").write_text(text.replace("bin/nothing-here", "bin/end 0"))
        server.reload()
        server.run("queue", "retry")
        server.wait_for_why("gone@example.jp", "relayed")


def test_a_killed_keeper_loses_no_delivery():
    with Agents() as server:
        server.kill("keeper/0")
        server.wait_until_ready()
        server.mail("file")
        assert "<file@t>" in server.wait_for_file("mbox")


class Forwards(Agents):
    """Runs where the system has a user kenji, whose home is in the server's folder."""

    WRAPPER = """#!/bin/sh
exec unshare --mount --propagation private sh -ec \
  'mount --bind {folder}/passwd /etc/passwd; exec {binary} "$@"' sh "$@"
"""

    def __init__(self):
        super().__init__("agent { forward = yes }\n")
        self.home = self.folder / "home"
        self.home.mkdir()
        os.chown(self.home, KENJI_ID, KENJI_ID)
        (self.folder / "passwd").write_text(
            pathlib.Path("/etc/passwd").read_text()
            + f"kenji:x:{KENJI_ID}:{KENJI_ID}::{self.home}:/bin/sh\n")
        wrapper = self.folder / "wrapper"
        wrapper.write_text(self.WRAPPER.format(folder=self.folder, binary=self.binary))
        wrapper.chmod(0o755)
        self.binary = wrapper
        self.add_user(KENJI)

    def forward(self, text):
        path = self.home / ".forward"
        path.write_text(text)
        os.chown(path, KENJI_ID, KENJI_ID)
        path.chmod(0o644)
        return path


@pytest.mark.skipif(not IS_ROOT, reason="only root's server reads what is in others' homes")
def test_a_forward_is_read_as_its_user_and_leads_on():
    with Forwards() as server:
        server.mail("kenji", text=MESSAGE.format("none"))
        server.wait_for_messages(KENJI, 1)
        path = server.forward("\\kenji, hanako\n"
                              f"\"|/bin/sh -c 'id -u > {server.out}/who; "
                              f"cat > {server.out}/piped'\"\n"
                              f"{server.out}/own-box\n")
        server.mail("kenji", text=MESSAGE.format("spread"))
        server.wait_for_messages(KENJI, 2)
        server.wait_for_messages(HANAKO, 1)
        ports.wait_until(lambda: "<spread@t>" in server.wait_for_file("piped"), "piped", 30)
        assert server.wait_for_file("who").strip() == str(KENJI_ID)
        ports.wait_until(lambda: "<spread@t>" in server.wait_for_file("own-box"), "in a file", 30)
        assert (server.out / "own-box").stat().st_uid == KENJI_ID
        ports.wait_until(lambda: server.queue() == [], "all is delivered", 30, 0.2)
        assert len(server.messages(KENJI)) == 2 and len(server.messages(HANAKO)) == 1
        assert HANAKO in server.wait_for_why(KENJI, r"\.forward")
        path.chmod(0o666)  # anybody's will: not heeded, and said
        server.mail("kenji", text=MESSAGE.format("loose"))
        server.wait_for_messages(KENJI, 3)
        assert "forward_not_used" in server.log()
        server.forward("nobody-here\n")
        server.mail("kenji", HANAKO, MESSAGE.format("lost"))
        report = server.wait_for_messages(HANAKO, 2)[-1].decode()
        assert "nobody-here@example.jp" in report, report
        server.mail("hanako", text=MESSAGE.format("no-account"))  # no Unix user of that name
        server.wait_for_messages(HANAKO, 3)
