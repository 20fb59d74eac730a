"""Notifications to the sender (RFC 3461, 3464, 6533), judged by Python's own parser:
every NOTIFY with every outcome, RET, ENVID, ORCPT, double bounces, both languages."""
import contextlib
import email
import email.policy
import itertools
import re

import pytest

import ports
from hayauma import Hayauma, status_codes
from nsd import Nsd
from postfix import Postfix
from smtp_peer import SmtpPeer

SENDER, TARO = "hanako@example.jp", "taro@example.jp"
PLAIN = b"Subject: original\r\nMessage-ID: <o@example.jp>\r\n\r\nThe text of it.\r\n"
HOSTS = {"plain": "127.0.0.11", "dsn": "127.0.0.12", "busy": "127.0.0.13", "refusing": "127.0.0.14",
         "utf8": "127.0.0.15"}
RECORDS = "".join(f"{name}.example. A {host}\n" for name, host in HOSTS.items())
OFFERS = ("PIPELINING", "8BITMIME", "SIZE 0")


@contextlib.contextmanager
def site(options, **more):
    with Nsd(RECORDS) as dns, contextlib.ExitStack() as stack:
        port = ports.free_port()
        peers = {
            "plain": SmtpPeer(HOSTS["plain"], port),
            "dsn": SmtpPeer(HOSTS["dsn"], port, offers=(*OFFERS, "DSN")),
            "busy": SmtpPeer(HOSTS["busy"], port, replies={"RCPT": "450 4.2.1 come again"}),
            "refusing": SmtpPeer(HOSTS["refusing"], port,
                                 replies={"RCPT": "550-5.1.1 No such\r\n550 5.1.1 person here"}),
            "utf8": SmtpPeer(HOSTS["utf8"], port, offers=(*OFFERS, "SMTPUTF8", "DSN")),
        }
        for peer in peers.values():
            stack.enter_context(peer)
        server = stack.enter_context(Hayauma(
            users=[SENDER, TARO], options=f"{dns.options() % port}\n{options}", **more))
        server.peers = peers
        yield server


class Report:
    """A notification, taken apart; fails where it is not what RFC 3464 wants."""

    def __init__(self, octets):
        m = self.message = email.message_from_bytes(octets, policy=email.policy.default)
        assert not [defect for part in m.walk() for defect in part.defects]
        assert m.get_content_type() == "multipart/report"
        self.is_global = m.get_param("report-type") == "global-delivery-status"
        assert self.is_global or m.get_param("report-type") == "delivery-status"
        assert m["Auto-Submitted"] == "auto-replied" and m["Date"] and m["Message-ID"]
        assert m["Return-Path"] in ("<>", None)
        parts = list(m.iter_parts())
        assert len(parts) == 3
        assert parts[0].get_content_type() == "text/plain"
        self.words, self.returned = parts[0].get_content(), parts[2]
        wanted = "message/global-delivery-status" if self.is_global else "message/delivery-status"
        assert parts[1].get_content_type() == wanted
        if self.is_global:
            text = parts[1].as_bytes().split(b"\n\n", 1)[1].decode()
            groups = [email.message_from_string(group, policy=email.policy.default)
                      for group in re.split(r"\n\n", text.strip())]
        else:
            groups = [group for group in parts[1].get_payload() if group.keys()]
        self.head, self.recipients = groups[0], groups[1:]
        assert self.head["Reporting-MTA"] == "dns; mx1.example.jp" and self.recipients
        for one in self.recipients:
            assert re.fullmatch(r"(rfc822|utf-8); \S+@\S+", str(one["Final-Recipient"]))
            assert status_codes.is_registered(str(one["Status"]))
            first = {"failed": "5", "delayed": "4"}.get(str(one["Action"]), "2")
            assert str(one["Status"])[0] == first

    def actions(self):
        return {str(one["Final-Recipient"]).split("; ")[1]: str(one["Action"])
                for one in self.recipients}


def submit(server, mail_from, recipients, text=PLAIN, mail=(), notify=None, orcpt=None):
    with server.smtp() as client:
        client.ehlo()
        assert client.docmd(f"MAIL FROM:<{mail_from}>", " ".join(mail))[0] == 250
        for rcpt_to in recipients:
            words = [f"NOTIFY={notify}"] if notify else []
            words += [f"ORCPT={orcpt}"] if orcpt else []
            code, said = client.docmd(f"RCPT TO:<{rcpt_to}>", " ".join(words))
            assert code == 250, said
        code, said = client.data(text)
        assert code == 250, said


def reports(server, address=SENDER):
    return [Report(octets) for octets in server.messages(address)]


NOTIFIES = [None, "NEVER", *(",".join(words) for count in (1, 2, 3)
                             for words in itertools.combinations(("SUCCESS", "FAILURE", "DELAY"),
                                                                 count))]
OUTCOMES = {TARO: "delivered", "u@plain.example": "relayed", "u@dsn.example": None,
            "u@busy.example": "delayed", "u@refusing.example": "failed"}
RETS = [None, "FULL", "HDRS"]


def wanted(notify, outcome):
    """What the sender hears."""
    words = notify.split(",") if notify else ["FAILURE", "DELAY"]
    key = {"failed": "FAILURE", "delayed": "DELAY", "delivered": "SUCCESS", "relayed": "SUCCESS"}
    return outcome if outcome and key[outcome] in words else None


def test_every_combination():
    """NOTIFY × RET × outcome: 9 × 3 × 5 messages, and exactly the notifications that
    each asks for."""
    cases = {f"case{number}": case for number, case in enumerate(
        itertools.product(NOTIFIES, RETS, OUTCOMES.items()))}
    expected = {name: wanted(notify, outcome) for name, (notify, _, (_, outcome)) in cases.items()}
    with site("queue { retry_min = 1s retry_max = 2s warn_after = 4s }") as server:
        for name, (notify, ret, (rcpt_to, _)) in cases.items():
            submit(server, SENDER, [rcpt_to], notify=notify, orcpt=f"rfc822;o+2B{name}@example.com",
                   mail=[f"ENVID={name}", *([f"RET={ret}"] if ret else [])])
        count = sum(1 for action in expected.values() if action)
        server.wait_for_messages(SENDER, count, timeout=60)
        ports.wait_until(lambda: all(row["recipients"][0]["next_hop"] == "smtp:busy.example"
                                     for row in server.queue()), "all else has gone")
        found = {str(report.head["Original-Envelope-Id"]): report for report in reports(server)}
        assert len(reports(server)) == count
        assert set(found) == {name for name, action in expected.items() if action}
        for name, report in found.items():
            notify, ret, (rcpt_to, _) = cases[name]
            assert report.actions() == {rcpt_to: expected[name]}, (name, cases[name])
            one = report.recipients[0]
            assert one["Original-Recipient"] == f"rfc822; o+{name}@example.com"
            assert "The text of it." not in report.words and rcpt_to in report.words
            is_whole = ret == "FULL" and expected[name] == "failed"
            assert report.returned.get_content_type() == (
                "message/rfc822" if is_whole else "text/rfc822-headers")
            assert (b"The text of it." in report.returned.as_bytes()) == is_whole
            assert b"Subject: original" in report.returned.as_bytes()
            if expected[name] == "failed":
                assert one["Status"] == "5.1.1" and "person here" in report.words
            if expected[name] == "delayed":
                assert one["Will-Retry-Until"]
        # What the host can tell by itself, it was asked to.
        passed = {taken.mail.split("ENVID=")[1].split()[0]: taken
                  for taken in server.peers["dsn"].messages}
        for name, (notify, ret, (_, outcome)) in cases.items():
            if outcome is None:
                taken = passed[name]
                assert ("NOTIFY=" + notify in taken.rcpts[0]) if notify else \
                    "NOTIFY" not in taken.rcpts[0]
                assert f"ORCPT=rfc822;o+2B{name}@example.com" in taken.rcpts[0]
                assert ("RET=" + ret in taken.mail) if ret else "RET" not in taken.mail
        for peer in ("plain", "busy", "refusing"):
            assert not [c for c in server.peers[peer].commands if "NOTIFY" in c or "ENVID" in c]


def test_expanded(tmp_path):
    """An address that leads to several: NOTIFY × RET. It is told of as one; failures of
    each of them are told by themselves; one that leads to one other hides nothing."""
    aliases = tmp_path / "aliases"
    aliases.write_text("team: taro, u@plain.example, u@refusing.example\none: u@plain.example\n")
    cases = {f"case{number}": case for number, case in
             enumerate(itertools.product(NOTIFIES, RETS))}
    with site(f'tables {{ aliases = "{aliases}" }}') as server:
        for name, (notify, ret) in cases.items():
            submit(server, SENDER, ["team@example.jp"], notify=notify,
                   mail=[f"ENVID={name}", *([f"RET={ret}"] if ret else [])])
        submit(server, SENDER, ["one@example.jp"], notify="SUCCESS", mail=["ENVID=one"])
        wanted_of = {name: {action for action, word in (("expanded", "SUCCESS"),
                                                        ("failed", "FAILURE"))
                            if word in (notify or "FAILURE").split(",")}
                     for name, (notify, _) in cases.items()}
        server.wait_for_messages(SENDER, 1 + sum(map(len, wanted_of.values())), timeout=60)
        ports.wait_until(lambda: not server.queue(), "nothing is left")
        found = {name: {} for name in (*cases, "one")}
        for report in reports(server):
            (address, action), = report.actions().items()
            found[str(report.head["Original-Envelope-Id"])][action] = (address, report)
        assert set(found.pop("one")) == {"relayed"}
        assert {name: set(actions) for name, actions in found.items()} == wanted_of
        for name, actions in found.items():
            if "expanded" in actions:
                address, report = actions["expanded"]
                assert address == "team@example.jp"
                assert report.recipients[0]["Status"].startswith("2.")
                assert report.returned.get_content_type() == "text/rfc822-headers"
            if "failed" in actions:
                address, report = actions["failed"]
                assert address == "u@refusing.example"
                assert "team@example.jp" in report.recipients[0]["Original-Recipient"]
        assert len(server.messages(TARO)) == len(cases)


def test_what_is_too_old_fails():
    with site("queue { retry_min = 1s retry_max = 1s lifetime = 6s warn_after = 0 }") as server:
        submit(server, SENDER, ["u@busy.example", "v@busy.example"])
        server.wait_for_messages(SENDER, 1, timeout=40)
        report = reports(server)[0]
        assert set(report.actions().values()) == {"failed"}
        ports.wait_until(lambda: not server.queue(), "nothing is left")
        told = [address for report in reports(server) for address in report.actions()]
        assert sorted(told) == ["u@busy.example", "v@busy.example"]
        assert report.recipients[0]["Status"] == "5.4.7"
        assert "come again" in report.recipients[0]["Diagnostic-Code"]


def test_double_bounces_go_to_the_postmaster():
    """About a notification that cannot be delivered postmaster hears, once; about one that
    came from elsewhere nobody does."""
    with site("queue { retry_min = 1s retry_max = 2s }") as server:
        submit(server, "lost@refusing.example", ["nobody@refusing.example"])
        submit(server, "", ["nobody@refusing.example"])
        submit(server, "MAILER-DAEMON@plain.example", ["nobody@refusing.example"])
        server.wait_for_messages("postmaster@example.jp", 1)
        ports.wait_until(lambda: not server.queue(), "nothing is left")
        told = reports(server, "postmaster@example.jp")
        assert [report.actions() for report in told] == [{"lost@refusing.example": "failed"}]
        assert not server.peers["plain"].messages


def test_japanese():
    with site("queue { notices_in_japanese = yes }") as server:
        submit(server, SENDER, ["u@refusing.example"])
        server.wait_for_messages(SENDER, 1)
        report = reports(server)[0]
        assert "配送できませんでした" in report.words and "person here" in report.words
        assert "配送" in report.message["Subject"]
        assert report.actions() == {"u@refusing.example": "failed"}


def test_eight_bits():
    """A notification's own envelope says what it needs: 8BITMIME with a returned text of 8
    bits."""
    text = b"Subject: o\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" \
           b"Content-Transfer-Encoding: 8bit\r\n\r\n" + "本文\r\n".encode()
    with site("") as server:
        submit(server, "a@utf8.example", ["u@refusing.example"], text,
               mail=["BODY=8BITMIME", "RET=FULL"])
        peer = server.peers["utf8"]
        ports.wait_until(lambda: peer.messages, "the notification:\n" + server.log())
        assert "BODY=8BITMIME" in peer.messages[0].mail and "SMTPUTF8" not in peer.messages[0].mail
        report = Report(peer.messages[0].octets)
        assert "本文".encode() in peer.messages[0].octets and not report.is_global


def test_a_message_to_many_is_told_completely():
    """More recipients fail than one notification names: each is told, once."""
    recipients = [f"u{number}@refusing.example" for number in range(250)]
    with site("queue { recipients_per_transaction = 1000 }") as server:
        submit(server, SENDER, recipients)
        server.wait_for_messages(SENDER, 3)
        ports.wait_until(lambda: not server.queue(), "nothing is left")
        told = [address for report in reports(server) for address in report.actions()]
        assert sorted(told) == sorted(recipients)


def test_postfix_understands_ours_and_we_pass_on_its():
    """Postfix sends through us with NOTIFY=SUCCESS,FAILURE; what comes back to it are our
    notifications, delivered by it."""
    with site("") as server, \
            Postfix(relay_to=server.ports["smtp"], domains=["postfix.example.net"]) as postfix:
        server.write_config(f'smart_host = "[127.0.0.1]:{postfix.port}"')
        server.reload()
        submit(server, "someone@postfix.example.net", [TARO], notify="SUCCESS",
               mail=["ENVID=through"])
        ports.wait_until(postfix.messages, "Postfix delivered it:\n" + postfix.log())
        report = Report(postfix.messages()[0].as_bytes())
        assert report.actions() == {TARO: "delivered"}
        assert report.head["Original-Envelope-Id"] == "through"
