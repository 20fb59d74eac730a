"""What is asked of others before a recipient is accepted: lists of clients in DNS
from a real nsd (answering, silent, SERVFAIL, listing everything), whether the
sender's domain exists, and whether the next hop knows the recipient."""
import re

import pytest

import ports
from hayauma import Hayauma
from nsd import Nsd
from smtp_peer import SmtpPeer

HANAKO = "hanako@example.jp"
POINTS = "2.0.0.127.{zone}. A 127.0.0.2\n"
LISTED, CLEAN = "192.0.2.1", "192.0.2.77"


class Asking(Hayauma):
    """A server to which clients of any address can be named by XCLIENT."""

    def __init__(self, options, **more):
        super().__init__(users=[HANAKO], options="relay_networks = { }\n"
                         'xclient_networks = { "127.0.0.0/8" }\n' + options, **more)

    def rcpt(self, client_address, rcpt_to=HANAKO, mail_from="a@example.net"):
        """The reply to RCPT, as a client with this address gets it."""
        with self.smtp() as client:
            client.ehlo()
            prefix = "IPV6:" if ":" in client_address else ""
            assert client.docmd("XCLIENT", f"ADDR={prefix}{client_address}")[0] == 220
            client.ehlo()
            code, words = client.mail(mail_from)
            if code == 250:
                code, words = client.rcpt(rcpt_to)
            client.rset()
            return code, words.decode()

    def wait_for_log(self, pattern):
        ports.wait_until(lambda: re.search(pattern, self.log_path.read_text()),
                         f"the log says {pattern}")

    def tries(self, client_address, rcpt_to=HANAKO, mail_from="a@example.net", **more):
        """The same by `hayauma try`: the reply of its record, and all it tells."""
        words = ["try", "--client", client_address, "--mail-from", mail_from, "--rcpt", rcpt_to]
        row = self.rows(*words, **more)[0]
        steps = [s for s in row["steps"] if s["kind"] in ("accepted", "refused")]
        return steps[-1]["code"], row


    def agrees(self, client_address, rcpt_to=HANAKO, mail_from="a@example.net"):
        """The code of the reply; `try` gives it, too, and for a refusal the record."""
        code, words = self.rcpt(client_address, rcpt_to, mail_from)
        assert self.tries(client_address, rcpt_to, mail_from)[0] == code, words
        if code != 250:
            self.compare_with_try(words[-14:], client_address, mail_from, [rcpt_to])
        return code


def dns(zones):
    return Nsd("", zones)


def listing(zone, more=""):
    return POINTS.format(zone=zone) + more


def test_a_list_that_answers():
    zone = {"bl.example": listing("bl.example", "1.2.0.192.bl.example. A 127.0.0.2\n"
                                  '1.2.0.192.bl.example. TXT "open \\"relay\\""\n'
                                  "3.2.0.192.bl.example. A 127.0.0.9\n"
                                  + ".".join("1" + "0" * 23 + "8bd01002")
                                  + ".bl.example. A 127.0.0.2\n"),
            "wl.example": listing("wl.example", "4.2.0.192.wl.example. A 127.0.0.2\n"
                                  "1.3.0.192.wl.example. A 127.0.0.2\n"),
            "second.example": listing("second.example", "4.2.0.192.second.example. A 127.0.0.2\n"
                                      "5.2.0.192.second.example. A 127.0.0.2\n")}
    lists = ('dnsbl "bl.example" { answers = { "127.0.0.2." } }\n'
             'dnsbl "second.example" { message = "RBL BLOCK %a %z" }\n'
             'dnsbl "wl.example" { allow = yes }\n')
    with dns(zone) as nsd, Asking(lists + nsd.options() % 25) as server:
        code, words = server.rcpt(LISTED)
        assert code == 550 and 'Rejected: [192.0.2.1] is listed by bl.example (open "relay")' \
            in words, words
        told = server.wait_for_why(re.search(r"\((\w+)\)$", words)[1], "refused")
        assert "127.0.0.2" in told and "hayauma.conf:" in told, told
        assert server.rcpt(CLEAN)[0] == 250
        assert server.rcpt("192.0.2.3")[0] == 250, "listed, with an answer that is not ours"
        assert server.rcpt("192.0.2.4")[0] == 250, "listed, and allowed by another list"
        assert "RBL BLOCK [192.0.2.5] second.example" in server.rcpt("192.0.2.5")[1]
        assert server.rcpt("2001:db8::1")[0] == 550
        for address in LISTED, CLEAN, "192.0.2.4", "192.0.2.5":
            server.agrees(address)
        server.options = 'tables { access = "%s/access" }\n' % server.folder + server.options
        (server.folder / "access").write_text(f"Connect:{LISTED} OK\n")
        server.write_config()
        server.reload()
        ports.wait_until(lambda: server.rcpt(LISTED)[0] == 250, "allowed by access")


@pytest.mark.parametrize("answer, reason", [
    ("*.bl.example. A 127.0.0.2\n", "it lists everything"),
    ("*.bl.example. A 127.255.255.254\n", "it refuses our questions"),
    ("*.bl.example. A 203.0.113.9\n", "no answer of a list")])
def test_a_list_that_is_not_in_order_is_switched_off(answer, reason):
    with dns({"bl.example": answer}) as nsd, \
            Asking('dnsbl "bl.example" { on_outage = "tempfail" }\n'
                   + nsd.options() % 25) as server:
        assert server.rcpt(LISTED)[0] == 250
        server.wait_for_log(f"dnsbl_switched_off.*{reason}")
        assert any(key.startswith("dnsbl_off") for row in server.rows("status") for key in row)
        assert server.tries(LISTED)[0] == 250


def test_what_one_edge_finds_out_about_a_list_all_know():
    with dns({"bl.example": "*.bl.example. A 127.0.0.2\n"}) as nsd, \
            Asking('dnsbl "bl.example" { }\nprocesses { edge = 4 }\n'
                   + nsd.options() % 25) as server:
        assert server.rcpt(LISTED)[0] == 250
        server.wait_for_log("dnsbl_switched_off.*it lists everything")
        for _ in range(40):
            assert server.rcpt(LISTED)[0] == 250
        off = [row["name"] for row in server.rows("status") if row.get("dnsbl_off_bl.example")]
        assert len(off) == 4, off
        log = server.log(last=100000)
        assert log.count("it lists everything") == 1, "one asked, and told the others"
        assert log.count("another edge found it so") == 3


def test_a_list_that_lists_nothing_is_told_about():
    with dns({"bl.example": ""}) as nsd, \
            Asking('dnsbl "bl.example" { }\n' + nsd.options() % 25) as server:
        assert server.rcpt(LISTED)[0] == 250
        server.wait_for_log("dnsbl_lists_nothing")


def test_outages_do_what_on_outage_says():
    with dns({"bl.example": None, "other.example": None}) as nsd, \
            Asking('dnsbl "other.example" { on_outage = "accept" }\n'
                   + nsd.options() % 25) as server:
        assert server.rcpt(LISTED)[0] == 250
        server.wait_for_log("dnsbl_does_not_answer")
        server.options += '\ndnsbl "bl.example" { on_outage = "tempfail" }\n'
        server.write_config()
        server.reload()
        ports.wait_until(lambda: server.rcpt(LISTED)[0] == 451, "reloaded")
        code, words = server.rcpt(LISTED)
        assert code == 451 and "bl.example" in words
        assert server.tries(LISTED)[0] == 451
        told = server.wait_for_why(re.search(r"\((\w+)\)$", words)[1], "refused")
        assert "other.example does not answer" in told, told


def test_a_silent_list_is_waited_for_once():
    silent = ports.free_port()  # where nobody answers
    with Asking('dnsbl "bl.example" { on_outage = "tempfail" }\nprocesses { edge = 1 }\n'
                f'dns {{ servers = {{ "127.0.0.1@{silent}" }} trust_anchor = "/dev/null" }}'
                ) as server:
        def asked():
            return sum(row.get("dnsbl_asked_bl.example", 0) for row in server.rows("status"))
        assert server.rcpt(LISTED)[0] == 451
        server.wait_for_log("dnsbl_does_not_answer")
        before = asked()
        assert server.rcpt(LISTED)[0] == 451 and asked() == before, "known to be down: not asked"


def test_domains_of_senders():
    records = ("good.example. MX 10 mx.good.example.\nmx.good.example. A 192.0.2.9\n"
               "null.example. MX 0 .\nempty.example. TXT text\n")
    with Nsd(records, {"broken.example": None}) as nsd, \
            Asking("accept_unresolvable_domains = no\n" + nsd.options() % 25) as server:
        cases = {"a@good.example": 250, "a@none.example": 553, "a@null.example": 550,
                 "a@empty.example": 553, "a@broken.example": 451, "": 250, HANAKO: 250}
        for mail_from, code in cases.items():
            assert server.agrees(CLEAN, mail_from=mail_from) == code, mail_from


def test_recipients_are_asked_for_at_the_next_hop():
    with Hayauma(hostname="mbox.example.com", domains=("example.com",),
                 users=["taro@example.com"]) as mailbox:
        port = mailbox.ports["smtp"]
        with Asking(f'relay_domains = {{ "example.com" }}\nlocal_relay = "[127.0.0.1]:{port}"\n'
                    "probe { recipients = yes bad = \"1s\" }\n"
                    "accept_unresolvable_domains = yes\n", role="gateway", domains=()) as gateway:
            assert gateway.rcpt(CLEAN, "taro@example.com")[0] == 250
            code, words = gateway.rcpt(CLEAN, "nobody@example.com")
            assert code == 550 and words.startswith("5.1.1 User unknown"), words
            assert gateway.tries(CLEAN, "nobody@example.com")[0] == 550
            told = gateway.wait_for_why(re.search(r"\((\w+)\)$", words)[1], "refused")
            assert "probe" in told
            assert any(row.get("probe_asked") for row in gateway.rows("status"))
            asked = mailbox.log(last=100000).count("recipient_refused")
            assert gateway.rcpt(CLEAN, "nobody@example.com")[0] == 550
            mailbox.stop()
            assert mailbox.log(last=100000).count("recipient_refused") <= asked + 1
            # Away: what was known counts, and what was not is taken.
            assert gateway.rcpt(CLEAN, "taro@example.com")[0] == 250
            assert gateway.rcpt(CLEAN, "hanako@example.com")[0] == 250
            mailbox.start()
            ports.wait_until(lambda: gateway.rcpt(CLEAN, "other@example.com")[0] == 550,
                             "asked again", 60, 1)


def test_a_next_hop_that_complains_of_us_loses_no_mail():
    port = ports.free_port()
    with SmtpPeer("127.0.0.1", port, replies={"RCPT": "554 5.7.1 Go away"}), \
            Asking(f'relay_domains = {{ "example.com" }}\nlocal_relay = "[127.0.0.1]:{port}"\n'
                   "probe { recipients = yes }\naccept_unresolvable_domains = yes\n",
                   role="gateway", domains=()) as gateway:
        assert gateway.rcpt(CLEAN, "x@example.com")[0] == 250
