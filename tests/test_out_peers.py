"""Postfix and sendmail as the next and as the previous host: what a sender asked to be
told (RFC 3461) passes through both, and what each reports is read by Python's parser."""
import contextlib
import email
import email.policy
import smtplib

import pytest

import ports
from hayauma import Hayauma
from postfix import Postfix
from sendmail import Sendmail
from smtp_peer import SmtpPeer
from test_out_dsn import Report, submit

SENDER, TARO = "someone@elsewhere.example", "taro@example.jp"
PEERS = {"postfix": lambda port: Postfix(relay_to=port), "sendmail": lambda port: Sendmail(
    relay_to=port)}


def actions(octets):
    """{address: (action, original recipient, status)}, the envelope id, and what is
    returned of the message."""
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert message.get_content_type() == "multipart/report", octets
    parts = list(message.iter_parts())
    head, *groups = [group for group in parts[1].get_payload() if group.keys()]
    found = {str(group["Final-Recipient"]).split(";")[1].strip().lower():
             (str(group["Action"]).split()[0].lower(), str(group["Original-Recipient"]),
              str(group["Status"])[0]) for group in groups}
    return found, str(head["Original-Envelope-Id"]), parts[2].get_content_type()


def notifications(end):
    return [m.octets for m in end.messages if m.mail.upper().startswith("MAIL FROM:<>")]


@pytest.mark.parametrize("name", PEERS)
def test_as_the_next_host(name):
    """It offers DSN: who is to be told what is its business, and it knows all of it."""
    def rcpt(line):
        return "550 5.1.1 nobody here" if "nobody" in line else None
    with SmtpPeer("127.0.0.1", ports.free_port(), replies={"RCPT": rcpt}) as end, \
            PEERS[name](end.port) as peer, \
            Hayauma(users=[TARO], options=f'smart_host = "[127.0.0.1]:{peer.port}"') as server:
        submit(server, SENDER, ["u@far.example"], notify="SUCCESS,FAILURE",
               mail=["ENVID=one", "RET=HDRS"], orcpt="rfc822;first@far.example")
        submit(server, SENDER, ["nobody@far.example"], notify="SUCCESS,FAILURE",
               mail=["ENVID=two", "RET=FULL"], orcpt="rfc822;second@far.example")
        submit(server, SENDER, ["nobody@far.example"], notify="NEVER", mail=["ENVID=three"])
        submit(server, SENDER, ["quiet@far.example"], notify="FAILURE", mail=["ENVID=four"])
        ports.wait_until(lambda: len(notifications(end)) >= 2, "both:\n" + peer.log(), 30)
        ports.wait_until(lambda: len(end.messages) >= 4, "and the messages themselves")
        told = {envid: (found, returned)
                for found, envid, returned in map(actions, notifications(end))}
        assert set(told) == {"one", "two"}
        (one, returned_one), (two, returned_two) = told["one"], told["two"]
        assert one["u@far.example"][0] == "relayed" and one["u@far.example"][2] == "2"
        assert "first@far.example" in one["u@far.example"][1]
        assert two["nobody@far.example"][0] == "failed" and two["nobody@far.example"][2] == "5"
        assert "second@far.example" in two["nobody@far.example"][1]
        assert (returned_one, returned_two) == ("text/rfc822-headers", "message/rfc822")
        assert server.queue() == []  # nothing is left for us to tell


@pytest.mark.parametrize("name", PEERS)
def test_as_the_previous_host(name):
    """What it asks of us is done: its senders hear of deliveries, and it of refusals."""
    with contextlib.ExitStack() as stack:
        end = stack.enter_context(SmtpPeer("127.0.0.1", ports.free_port()))
        server = stack.enter_context(Hayauma(
            users=[TARO], options=f'smart_host = "[127.0.0.1]:{end.port}"\nrelay_networks = '
                                  '{ "127.0.0.0/8" }'))
        peer = stack.enter_context(PEERS[name](server.ports["smtp"]))
        peer.ports = {"smtp": peer.port}
        peer.smtp = lambda: _client(peer.port)
        submit(peer, SENDER, [TARO], notify="SUCCESS", mail=["ENVID=five"],
               orcpt="rfc822;t2@example.jp")
        submit(peer, SENDER, ["u@far.example"], notify="SUCCESS", mail=["ENVID=six"])
        submit(peer, SENDER, [TARO], notify="NEVER", mail=["ENVID=seven"])
        submit(peer, SENDER, [TARO], notify="FAILURE,DELAY", mail=["ENVID=eight"])
        server.wait_for_messages(TARO, 3)
        ports.wait_until(lambda: len(notifications(end)) >= 2, "both:\n" + server.log())
        ports.wait_until(lambda: not server.queue(), "nothing is left")
        reports = {str(r.head["Original-Envelope-Id"]): r
                   for r in map(Report, notifications(end))}
        assert {envid: r.actions() for envid, r in reports.items()} == {
            "five": {TARO: "delivered"}, "six": {"u@far.example": "relayed"}}
        assert reports["five"].recipients[0]["Original-Recipient"] == "rfc822; t2@example.jp"


def _client(port):
    return smtplib.SMTP("127.0.0.1", port, "client.example.net", 30)
