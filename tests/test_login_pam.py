"""Accounts of this machine, whose passwords PAM knows: in a mount namespace of its own
with a passwd, shadow and pam.d that are not the system's."""
import base64
import os
import pathlib
import signal
import ssl
import subprocess

import pytest

import ports
from hayauma import PASSWORD, Hayauma

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts, shadow")
JIRO = "jiro@example.jp"
WRAPPER = """#!/bin/sh
[ "$1" = run ] || exec {binary} "$@"
exec unshare --mount --propagation private sh -ec '
mount --bind {etc}/pam.d /etc/pam.d
mount --bind {etc}/passwd /etc/passwd
mount --bind {etc}/shadow /etc/shadow
exec {binary} "$@"' sh "$@"
"""


def shadow(folder, **passwords):
    """Written in place: the file is mounted. An account `old` has expired."""
    lines = []
    for name, password in passwords.items():
        made = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=password, text=True,
                              check=True, capture_output=True).stdout.strip()
        lines.append(f"{name}:{made}:19000:0:99999:7::{'19001' if name == 'old' else ''}:\n")
    (folder / "shadow").write_text("".join(lines))


@pytest.fixture(scope="module")
def server():
    made = Hayauma(users=[JIRO], listen={"submission": 0}, tls=True,
                   options='auth { pam_service = "hayauma" }\n')
    etc = made.folder / "etc"
    (etc / "pam.d").mkdir(parents=True)
    (etc / "pam.d" / "hayauma").write_text("auth required pam_unix.so\n"
                                           "account required pam_unix.so\n")
    (etc / "passwd").write_text(pathlib.Path("/etc/passwd").read_text() + "".join(
        f"{name}:x:{65000 + i}:65000::/nonexistent:/bin/false\n"
        for i, name in enumerate(("hanako", "old"))))
    shadow(etc, hanako="secret of hers", old="secret of hers")
    (etc / "shadow").chmod(0o600)
    made.run("user", "import", text="hanako@example.jp:{PAM}hanako\nold@example.jp:{pam}old\n"
             "gone@example.jp:{PAM}gone\n")
    wrapper = made.folder / "wrapper"
    wrapper.write_text(WRAPPER.format(binary=made.binary, etc=etc))
    wrapper.chmod(0o755)
    made.binary = wrapper
    with made as running:
        yield running


def log_in(server, name, password, mechanism="PLAIN"):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with server.smtp("submission") as client:
        client.starttls(context=context)
        client.ehlo()
        if mechanism == "PLAIN":
            text = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
            return client.docmd("AUTH PLAIN " + text)
        client.user, client.password = name, password
        return client.auth("login", client.auth_login)


@pytest.mark.parametrize("name, password, code", [
    ("hanako@example.jp", "secret of hers", 235), ("hanako", "secret of hers", 235),
    ("hanako@example.jp", "wrong", 535), ("hanako@example.jp", "", 535),
    ("old@example.jp", "secret of hers", 535), ("gone@example.jp", "secret of hers", 535),
    ("nobody@example.jp", "secret of hers", 535), (JIRO, PASSWORD, 235)])
def test_who_may_log_in(server, name, password, code):
    assert log_in(server, name, password)[0] == code


def test_by_login_and_after_a_change(server):
    assert log_in(server, "hanako", "secret of hers", "LOGIN")[0] == 235
    shadow(server.folder / "etc", hanako="another", old="secret of hers")
    assert log_in(server, "hanako", "secret of hers")[0] == 535
    assert log_in(server, "hanako", "another")[0] == 235
    shadow(server.folder / "etc", hanako="secret of hers", old="secret of hers")
    assert 'reason="password, says PAM"' in server.log()
    assert "another" not in server.log() and "secret of hers" not in server.log()


def children_of(pid):
    return [int(entry.name) for entry in pathlib.Path("/proc").iterdir() if entry.name.isdigit()
            and (entry / "stat").exists()
            and (entry / "stat").read_text().rpartition(")")[2].split()[1] == str(pid)]


def test_children_that_die_are_made_anew(server):
    before = server.children()["directory/0"]
    children = children_of(before)
    assert children
    for child in children:
        status = pathlib.Path(f"/proc/{child}/status").read_text()
        assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status
        os.kill(child, signal.SIGKILL)
    server.killed += 1
    for _ in children:
        code = log_in(server, "hanako", "secret of hers")[0]
        assert code in (454, 235)
    ports.wait_until(lambda: log_in(server, "hanako", "secret of hers")[0] == 235,
                     "PAM is asked again", 20, 0.3)
    assert server.children()["directory/0"] != before


def test_they_end_with_the_directory(server):
    children = children_of(server.kill("directory/0"))
    ports.wait_until(lambda: not any(pathlib.Path(f"/proc/{c}").exists() for c in children),
                     "they are gone", 10)
    ports.wait_until(lambda: log_in(server, "hanako", "secret of hers")[0] == 235,
                     "PAM is asked again", 20, 0.3)
