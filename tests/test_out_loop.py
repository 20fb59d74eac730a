"""Two hosts of ours, each the smart host of the other: what is for neither goes round
until it has passed too many hosts (RFC 5321 section 6.3), and nothing goes round for ever."""
import contextlib
import email
import email.policy
import re

import pytest

import ports
from hayauma import Hayauma

HANAKO, HOPS = "hanako@example.jp", 10
MESSAGE = "Subject: round\r\n\r\nand round\r\n"


@contextlib.contextmanager
def site():
    at = {"a": ports.free_port(), "b": ports.free_port()}

    def host(name, other, **more):
        return Hayauma(hostname=f"{name}.example.jp", listen={"smtp": at[name]},
                       options=f'smart_host = "[127.0.0.1]:{at[other]}"\n'
                               "queue { retry_min = 1s retry_max = 1s }", **more,
                       limits=f"connections_per_client = 0 received_hops = {HOPS}")
    with host("a", "b", users=[HANAKO]) as a, host("b", "a", domains=["b.example.jp"]) as b:
        yield a, b


def wait_until_quiet(a, b):
    ports.wait_until(lambda: not a.queue() and not b.queue(), "nothing is left", 30)


@pytest.mark.parametrize("first", [0, 1])
def test_a_loop_between_two_hosts_ends_in_one_notification(first):
    """Whichever of them notices."""
    with site() as hosts:
        hosts[first].send(HANAKO, ["u@elsewhere.example"], MESSAGE)
        told = hosts[0].wait_for_messages(HANAKO, 1)
        wait_until_quiet(*hosts)
        assert len(told) == len(hosts[0].messages(HANAKO)) == 1
        report = email.message_from_bytes(told[0], policy=email.policy.default)
        _, status, original = report.iter_parts()
        one = status.get_payload()[1]
        assert str(one["Final-Recipient"]) == "rfc822; u@elsewhere.example"
        assert (one["Action"], one["Status"]) == ("failed", "5.4.6")
        assert original.as_string().count("\nReceived:") == HOPS + 1
        assert not hosts[0].messages("postmaster@example.jp")


@pytest.mark.parametrize("first", [0, 1])
def test_a_notification_that_loops_ends(first):
    """The sender's address loops too, and with it the notification. About that there is
    none: what came from elsewhere with a null return path ends where it is refused."""
    with site() as hosts:
        hosts[first].send("lost@elsewhere.example", ["u@elsewhere.example"], MESSAGE)
        hosts[first].wait_for_why("u@elsewhere.example", "returned to the sender by message")
        ports.wait_until(lambda: any(re.search(r'refused .* mail_from="" .*enhanced=5\.4\.6',
                                               host.log()) for host in hosts), "it ends")
        wait_until_quiet(*hosts)
        logs = hosts[0].log() + hosts[1].log()
        assert len(set(re.findall(r"header_message_id=(<\S+\.dsn@\S+>)", logs))) == 1, logs
        assert len(re.findall(r"message_refused .*enhanced=5\.4\.6", logs)) == 2, logs
        for host in hosts:
            assert not host.messages(HANAKO) and not host.messages("postmaster@example.jp")
