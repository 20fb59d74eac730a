"""Who may send where: {local, outside} to {local, outside} over both families, by
network, by access and by both together with the sender; tricks that would go around
it; and `hayauma try`, which must say the same as what happens."""
import re

import pytest

from hayauma import Hayauma, decided

HANAKO, OUTSIDE = "hanako@example.jp", "x@outside.example"
NIHON = "日本.example"  # xn--wgv71a.example
LOCAL = "10.1.2.3", "2001:db8:1::5"
FAR = "203.0.113.9", "2001:db8:2::5"
NETWORKS = 'relay_networks = { "10.0.0.0/8", "2001:db8:1::/48" }\n'
COMMON = 'xclient_networks = { "127.0.0.0/8", "10.0.0.0/8" }\nprocesses { edge = 1 }\n'


class Server(Hayauma):
    def __init__(self, options, access=None):
        super().__init__(users=[HANAKO], domains=("example.jp", "xn--wgv71a.example"))
        self.options = COMMON + options
        if access is not None:
            (self.folder / "access").write_text(access)
            self.options += f'tables {{ access = "{self.folder}/access" }}\n'
        self.write_config()

    def rcpt(self, client_address, rcpt_to, mail_from="a@sender.example"):
        """Code and words of the last reply; RCPT as octets, so that nothing tidies it."""
        with self.smtp() as client:
            client.ehlo()
            prefix = "IPV6:" if ":" in client_address else ""
            assert client.docmd("XCLIENT", f"ADDR={prefix}{client_address}")[0] == 220
            client.ehlo()
            is_utf8 = not rcpt_to.isascii()
            client.sock.sendall(f"MAIL FROM:<{mail_from}>{' SMTPUTF8' if is_utf8 else ''}\r\n"
                                .encode())
            code, words = client.getreply()
            assert code == 250, words
            client.sock.sendall(b"RCPT TO:<" + rcpt_to.encode() + b">\r\n")
            code, words = client.getreply()
            client.rset()
            return code, words.decode()

    def agrees(self, client_address, rcpt_to, mail_from="a@sender.example"):
        """The code; `try` must give the same record as `why`."""
        code, words = self.rcpt(client_address, rcpt_to, mail_from)
        tried = self.rows("try", "--client", client_address, "--mail-from", mail_from, "--rcpt",
                          rcpt_to, "--helo", "client.example.net")[0]["steps"]
        assert tried[-1]["code"] == code, (words, tried)
        found = re.search(r"\((\w{13})\)$", words)
        if found:
            self.wait_for_why(found[1], "refused")
            told = self.rows("why", found[1])[0]["steps"]
            assert decided(tried) == decided(told)
        return code


CELLS = [(LOCAL, HANAKO), (FAR, HANAKO), (LOCAL, OUTSIDE), (FAR, OUTSIDE)]


@pytest.mark.parametrize("options, access, allowed", [
    ("relay_networks = { }\n", None, [True, True, False, False]),
    (NETWORKS, None, [True, True, True, False]),
    ("relay_networks = { }\n", "10.1 RELAY\nConnect:IPv6:2001:db8:1 RELAY\n",
     [True, True, True, False]),
    (NETWORKS, "Connect:10.1.2.3 REJECT\nConnect:IPv6:2001:db8:1::5 ERROR:550 No\n",
     [False, True, False, False])])
def test_the_four_cells(options, access, allowed):
    with Server(options, access) as server:
        for (clients, rcpt_to), wanted in zip(CELLS, allowed):
            for client in clients:
                code = server.agrees(client, rcpt_to)
                assert (code == 250) == wanted, (client, rcpt_to, code)


def test_network_and_sender_together():
    with Server(NETWORKS + 'relay_mail_from = { "example.jp" }\n') as server:
        for client in LOCAL:
            assert server.agrees(client, OUTSIDE, HANAKO) == 250
            assert server.agrees(client, OUTSIDE, "a@example.net") == 550
            assert server.agrees(client, HANAKO, "a@example.net") == 250
        for client in FAR:
            assert server.agrees(client, OUTSIDE, HANAKO) == 550
            assert server.agrees(client, HANAKO, HANAKO) == 250


TRICKS = {
    "user%outside.example@example.jp": 550, "outside.example!user@example.jp": 550,
    '"user@outside.example"@example.jp': 550, "@example.jp:user@outside.example": 550,
    "@example.jp,@mx1.example.jp:user@outside.example": 550,
    "user%outside.example@[127.0.0.1]": 550, '"user@outside.example"@[127.0.0.1]': 550,
    "outside.example!user@[127.0.0.1]": 550, "user@[203.0.113.1]": 550,
    "user@[IPv6:2001:db8:ff::1]": 550, "user@outside.example.": 550, "x@OUTSIDE.EXAMPLE": 550,
    "user%outside.example": 550, "outside.example!user": 550, "hanako@sub.example.jp": 550,
    "hanako@example.jp.outside.example": 550, "hanako@notexample.jp": 550,
    "x@日本語.example": 550, "x@xn--wgv71a119e.example": 550, "x@example。jp.outside.example": 550,
    "user\0@outside.example": 501, "user@outside.example\0@example.jp": 501,
    "user@outside.example\0.example.jp": 501,
    "hanako@example.jp": 250, "HANAKO@EXAMPLE.JP": 250, "hanako@example.jp.": 501,
    "hanako@[127.0.0.1]": 250, "@relay.example:hanako@example.jp": 250, '"hanako"@example.jp': 250,
    f"postmaster@{NIHON}": 250, "postmaster@XN--WGV71A.example": 250, "postmaster": 250,
}


def test_tricks_open_nothing():
    with Server("relay_networks = { }\n") as server:
        malformed = set()  # refused before anything is decided
        for client in FAR[0], FAR[1], LOCAL[0]:
            for rcpt_to, wanted in TRICKS.items():
                code, words = server.rcpt(client, rcpt_to)
                if code in (500, 501):
                    malformed.add(rcpt_to)
                assert code == wanted or (wanted > 499 and code in (500, 501, 550, 553)), \
                    (rcpt_to, code, words)
        for rcpt_to in TRICKS.keys() - malformed:
            if rcpt_to.isascii() and "127.0.0.1" not in rcpt_to \
                    and "@" in rcpt_to:
                server.agrees(FAR[0], rcpt_to)


def test_only_who_may_control_may_try():
    with Server("relay_networks = { }\n") as server, server.smtp() as client:
        client.ehlo()
        assert client.docmd("XCLIENT", "ADDR=192.0.2.1 TRIAL=YES")[0] == 550


def test_try_leaves_no_trace():
    with Server("relay_networks = { }\n") as server:
        message = server.folder / "message"
        message.write_text("Subject: x\n\n.dot\ntext\n")
        words = "try", "--client", FAR[0], "--mail-from", "a@b.example", "--rcpt", HANAKO
        row = server.rows(*words, "--message", message)[0]
        assert [s["kind"] for s in row["steps"]][:2] == ["received", "accepted"]
        message.write_text("Received: x\n" * 200 + "\ntext\n")
        row = server.rows(*words, "--message", message)[0]
        assert row["steps"][-1]["code"] == 554
        assert server.messages(HANAKO) == [] and row["id"] not in server.log_path.read_text()
        assert server.run("why", row["id"], check=False).returncode != 0
        told = server.run("try", "--client", FAR[0], "--mail-from", HANAKO, "--login", HANAKO,
                          "--rcpt", "x@outside.example").stdout
        assert "accepted" in told and "login" in told
