"""Sendmail's tables in a running server: what a recipient becomes, who may send
where, what senders are shown as, and what `why` says about it."""
import re

import pytest

import ports
from hayauma import Hayauma, LMTP

HANAKO, TARO = "hanako@example.jp", "taro@example.jp"
MESSAGE = ("From: {sender}\r\nTo: x@example.jp\r\nSubject: tables\r\n"
           "Message-ID: <{id}@t>\r\n\r\ntext\r\n")

ALIASES = """# local names
postmaster: hanako
team: taro,
    hanako
staff: :include:{folder}/staff
owner-staff: hanako
half: taro, nobody-here
circle: circle2
circle2: circle
"""


class Tables(Hayauma):
    """A server with tables: a text for each, "{folder}" being its own. What is
    no table is a list that aliases include."""

    compares = True
    KINDS = "mailertable", "access", "aliases", "virtusertable", "genericstable"

    def __init__(self, tables, options="", **more):
        super().__init__(users=[HANAKO, TARO], **more)
        names = []
        for name, text in tables.items():
            (self.folder / name).write_text(text.replace("{folder}", str(self.folder)))
            if name in self.KINDS:
                names.append(f'{name} = "{self.folder}/{name}"')
        self.options = f"tables {{ {' '.join(names)} }}\n{options}"
        self.write_config()

    def write(self, name, text):
        (self.folder / name).write_text(text)

    def wait_for_log(self, pattern, begin):
        def told():
            return re.search(pattern, self.log_path.read_text()[begin:])
        ports.wait_until(told, f"the log says {pattern}:\n{self.log_path.read_text()[begin:]}")


def rcpt(client, rcpt_to, mail_from="a@example.net"):
    client.ehlo_or_helo_if_needed()
    client.rset()
    code, words = client.mail(mail_from)
    assert code == 250, words
    return client.rcpt(rcpt_to)


def test_an_alias_reaches_everybody_once_and_why_says_how():
    with Tables({"aliases": ALIASES, "staff": "taro\n",
                 "virtusertable": "info@example.jp team\n"}) as server:
        server.send("a@example.net", ["info@example.jp", HANAKO],
                    MESSAGE.format(sender="a@example.net", id="one"))
        server.wait_for_messages(HANAKO, 1)
        server.wait_for_messages(TARO, 1)
        text = server.wait_for_why("info@example.jp", "stored")
        assert "virtusertable:1" in text and re.search(r"aliases:3", text), text
        assert len(server.messages(HANAKO)) == 1


def test_lists_from_files_and_their_owner():
    with Tables({"aliases": ALIASES, "staff": "taro\n:include:{folder}/more\n",
                 "more": "# one more\nhanako\n"}) as server:
        server.send("a@example.net", ["staff@example.jp"],
                    MESSAGE.format(sender="a@example.net", id="list"))
        for address in HANAKO, TARO:
            server.wait_for_messages(address, 1)
            assert b"Return-Path: <hanako@example.jp>" in server.message(address)
        with server.smtp() as client:  # another return path: in a message of its own
            assert rcpt(client, TARO)[0] == 250
            assert client.rcpt("staff@example.jp")[0] == 452
            assert client.rcpt(HANAKO)[0] == 250


def test_a_missing_list_keeps_the_old_tables_and_names_the_file():
    with Tables({"aliases": ALIASES, "staff": "taro\n"}) as server:
        begin = server.log_path.stat().st_size
        server.write("aliases", "staff: :include:/nowhere/to/be/found\n")
        server.wait_for_log("reload_refused text=.*/nowhere/to/be/found", begin=begin)
        with server.smtp() as client:
            assert rcpt(client, "team@example.jp")[0] == 250


def test_circles_and_lost_names():
    with Tables({"aliases": ALIASES, "staff": "taro\n"}) as server:
        with server.smtp() as client:
            code, words = rcpt(client, "circle@example.jp")
            assert code == 554 and b"circle2@example.jp -> circle@example.jp" in words, words
        server.send("hanako@example.jp", ["half@example.jp"],
                    MESSAGE.format(sender=HANAKO, id="half"))
        server.wait_for_messages(TARO, 1)
        server.wait_for_messages(HANAKO, 1)  # the report about the other half
        assert b"nobody-here@example.jp" in server.message(HANAKO)


def test_a_table_is_read_again_and_an_error_keeps_the_old_one():
    with Tables({"access": "junk@example.jp ERROR:550 Mailbox unavailable\n"}) as server:
        with server.smtp() as client:
            assert rcpt(client, "junk@example.jp")[1].startswith(b"5.7.1 Mailbox unavailable")
            begin = server.log_path.stat().st_size
            server.write("access", "junk@example.jp ERROR:550 Mailbox unavailable\n"
                                   "hanako@example.jp MAYBE\n")
            server.wait_for_log(r'reload_refused text="?access:2: .*MAYBE', begin=begin)
            assert rcpt(client, HANAKO)[0] == 250
            begin = server.log_path.stat().st_size
            server.write("access", "hanako@ REJECT\n")
            server.wait_for_log("tables_read", begin=begin)
            code, words = rcpt(client, HANAKO)
            assert code == 550 and b"Recipient refused" in words
            # The text carries the id to ask for, once the transaction has ended.
            client.rset()
            told = server.wait_for_why(re.search(rb"\((\w+)\)", words)[1].decode(), "refused")
            assert "access:1" in told


def test_access_discards_and_relays():
    table = "spam@example.net DISCARD\nfriend.example RELAY\nConnect:127.0.0.1 OK\n"
    with Tables({"access": table}, options="relay_networks = { }\n") as server:
        server.send("spam@example.net", [HANAKO], MESSAGE.format(sender="s@e.net", id="spam"))
        told = server.wait_for_why(HANAKO, "discarded")
        assert "access:1" in told
        assert server.messages(HANAKO) == []
        with server.smtp() as client:
            assert rcpt(client, "x@mail.friend.example")[0] == 250
            assert rcpt(client, "x@stranger.example")[0] == 550


def test_quarantine_holds_the_message_until_the_administrator_says_so():
    table = "odd.example QUARANTINE:looks odd\nTo:taro@ QUARANTINE:Taro is away\n" \
            "junk@ REJECT\n"
    with Tables({"access": table}, options="relay_networks = { }\n") as server:
        with server.smtp() as client:  # who is refused holds nobody else's mail
            assert rcpt(client, "x@stranger.example", "a@odd.example")[0] == 550
            assert client.rcpt("junk@example.jp")[0] == 550
        server.send("a@odd.example", [HANAKO], MESSAGE.format(sender="a@odd.example", id="q1"))
        server.send("a@example.net", [HANAKO, TARO], MESSAGE.format(sender="a@example.net",
                                                                    id="q2"))
        rows = server.queue()
        held = {row["mail_from"]: row["recipients"] for row in rows}
        assert len(rows) == 2 and all(row["held"] for row in rows), rows
        assert [r["reply"] for r in held["a@odd.example"]] == ["looks odd"]
        assert {r["rcpt_to"]: r["reply"] for r in held["a@example.net"]} == {
            HANAKO: "Taro is away", TARO: "Taro is away"}
        assert "looks odd" in server.run("queue", "list").stdout
        told = server.why(rows[0]["id"])
        assert re.search(r"held +by access \(access:1\) because of looks odd", told), told
        tried = server.run("try", "--client", "192.0.2.9", "--mail-from", "a@odd.example",
                           "--rcpt", HANAKO).stdout
        assert "because of looks odd" in tried, tried
        server.run("queue", "retry", "--all")  # no administrator released it
        server.kill("keeper/0")
        server.wait_until_ready()
        assert len(server.queue()) == 2 and server.messages(HANAKO) == []
        server.run("queue", "release", "--reason", "looks odd")
        server.wait_for_messages(HANAKO, 1)
        assert b"Return-Path: <a@odd.example>" in server.message(HANAKO)
        assert "released" in server.wait_for_why(rows[0]["id"], "relayed")
        server.run("queue", "drop", "--sender", "a@example.net")
        assert server.queue() == [] and server.messages(TARO) == []


@pytest.mark.parametrize("is_large", [False, True])
def test_senders_are_masqueraded(is_large):
    options = ('masquerade { as = "example.gr.jp" domains = { "pc.example.jp" } envelope = yes '
               'exposed_users = { "root" } }\nrelay_networks = { "127.0.0.0/8" }\n')
    with Tables({"genericstable": "ando Kazunori.Ando@example.gr.jp\n"}, options) as server:
        more = "x" * 70 + "\r\n"
        message = MESSAGE.format(sender='"N, M" <m@pc.example.jp>, root@example.jp, '
                                        "ando@example.jp", id="m")
        server.send("m@pc.example.jp", [HANAKO], message + more * (6000 if is_large else 1))
        server.wait_for_messages(HANAKO, 1)
        text = server.message(HANAKO)
        assert b'From: "N, M" <m@example.gr.jp>, root@example.jp, ' \
               b"Kazunori.Ando@example.gr.jp" in text
        assert b"Return-Path: <m@example.gr.jp>" in text
        assert text.count(b"x" * 70) == (6000 if is_large else 1)
        assert "m@pc.example.jp" in server.wait_for_why(HANAKO, "stored")


def test_mailertable_goes_before_all_else():
    with Hayauma(hostname="mbox.example.gr.jp", domains=("example.gr.jp",),
                 users=["hanako@example.gr.jp"]) as mailbox:
        table = (f".example.gr.jp smtp:[127.0.0.1]:1\n"
                 f"example.gr.jp smtp:[127.0.0.1]:{mailbox.ports['smtp']}\n"
                 "closed.example error:5.1.2:550 No more\n")
        with Tables({"mailertable": table, "access": "example.gr.jp RELAY\n"},
                    hostname="gateway.example.gr.jp") as gateway:
            gateway.send("a@example.net", ["hanako@example.gr.jp"],
                         MESSAGE.format(sender="a@example.net", id="through"))
            mailbox.wait_for_messages("hanako@example.gr.jp", 1)
            told = gateway.wait_for_why("hanako@example.gr.jp", "taken by|relayed")
            assert "access:1" in told, told


def test_lmtp_answers_each_recipient_of_an_alias_once():
    with Tables({"aliases": ALIASES, "staff": "taro\n"}) as server:
        with LMTP("127.0.0.1", server.ports["lmtp"]) as client:
            client.ehlo("c.example")
            client.mail("a@example.net")
            for address in "team@example.jp", HANAKO:
                assert client.rcpt(address)[0] == 250
            client.putcmd("data")
            assert client.getreply()[0] == 354
            client.send(MESSAGE.format(sender="a@b", id="l").encode() + b".\r\n")
            assert [client.getreply()[0] for _ in range(2)] == [250, 250]
            assert client.noop()[0] == 250
        server.wait_for_messages(TARO, 1)
        assert len(server.messages(HANAKO)) == 1


def test_check_reads_the_tables():
    with Tables({"access": "a@b.example OK\n"}) as server:
        assert "good" in server.run("check").stdout
        server.write("access", "a@b.example OK\nx MAYBE\n\nA@b.example REJECT\n")
        done = server.run("check", check=False)
        assert done.returncode == 78 and "access:2: \"MAYBE\" is no action" in done.stderr
