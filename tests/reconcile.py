"""Where is each message now? The promise: what was acknowledged is in exactly
one place that it may be in, or still on its way; nothing stands in a mailbox
twice."""
import collections

import load


def reconcile(sent, mailboxes, elsewhere, may_repeat=False):
    """`sent` is a load.Load; `mailboxes` maps an address to its messages
    (octets), `elsewhere` an address's domain to what its server took (octets).
    `may_repeat` allows a server elsewhere to have got a message twice: whoever
    dies between its 250 and the note of it has to send again (RFC 1047).

    Fails with what is lost, doubled, or came from nowhere; returns counts."""
    found = {address: collections.Counter(load.ids_of(messages))
             for address, messages in mailboxes.items()}
    passed_on = {domain: collections.Counter(load.ids_of(messages))
                 for domain, messages in elsewhere.items()}
    lost, doubled, strange = [], [], []
    for message_id, recipients in sent.acknowledged.items():
        for address in recipients:
            place = found.get(address)
            if place is None:
                place = passed_on[address.rpartition("@")[2]]
            if not place[message_id]:
                lost.append(f"{message_id} for {address}")
    for address, ids in found.items():
        doubled += [f"{i} for {address}: {n} times" for i, n in ids.items() if n > 1]
    for domain, ids in passed_on.items():
        if not may_repeat:
            doubled += [f"{i} to {domain}: {n} times" for i, n in ids.items() if n > 1]
    for place in [*found.values(), *passed_on.values()]:
        strange += [i for i in place if i not in sent.attempted]
    assert not (lost or doubled or strange), (
        f"of {len(sent.acknowledged)} acknowledged messages: {len(lost)} lost {lost[:10]}, "
        f"{len(doubled)} doubled {doubled[:10]}, {len(strange)} from nowhere {strange[:10]}")
    return {"attempted": len(sent.attempted), "acknowledged": len(sent.acknowledged),
            "kept": sum(sum(ids.values()) for ids in found.values()),
            "passed_on": sum(sum(ids.values()) for ids in passed_on.values())}
