"""The .mc files that come with sendmail: each becomes a configuration that can be
used, and each thing in them is an option there or has a line that says what became
of it."""
import re
import subprocess

import pytest

from hayauma import program
from peer import ROOT

# Calls that say nothing about how mail is handled.
SILENT = {"VERSIONID", "OSTYPE", "DOMAIN", "divert", "include", "changequote", "dnl"}
# What becomes an option: as it stands in the result.
TAKEN = {
    "FEATURE(access_db": "access =", "FEATURE(mailertable": "mailertable =",
    "FEATURE(virtusertable": "virtusertable =", "FEATURE(genericstable": "genericstable =",
    "FEATURE(always_add_domain": "always_add_domain = yes", "FEATURE(dnsbl": "dnsbl \"",
    "FEATURE(accept_unresolvable_domains": "accept_unresolvable_domains = yes",
    "MASQUERADE_AS": "as =", "DAEMON_OPTIONS": "listen =", "define(LOCAL_RELAY": "local_relay =",
    "define(SMART_HOST": "smart_host =", "define(confTO_QUEUEWARN": "warn_after =",
    "MAILER(local": "", "MAILER(smtp": "",
}


def mc_files():
    subprocess.run([ROOT / "tools" / "peers", "sendmail"], check=True, stdout=subprocess.DEVNULL)
    return sorted((ROOT / "build" / "peers" / "sendmail").rglob("cf/*/*.mc"))


def calls(text):
    """NAME and NAME(first argument of every call that m4 would see."""
    text = re.sub(r"^divert\(-1\).*?(?=^divert\()", "", text, flags=re.S | re.M)
    lines = [line for line in text.splitlines() if not line.startswith(("#", "R", "H", "K"))]
    text = "\n".join(re.sub(r"\bdnl\b.*", "", line) for line in lines)
    for name, argument in re.findall(r"^([A-Za-z_]\w+)\(\s*([^,)]*)", text, flags=re.M):
        yield name, f"{name}({argument.strip().strip('`').rstrip(chr(39)).strip()}"


@pytest.fixture(scope="module", name="made")
def made_from_each():
    made = {}
    for path in mc_files():
        done = subprocess.run([program(), "import", "mc", path], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, (path, done.stderr)
        made[path] = done.stdout
    assert len(made) >= 30
    return made


def test_each_gives_a_configuration_that_check_accepts(made, tmp_path):
    for name in "aliases", "access", "mailertable", "virtusertable", "genericstable":
        (tmp_path / name).write_text("")
    config, certificate = tmp_path / "hayauma.conf", tmp_path / "certificate.pem"
    subprocess.run([program(), "tls", "self-signed", "a.example.jp", "--out", certificate],
                   check=True, stdout=subprocess.DEVNULL)
    for path, text in made.items():
        text = re.sub(r'(?m)^( +(certificate|key|ca) +=) ".*"', rf'\1 "{certificate}"', text)
        config.write_text(text.replace('"/etc/mail/', f'"{tmp_path}/') +
                          f'users {{ file = "{tmp_path}/users" }}\nstate_dir = "{tmp_path}/state"\n'
                          f'run_dir = "{tmp_path}/run"\n')
        (tmp_path / "users").write_text("")
        done = subprocess.run([program(), "check", "-c", config], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, (path, done.stderr, text)


def test_nothing_is_left_out_in_silence(made):
    count = 0
    for path, text in made.items():
        for name, call in calls(path.read_text(errors="replace")):
            if name in SILENT:
                continue
            count += 1
            option = TAKEN.get(call, TAKEN.get(name))
            assert f"# {call}" in text or (option is not None and option in text), \
                (path, call, text)
    assert count > 150


def test_sendmails_own_lines_are_counted(made):
    for path, text in made.items():
        for section in re.findall(r"^(LOCAL_\w+)$", path.read_text(errors="replace"), flags=re.M):
            if section == "LOCAL_RULE_3" and "UUCPSMTP(" in text:
                continue  # macros only
            assert f"# {section}: " in text or "LOCAL_CONFIG" == section, (path, section, text)


def test_debians_own_configuration(made):
    text = next(text for path, text in made.items() if path.parts[-2:] == ("debian", "sendmail.mc"))
    assert 'listen = { "smtp://127.0.0.1:25", "submission://127.0.0.1:587" }' in text
    assert 'access = "/etc/mail/access"' in text
    for option in "smtp.greet_delay", "limits.connections_per_client", "limits.errors":
        assert option in text
