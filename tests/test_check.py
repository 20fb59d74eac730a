"""`hayauma check`, as an administrator types it: no server runs."""
import json
import os
import pathlib
import re
import subprocess

import pytest

from hayauma import ROOT, SANITIZER_OPTIONS, program

GOOD = 'hostname = "mx1.example.jp"\ndomains = { "example.jp" }\n'


def check(path, *arguments):
    return subprocess.run([program(), "check", "-c", path, *arguments], text=True, timeout=180,
                          capture_output=True, env={**os.environ, **SANITIZER_OPTIONS})


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "hayauma.conf"
        path.write_text(f'state_dir = "{tmp_path}"\n' + text)
        return path
    return write


def test_good_is_one_line(config):
    done = check(config(GOOD))
    assert (done.returncode, done.stdout, done.stderr) == (0, "configuration is good\n", "")


def test_every_error_has_its_line(config):
    done = check(config(GOOD + "domain = { x }\nlimits { recipients = none }\n"))
    assert done.returncode == 78 and done.stdout == ""
    assert 'hayauma.conf:4: there is no option "domain"; did you mean "domains"?' in done.stderr
    assert 'hayauma.conf:5: limits.recipients: "none" is not a number' in done.stderr


def test_a_file_that_is_not_there(tmp_path):
    done = check(tmp_path / "none.conf")
    assert done.returncode == 66 and "none.conf" in done.stderr


def test_effective_says_where_values_come_from(config):
    path = config(GOOD + 'role = "mailbox"\nqueue { lifetime = 6d }\n')
    lines = {line.split(" = ")[0]: line for line in check(path, "--effective").stdout.splitlines()}
    assert lines["queue.lifetime"].split() == ["queue.lifetime", "=", "6d", "#", "hayauma.conf:5"]
    assert lines["listen"].endswith("# role mailbox")
    assert lines["trace_days"].endswith("# default")
    done = check(path, "--effective", "--json")
    rows = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert rows["dnsbl"]["value"] == []  # sections: as text there is one for each, here none
    assert rows.keys() - {"dnsbl"} == lines.keys()
    assert rows["queue.lifetime"] == {"name": "queue.lifetime", "value": "6d",
                                      "origin": "hayauma.conf:5"}
    assert rows["domains"]["value"] == ["example.jp"]
    assert rows["smart_host"]["value"] is None


def test_what_is_effective_is_a_configuration_again(config, tmp_path):
    """Nothing is lost on the way through --effective."""
    first = check(config(GOOD + 'smart_host = "[a.example.jp]:26"\n'), "--effective").stdout
    text = ""
    for line in first.splitlines():
        option, _, rest = line.partition(" = ")
        value = rest.rpartition("#")[0].strip()
        section, _, name = option.rpartition(".")
        if value != '""':
            text += f"{section} {{ {name} = {value} }}\n" if section else f"{name} = {value}\n"
    path = tmp_path / "again.conf"
    path.write_text(text)
    again = check(path, "--effective").stdout
    assert [line.rpartition("#")[0].rstrip() for line in again.splitlines()] == \
        [line.rpartition("#")[0].rstrip() for line in first.splitlines()]


@pytest.mark.parametrize("sample", sorted((ROOT / "conf").glob("**/*.conf")),
                         ids=lambda path: pathlib.Path(path).stem)
def test_samples(sample, tmp_path):
    text = sample.read_text()
    if "hostname" not in text or sample.name == "options.conf":
        return  # for systemd, or with everything in comments
    certificate = tmp_path / "certificate.pem"
    subprocess.run([program(), "tls", "self-signed", "mx1.example.jp", "--out", certificate],
                   check=True, stdout=subprocess.DEVNULL)
    path = tmp_path / "hayauma.conf"
    path.write_text(re.sub(r"/etc/hayauma/mx1.example.jp.(pem|key)", str(certificate), text))
    done = check(path)
    assert done.returncode == 0, done.stderr


def test_a_certificate_that_cannot_be_used(config, tmp_path):
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run([program(), "tls", "self-signed", "mx1.example.jp", "--out", certificate],
                   check=True, stdout=subprocess.DEVNULL)
    text = GOOD + f'tls {{ certificate = "{certificate}" key = "{key}" }}\n'
    for written, wrong in ((None, "No such file"), ("", None), ("nonsense", None)):
        if written is not None:
            key.write_text(written)
        done = check(config(text))
        assert (done.returncode == 0) == (wrong is None), done.stderr
        assert wrong is None or f"hayauma.conf:4: cannot read tls.key = \"{key}\": {wrong}" \
            in done.stderr
    certificate.write_text("nonsense")
    done = check(config(text))
    assert done.returncode == 78 and "hayauma.conf:4: the certificate cannot be used" in done.stderr


def test_errors_in_the_users_file(config, tmp_path):
    path = config(GOOD)
    (tmp_path / "users").write_text("taro@example.jp\n")
    done = check(path)
    assert done.returncode == 78 and "users:1: " in done.stderr
