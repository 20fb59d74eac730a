"""The line through everything: a message comes in, is durable, goes out, and
`why` tells its story. Each test is one promise."""
import os
import pathlib
import re
import subprocess

import pytest

import ports
from hayauma import PASSWORD, Hayauma
from load import Load, Sink
from postfix import Postfix
from reconcile import reconcile

HANAKO, TARO = "hanako@example.jp", "taro@example.jp"
MESSAGE = "From: a@example.net\r\nTo: b@example.jp\r\nSubject: {0}\r\n" \
          "Message-ID: <{0}@example.net>\r\n\r\nbody of {0}\r\n.a dot in front\r\n"


def swaks(port, *options, status=0):
    done = subprocess.run(["swaks", "--server", f"127.0.0.1:{port}", "--from", "a@example.net",
                           *options], capture_output=True, text=True, timeout=180)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def smart_host(port):
    return f'smart_host = "smtp:[127.0.0.1]:{port}"\n' \
           "queue { retry_min = 1s retry_max = 3s }\n"


# In

@pytest.mark.parametrize("tls", [False, True], ids=["plain", "starttls"])
def test_swaks_to_a_user(tls):
    with Hayauma(users=[HANAKO], tls=True) as server:
        swaks(server.ports["smtp"], "--to", HANAKO, "--header", "Subject: from swaks",
              *(["--tls"] if tls else []))
        server.wait_for_messages(HANAKO, 1)
        message = server.message(HANAKO).decode()
        assert message.startswith("Return-Path: <a@example.net>\r\n")
        assert re.search(r"\r\nReceived: from .*\bwith ESMTP" + ("S" if tls else r"\b"),
                         message, re.DOTALL)
        assert "\r\nSubject: from swaks\r\n" in message
        assert HANAKO in server.wait_for_why(HANAKO, "stored")


def test_text_arrives_as_it_was_sent():
    text = "Subject: octets\r\n\r\n.\r\n..\r\n\r\n. \r\n" + "x" * 998 + "\r\n日本語\r\n"
    with Hayauma(users=[HANAKO]) as server:
        with server.smtp() as client:
            client.ehlo()
            client.mail("a@example.net", ["BODY=8BITMIME"])
            client.rcpt(HANAKO)
            assert client.data(text.encode())[0] == 250
        server.wait_for_messages(HANAKO, 1)
        assert server.message(HANAKO).endswith(text.encode())


def test_large_message():
    body = ("x" * 76 + "\r\n") * 60000  # 4.7 MB: a file that the keeper lends
    with Hayauma(users=[HANAKO]) as server:
        assert server.send("a@example.net", [HANAKO], "Subject: large\r\n\r\n" + body) == {}
        server.wait_for_messages(HANAKO, 1)
        assert server.message(HANAKO).endswith(body.encode())


def test_refused_recipient_is_explained():
    with Hayauma(users=[HANAKO]) as server:
        refused = server.send("a@example.net", [HANAKO, "nobody@example.jp"],
                              MESSAGE.format("one"))
        assert refused["nobody@example.jp"][0] == 550
        assert re.match(rb"5\.1\.1 ", refused["nobody@example.jp"][1])
        text = server.wait_for_why("nobody@example.jp", "refused")
        assert "550" in text and "5.1.1" in text
        with server.smtp() as client:
            client.ehlo()
            client.mail("a@example.net")
            assert client.rcpt("postmaster@example.jp")[0] == 250
            assert client.rcpt("postmaster")[0] == 250  # RFC 5321 section 4.5.1


def test_relaying_is_refused_to_strangers():
    with Hayauma(users=[HANAKO], options="relay_networks = { }\n") as server:
        with server.smtp() as client:
            client.ehlo()
            client.mail("a@example.net")
            code, words = client.rcpt("b@example.org")
            assert (code, words[:5]) == (550, b"5.7.1")
        assert "relay" in server.wait_for_why("b@example.org", "refused")


def test_lmtp_answers_each_recipient():
    with Hayauma(users=[HANAKO, TARO]) as server:
        with server.lmtp() as client:
            client.ehlo()
            client.mail("a@example.net")
            assert client.rcpt(HANAKO)[0] == 250
            assert client.rcpt("nobody@example.jp")[0] == 550
            assert client.rcpt(TARO)[0] == 250
            client.putcmd("data")
            assert client.getreply()[0] == 354
            client.send(b"Subject: lmtp\r\n\r\nbody\r\n.\r\n")
            assert [client.getreply()[0] for _ in range(2)] == [250, 250]
            assert client.noop()[0] == 250  # and no third reply before it
        for address in (HANAKO, TARO):
            assert b"Subject: lmtp" in server.wait_for_messages(address, 1)[0]


@pytest.mark.parametrize("end", [b"\n.\r\n", b"\n.\n", b"\r\n.\n", b"\r.\r"],
                         ids=["LF.CRLF", "LF.LF", "CRLF.LF", "CR.CR"])
def test_smuggling_is_refused(end):
    """What is no end of data must not be read as one (RFC 5321 section 4.1.1.4)."""
    inner = b"MAIL FROM:<x@example.net>\r\nRCPT TO:<" + HANAKO.encode() \
            + b">\r\nDATA\r\nSubject: smuggled\r\n\r\nx"
    with Hayauma(users=[HANAKO]) as server:
        with server.smtp() as client:
            client.ehlo()
            client.mail("a@example.net")
            client.rcpt(HANAKO)
            client.putcmd("data")
            assert client.getreply()[0] == 354
            client.send(b"Subject: outer\r\n\r\nbody" + end + inner + b"\r\n.\r\n")
            assert client.getreply()[0] // 100 == 5
            assert client.noop()[0] == 250
        assert server.messages(HANAKO) == []


# Out, with real peers

def test_postfix_gives_us_mail():
    with Hayauma(users=[HANAKO], tls=True) as server, \
            Postfix(relay_to=server.ports["smtp"], options={"smtp_tls_security_level": "may"}) \
            as postfix:
        swaks(postfix.port, "--to", HANAKO, "--header", "Subject: by Postfix")
        message = server.wait_for_messages(HANAKO, 1)[0]
        assert b"Subject: by Postfix" in message and b"(Postfix)" in message
        assert message.count(b"\nReceived: ") == 2
        ports.wait_until(postfix.is_idle, "nothing is left in Postfix:\n" + postfix.log())


def test_postfix_gives_us_mail_over_lmtp():
    with Hayauma(users=[HANAKO]) as server, \
            Postfix(relay_to=f"lmtp:{server.ports['lmtp']}") as postfix:
        swaks(postfix.port, "--to", HANAKO)
        server.wait_for_messages(HANAKO, 1)
        ports.wait_until(postfix.is_idle, "nothing is left in Postfix:\n" + postfix.log())


def test_postfix_takes_our_mail():
    with Postfix(domains=["example.net"]) as postfix, \
            Hayauma(options=smart_host(postfix.port)) as server:
        server.send("hanako@example.jp", ["b@example.net", "c@example.net"],
                    MESSAGE.format("out"))
        messages = ports.wait_until(lambda: len(postfix.messages()) == 2 and postfix.messages(),
                                    "Postfix has both:\n" + postfix.log())
        assert {m["Delivered-To"] for m in messages} == {"b@example.net", "c@example.net"}
        assert messages[0]["Return-Path"] == "<hanako@example.jp>"
        assert messages[0].get_payload() == "body of out\n.a dot in front\n"
        text = server.wait_for_why("b@example.net", "relayed")
        assert str(postfix.port) in text and "250" in text
        ports.wait_until(lambda: not server.queue(), "our queue is empty")


def test_queue_waits_for_its_next_hop():
    port = ports.free_port()
    with Hayauma(options=smart_host(port)) as server:
        server.send("a@example.jp", ["b@example.net"], MESSAGE.format("waits"))
        server.wait_for_why("b@example.net", "Connection refused")
        assert len(server.queue()) == 1
        with Sink(port) as sink:
            server.run("queue", "retry")
            ports.wait_until(lambda: sink.received, "the sink has it")
            ports.wait_until(lambda: not server.queue(), "the queue is empty")
        server.wait_for_why("b@example.net", "relayed")


def test_refused_elsewhere_comes_back():
    with Sink() as sink, Hayauma(users=[HANAKO], options=smart_host(sink.port)) as server:
        sink.reply_to_rcpt = "550 5.1.1 no such person"
        server.send(HANAKO, ["nobody@example.net"], MESSAGE.format("lost"))
        bounce = server.wait_for_messages(HANAKO, 1)[0].decode()
        assert bounce.startswith("Return-Path: <>\n")
        assert "multipart/report" in bounce and "nobody@example.net" in bounce
        assert re.search(r"^Status: 5\.1\.1", bounce, re.MULTILINE)
        server.wait_for_why("nobody@example.net", "bounced")


# The administrator

def test_users():
    with Hayauma(users=[HANAKO]) as server:
        assert HANAKO in server.run("user", "list").stdout
        assert PASSWORD not in (server.folder / "users").read_text()
        server.add_user(TARO)  # while it runs
        ports.wait_until(lambda: server.send("a@example.net", [HANAKO, TARO],
                                             MESSAGE.format("new")) == {},
                         "a new user is known", interval=1)
        server.wait_for_messages(TARO, 1)


def test_send_as_sendmail():
    with Hayauma(users=[HANAKO]) as server:
        server.run("send", "-t", "-i", text=f"To: {HANAKO}\nSubject: sent\n\n.\nbody\n")
        message = server.wait_for_messages(HANAKO, 1)[0]
        assert b"\nSubject: sent\n" in message and message.endswith(b"\n.\nbody\n")
    server = Hayauma()
    try:  # nobody is there to take it: EX_TEMPFAIL
        assert server.run("send", HANAKO, text="Subject: x\n\n", check=False).returncode == 75
    finally:
        server.remove()


def test_status_and_check():
    with Hayauma(users=[HANAKO]) as server:
        children = server.children()
        for name in ("edge/0", "keeper/0", "relay/0", "resolver/0", "directory/0", "worker/0"):
            assert name in children
            assert name.partition("/")[0] in server.run("status").stdout
        assert "hayauma.conf:1" in server.run("check", "--effective").stdout
        server.config.write_text(server.config.read_text() + "no_such_option = 1\n")
        done = server.run("check", check=False)
        assert done.returncode == 78 and re.search(r"hayauma\.conf:\d+: .*no_such_option",
                                                   done.stderr)


# Whatever happens

def test_restart_keeps_mail():
    port = ports.free_port()
    with Hayauma(users=[HANAKO], options=smart_host(port)) as server:
        server.send("a@example.jp", [HANAKO, "b@example.net"], MESSAGE.format("kept"))
        before = server.wait_for_messages(HANAKO, 1)
        server.stop()
        server.start()
        assert server.messages(HANAKO) == before
        assert len(server.queue()) == 1
        with Sink(port) as sink:
            ports.wait_until(lambda: sink.received, "the sink has it")


def load_targets(number):
    return [[HANAKO], [TARO], ["b@example.net"], [HANAKO, "b@example.net"]][number % 4]


def settle(server, sink, load):
    """After load: waits until nothing is on its way, then reconciles."""
    load.stop()
    ports.wait_until(lambda: not server.queue(), "the queue is empty", 60)
    return {HANAKO: server.messages(HANAKO), TARO: server.messages(TARO)}, \
        {"example.net": sink.received}


def test_reload_under_load_drops_nothing():
    with Sink() as sink, Hayauma(users=[HANAKO, TARO], options=smart_host(sink.port)) as server:
        load = Load(server, load_targets).start()
        for number in range(4):
            count = load.count()
            ports.wait_until(lambda: load.count() > count + 10, "load flows")
            server.write_config(f"trace_days = {number + 5}\n")
            server.reload()
            assert f"trace_days = {number + 5}" in re.sub(
                " +", " ", server.run("check", "--effective").stdout)
        server.write_config("trace_days = soon\n")
        done = server.run("reload", check=False)
        assert done.returncode != 0 and re.search(r"hayauma\.conf:\d+: ", done.stderr)
        count = load.count()
        ports.wait_until(lambda: load.count() > count + 10, "load flows on as before")
        server.write_config()
        places = settle(server, sink, load)
        assert load.errors == []
        reconcile(load, *places)


VICTIMS = ["edge/0", "keeper/0", "relay/0", "resolver/0", "directory/0", "worker/0", "supervisor"]


def kill_under_load(victim, rounds):
    with Sink() as sink, Hayauma(users=[HANAKO, TARO], options=smart_host(sink.port)) as server:
        load = Load(server, load_targets).start()
        for _ in range(rounds):
            count = load.count()
            ports.wait_until(lambda: load.count() > count + 25, "load flows:\n" + server.log(30),
                             40)
            pid = server.kill(victim)
            if victim == "supervisor":
                ports.wait_until(lambda: not server.children_left(), "all end with it", 15)
                server.start()
            else:
                ports.wait_until(lambda: server.children().get(victim, pid) != pid,
                                 f"{victim} is started again", 20)
        count = load.count()
        ports.wait_until(lambda: load.count() > count + 25, "load flows afterwards", 40)
        places = settle(server, sink, load)
        print(reconcile(load, *places, may_repeat=victim in ("relay/0", "keeper/0",
                                                             "supervisor")))


@pytest.mark.parametrize("victim", VICTIMS)
def test_kill_under_load_loses_nothing(victim):
    kill_under_load(victim, 2)


@pytest.mark.long
@pytest.mark.parametrize("victim", VICTIMS)
def test_many_kills_under_load_lose_nothing(victim):
    kill_under_load(victim, 40)


def test_everything_works_without_root():
    with Sink() as sink, Hayauma(users=[HANAKO], tls=True, as_nobody=True,
                                 options=smart_host(sink.port)) as server:
        swaks(server.ports["smtp"], "--to", f"{HANAKO},b@example.net", "--tls")
        server.wait_for_messages(HANAKO, 1)
        server.wait_for_why("b@example.net", "relayed")
        server.kill("keeper/0")
        ports.wait_until(lambda: "keeper/0" in server.children(), "the keeper is back")
        server.wait_for_messages(HANAKO, 1)
        server.run("status")


@pytest.mark.parametrize("as_nobody", [False, True], ids=["as we are", "as nobody"])
def test_processes_are_confined(as_nobody):
    """As the kernel tells it: no new privileges, system calls filtered; and,
    started by root, neither root's uid nor root's capabilities."""
    with Hayauma(users=[HANAKO], as_nobody=as_nobody) as server:
        for name, pid in server.children().items():
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
            assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2"), name
            assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0, name
            if os.geteuid() == 0:
                assert "0" not in status["Uid"].split() + status["Gid"].split(), name
                assert status["Groups"].split() in ([], [status["Gid"].split()[0]]), name
