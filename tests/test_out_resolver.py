"""Every case of MX behind a real unbound that asks a real nsd, unsigned and signed: what
is final, what is for later, and what is found, in one server each."""
import contextlib

import pytest

import ports
import test_out_mx
from hayauma import Hayauma
from nsd import Nsd
from smtp_peer import SmtpPeer
from test_out_mx import SENDER, send
from unbound import Unbound

FORGED = """
forged.example. NS ns.
forged.example. DS 12345 13 2 1F987CC6583E92DF0890718C42A9C1C2C4A2E0A2F9AF6FB32A7E9C5C3A1D4B2E
"""
FOUND = ["two.example", "equal.example", "implicit.example", "alias.example", "behind.example",
         "six.example"]
FINAL = {"null.example": "5.1.10", "nothing.example": "5.1.2", "no-such.example": "5.1.2",
         "dangling.example": "5.1.2", "self.example": "5.4.6", "address.example": "5.4.6"}
LATER = ["u.broken.example", "later.example", "dead.example"]


@contextlib.contextmanager
def site(is_signed, validates):
    zones = {"broken.example": None}
    records = test_out_mx.RECORDS
    if is_signed:
        zones["forged.example"] = "forged.example. MX 10 a.hosts.example.\n"
        records += FORGED
    with Nsd(records, zones, signed=is_signed) as dns, Unbound(dns, validates) as names:
        port = ports.free_port()
        with Hayauma(users=[SENDER], listen={"smtp": port}, options="\n".join(
                [names.options() % port, test_out_mx.RETRIES])) as server, \
                SmtpPeer("127.0.0.11", port) as a, SmtpPeer("127.0.0.12", port) as b:
            yield server, a, b


@pytest.mark.parametrize("is_signed, validates", [(False, True), (True, True), (True, False)],
                         ids=["unsigned", "signed", "signed-passed-on"])
def test_every_case(is_signed, validates):
    with site(is_signed, validates) as (server, a, b):
        for number, domain in enumerate([*FOUND, *FINAL, *LATER]):
            send(server, f"u{number}@{domain}")
        later = list(LATER)
        if is_signed:
            send(server, "u@forged.example")
            later.append("forged.example")
        ports.wait_until(lambda: len(a.messages) + len(b.messages) == len(FOUND),
                         "what is found is delivered:\n" + server.log(), 30)
        reports = b"\n".join(server.wait_for_messages(SENDER, len(FINAL), timeout=40)).decode()
        for domain, status in FINAL.items():
            part = reports.split(f"@{domain}\nAction: failed\n")[1]
            assert part.startswith(f"Status: {status}\n"), (domain, part[:200])

        def waiting():
            return {r["rcpt_to"].split("@")[1]: r for row in server.queue()
                    for r in row["recipients"] if r["attempts"]}
        ports.wait_until(lambda: len(waiting()) == len(later), "the others wait", 60)
        assert set(waiting()) == set(later)
        assert all(r["code"] == 0 for r in waiting().values())
        assert len(server.messages(SENDER)) == len(FINAL)
