"""Where recipients go and what senders are shown as, beside sendmail with the same
tables: 100 recipients through aliases and the virtusertable by `sendmail -bv`, and 45
senders through genericstable and masquerading by `sendmail -bt`. Where we go another
way, the reason stands in the table of differences, and nothing else may differ."""
import re
import shlex
import subprocess

import pytest

from hayauma import Hayauma
from sendmail import Sendmail

USERS = "taro", "hanako", "jiro", "ann", "a.b", "x-y", "upper", "news", "sysop"
FOLDER = "/var/lib/tables"

ALIASES = f"""\
postmaster: sysop
MAILER-DAEMON: postmaster
root: taro
team: taro, hanako
all: team, jiro, far@other.example
deep: deep1
deep1: deep2
deep2: deep3
deep3: hanako
self: self
taro: taro, archive@other.example
jiro: \\jiro
loop1: loop2
loop2: loop3
loop3: loop1
half: hanako, nobody-here
lost: nobody-here
staff: :include:{FOLDER}/staff
owner-staff: sysop
mixed: "Hanako Y" <hanako>, ann (Ann)
quoted: "a b"@other.example
far: Someone.Else@Other.Example
percent: joe%inner@other.example
plus+x: ann
plus+*: jiro
plus: hanako
only+*: ann
list: hanako,
    ann,
    jiro
UPPER2: hanako
a.c: a.b
"""
STAFF = "taro\nhanako, ann\n# nobody else\n"
VIRTUSERS = """\
info@virtual.example hanako
sales@virtual.example team
joe@virtual.example joe@other.example
ann+*@virtual.example ann-%2@other.example
bob++@virtual.example bob%3@other.example
bob@virtual.example bob@other.example
gone@virtual.example error:nouser No such user
later@virtual.example error:tempfail Later
local@virtual.example taro
chain@virtual.example info@virtual.example
deep@virtual.example deep
CASE@virtual.example jiro
@catch.example %1@other.example
@plus.example %1%3@other.example
@one.example hanako
keep@one.example jiro
@map.example %1@virtual.example
"""
GENERICS = """\
taro Taro.Yamada@example.gr.jp
hanako@example.jp Hanako.S@example.gr.jp
ann ann-outside
joe@pc.example.jp Joe@other.example
list+x List.X@example.gr.jp
root Admin@example.gr.jp
"""
DOMAINS = "example.jp", "virtual.example", "catch.example", "plus.example", "one.example", \
    "map.example"
MC = f"""\
define(`ALIAS_FILE', `{FOLDER}/aliases')
FEATURE(`virtusertable', `hash {FOLDER}/virtusertable')
FEATURE(`genericstable', `hash {FOLDER}/genericstable')
undefine(`SMART_HOST')
GENERICS_DOMAIN(`example.jp pc.example.jp')
MASQUERADE_AS(`example.gr.jp')
MASQUERADE_DOMAIN(`pc.example.jp')
FEATURE(`masquerade_envelope')
EXPOSED_USER(`root')
LOCAL_DOMAIN(`{" ".join(DOMAINS)}')
MAILER(`local')
"""
OURS = """\
tables {{ aliases = "{0}/aliases" virtusertable = "{0}/virtusertable"
         genericstable = "{0}/genericstable" }}
masquerade {{ as = "example.gr.jp" domains = {{ "pc.example.jp" }} exposed_users = {{ "root" }} }}
relay_networks = {{ "127.0.0.0/8" }}
accept_unresolvable_domains = yes
"""

LOCAL_NAMES = [
    "taro", "hanako", "jiro", "ann", "a.b", "x-y", "upper", "news", "nobody-here", "team", "all",
    "deep", "deep2", "self", "loop1", "loop2", "half", "lost", "staff", "mixed", "quoted", "far",
    "percent", "plus", "plus+x", "plus+y", "only", "only+y", "list", "upper2", "a.c", "root",
    "postmaster", "mailer-daemon", "owner-staff", "TARO", "Team", "UPPER2", "hanako+box",
    "team+x", "nosuch+x", "far+x", "staff+x", '"taro"', '"a.b"', '"a b"', "taro+",
]
RECIPIENTS = [f"{name}@example.jp" for name in LOCAL_NAMES] + [
    "taro", "team", "lost", "deep", "plus+x", "taro@EXAMPLE.jp", "Team@Example.JP",
    "info@virtual.example", "sales@virtual.example", "joe@virtual.example",
    "ann@virtual.example", "ann+box@virtual.example", "ann+a+b@virtual.example",
    "bob@virtual.example", "bob+box@virtual.example", "bob+@virtual.example",
    "gone@virtual.example", "later@virtual.example", "local@virtual.example",
    "chain@virtual.example", "deep@virtual.example", "case@virtual.example",
    "CASE@VIRTUAL.example", "nosuch@virtual.example", "taro@virtual.example",
    "hanako@virtual.example", "info+x@virtual.example", "team@virtual.example",
    "any@catch.example", "any+x@catch.example", "Any.One@catch.example", "any@plus.example",
    "any+x@plus.example", "any+x+y@plus.example", "any@one.example", "keep@one.example",
    "keep+x@one.example", "KEEP@one.example", "postmaster@one.example", "info@map.example",
    "joe@map.example", "nosuch@map.example", "sales@map.example", "x@other.example",
    "x@sub.virtual.example", "x+y@other.example", "x@OTHER.example", "postmaster@other.example",
    '"a b"@other.example', "team@other.example", "info@other.example", "team@sub.example.jp",
    "x%y@other.example",
]

# Where we go another way, and why.
DIFFERENT_RECIPIENTS = {
    "a mailbox is an address here: who has one in example.jp has none in other domains of "
    "ours, where sendmail has one set of Unix users for all": {
        "ann@virtual.example", "hanako@virtual.example"},
}

SENDERS = [f"{name}@{domain}" for domain in ("example.jp", "pc.example.jp", "virtual.example",
                                             "other.example", "a.pc.example.jp")
           for name in ("taro", "hanako", "ann", "joe", "root", "jiro", "list+x", "taro+box")] + [
    "TARO@example.jp", "Jiro@EXAMPLE.JP", "hanako+x@example.jp", "x@example.gr.jp",
    "root@PC.example.jp"]

DIFFERENT_SENDERS = {
    "the genericstable speaks of all domains of ours, as of those of GENERICS_DOMAIN": {
        "taro@virtual.example", "ann@virtual.example", "root@virtual.example",
        "list+x@virtual.example", "taro+box@virtual.example"},
}


@pytest.fixture(scope="module", name="sendmail")
def sendmail_with_tables():
    class Reference(Sendmail):
        users = (*Sendmail.users, *USERS)
        writable = {**Sendmail.writable, FOLDER: ("root", "root", "0755")}

    peer = Reference(hostname="mx1.example.jp", options=MC)
    try:
        for name, text in (("aliases", ALIASES), ("staff", STAFF), ("virtusertable", VIRTUSERS),
                           ("genericstable", GENERICS)):
            (peer.real(FOLDER) / name).write_text(text)
        inside(peer, f"cd {FOLDER}; for one in virtusertable genericstable; do "
               "$makemap hash $one < $one; done; $sendmail -bi")
        yield peer
    finally:
        peer.remove()


def inside(peer, script, text=""):
    """What a shell script says where sendmail is installed."""
    tools = "sendmail='/usr/libexec/sendmail/sendmail -C/etc/mail/sendmail.cf'\n" \
            "makemap=$(ls /usr/libexec/sendmail/makemap /usr/sbin/makemap 2>/dev/null | head -1)\n"
    done = subprocess.run(peer.enter("sh", "-c", tools + script), input=text, capture_output=True,
                          text=True, check=False, timeout=180)
    return done.stdout + done.stderr


def sendmails_ways(peer):
    """Where each recipient goes by sendmail: a set of places."""
    words = " ".join(map(shlex.quote, RECIPIENTS))
    told = inside(peer, f'for one in {words}; do echo "== $one"; $sendmail -bv -- "$one" 2>&1; '
                  "done")
    ways, address = {}, None
    for line in told.splitlines():
        if line.startswith("== "):
            address = line[3:]
            ways[address] = set()
        elif found := re.search(r"deliverable: mailer (\S+), (?:host (\S+), )?user (.*)$", line):
            mailer, _, user = found.groups()
            if mailer == "*error*":
                continue  # "Later" or "User unknown" stands in a line of its own
            user = user.replace('"', "").lstrip("\\") if mailer == "local" else user
            ways[address].add(f"{'here' if mailer == 'local' else 'away'} {user.lower()}")
        elif "undeliverable" in line or re.search(r"User unknown|No such user|alias loop|"
                                                  r"Later|aliasing/forwarding loop", line):
            ways[address].add("nowhere")
    return ways, told


def our_ways(server):
    ways = {}
    for address in RECIPIENTS:
        row = server.rows("try", "--client", "127.0.0.1", "--mail-from", "a@example.net", "--rcpt",
                          address)[0]
        ways[address] = set()
        for step in row["steps"]:
            if step["kind"] == "refused" or (step["kind"] == "accepted" and
                                             step.get("next", "").startswith("error:")):
                ways[address].add("nowhere")
            elif step["kind"] == "accepted" and "@" in step.get("next", ""):
                ways[address].add("here " + step["next"].partition("@")[0])
            elif step["kind"] == "accepted":
                ways[address].add("away " + step["rcpt_to"].lower())
    return ways


def sendmails_senders(peer):
    """What header addresses of senders become."""
    script = "/tryflags HS\n" + "".join(f"/try esmtp {one}\n" for one in SENDERS)
    told = inside(peer, "$sendmail -bt", script)
    return re.findall(r"Rcode = \d+, addr = (.*)", told), told


@pytest.fixture(scope="module", name="server")
def server_with_tables():
    server = Hayauma(users=[f"{user}@example.jp" for user in USERS], domains=DOMAINS)
    for name, text in (("aliases", ALIASES), ("staff", STAFF), ("virtusertable", VIRTUSERS),
                       ("genericstable", GENERICS)):
        (server.folder / name).write_text(text.replace(FOLDER, str(server.folder)))
    server.options = OURS.format(server.folder)
    server.write_config()
    with server:
        yield server


def test_recipients_go_where_sendmail_sends_them(sendmail, server):
    assert len(RECIPIENTS) == 100 == len(set(RECIPIENTS))
    theirs, told = sendmails_ways(sendmail)
    assert len(theirs) == 100, told
    ours = our_ways(server)
    known = {address for each in DIFFERENT_RECIPIENTS.values() for address in each}
    different = {a: (theirs[a], ours[a]) for a in RECIPIENTS if theirs[a] != ours[a]}
    print("\n".join(f"{a}: sendmail {t}, we {o}" for a, (t, o) in different.items()))
    assert different.keys() == known, (different.keys() ^ known)


def test_senders_are_shown_as_sendmail_shows_them(sendmail, server):
    theirs, told = sendmails_senders(sendmail)
    assert len(theirs) == len(SENDERS), told
    header = "Reply-To: " + ",\r\n ".join(SENDERS)
    server.send("x@example.jp", ["jiro@example.jp"], f"From: x@example.jp\r\n{header}\r\n"
                "Message-ID: <senders@t>\r\n\r\ntext\r\n")
    server.wait_for_messages("jiro@example.jp", 1)
    text = server.message("jiro@example.jp").decode()
    ours = re.search(r"^Reply-To: (.*?)\r\n(?! )", text, flags=re.S | re.M)[1]
    ours = [one.strip() for one in ours.split(",")]
    different = {a: (t, o) for a, t, o in zip(SENDERS, theirs, ours, strict=True) if t != o}
    print("\n".join(f"{a}: sendmail {t}, we {o}" for a, (t, o) in different.items()))
    known = {address for each in DIFFERENT_SENDERS.values() for address in each}
    assert different.keys() == known, different.keys() ^ known
