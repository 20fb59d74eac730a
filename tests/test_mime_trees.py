"""The tree of parts that IMAP shows (BODYSTRUCTURE, BODY[n]) beside that of
Python's email package, which read the same octets without knowing of us.

Messages are made from a fixed seed: whole ones, whose tree is known because we
made it, and the same ones damaged. With HAYAUMA_OUTSIDE_DATA (README.md) there
are those of mime4j, with the trees its authors expect. Where Python or mime4j
may read otherwise, REASONS says why; a difference without a reason fails, and
so does a reason that no message needs."""
import collections
import email
import imaplib
import os
import pathlib
import random
import re
import xml.etree.ElementTree

import pytest

from hayauma import PASSWORD, Hayauma

HANAKO = "hanako@example.jp"
SEED, WHOLE, DAMAGED = 2045, 60, 180

REASONS = {
    "last line end": "no delimiter ends the part: its last line end is text (RFC 2046 5.1.1), "
                     "which Python takes off",
    "line without a colon": "Python begins the body at a header line that is no field, we behind "
                            "the empty line, as every reader of the octets that goes by RFC 5322",
    "no delimiter": "a multipart none of whose delimiters came: to Python text, to us a multipart, "
                    "shown with one empty part because RFC 9051 section 9 wants one",
    "no boundary": "a multipart without the parameter has no parts; shown as "
                   "application/octet-stream, for IMAP has no multipart without parts",
    "half a type": "a Content-Type that is no type/subtype counts as none (RFC 2045 5.2), in a "
                   "digest too; Python takes what is there, or text/plain",
    "encoded": "a multipart or message that is itself encoded (forbidden by RFC 2046) is not "
               "looked into; Python looks into the encoded text",
    "other message type": "Python looks into every message/*, we into rfc822 and global",
    "delimiters in a row": "two delimiter lines without text between: an empty part (RFC 2046 "
                           "5.1.1: a body part may be empty), none to Python",
    "same boundary within": "an inner multipart with the outer one's boundary has the delimiters "
                            "until its close-delimiter; Python gives them to the outer one",
    "folded boundary": "a fold within the quoted boundary is taken out (RFC 5322 2.2.3); Python "
                       "leaves the line end in, and then finds no delimiter",
    "blank ends a boundary": "it must not (RFC 2046 5.1.1), but where it does the delimiter has "
                             "it, too; Python takes it off",
    "long boundary": "of the 70 octets RFC 2046 allows, 256 are looked for; what has a longer one "
                     "is shown as application/octet-stream, never searched for",
    "bare line end": "only CRLF ends a line; to Python CR and LF alone do, too",
}


# ---- what IMAP shows


def tokens(text):
    """The items of a parenthesized IMAP list, literals and all."""
    stack, at = [[]], 0
    while at < len(text):
        c = text[at:at + 1]
        if c in b" \r\n":
            at += 1
        elif c == b"(":
            stack.append([])
            at += 1
        elif c == b")":
            done = stack.pop()
            stack[-1].append(done)
            at += 1
        elif c == b'"':
            found = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.S).match(text, at)
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", found[1]))
            at = found.end()
        elif c == b"{":
            found = re.compile(rb"\{(\d+)\}\r\n").match(text, at)
            at = found.end() + int(found[1])
            stack[-1].append(text[found.end():at])
        else:
            found = re.compile(rb"[^ ()\r\n{\"]+").match(text, at)
            word = found[0]
            stack[-1].append(None if word == b"NIL" else int(word) if word.isdigit() else word)
            at = found.end()
    assert len(stack) == 1, text
    return stack[0]


def answers(rows):
    """What imaplib took apart at the literals, joined again: one list a message."""
    text = b"".join(row[0] + b"\r\n" + row[1] if isinstance(row, tuple) else row + b"\n"
                    for row in rows if row)
    items = tokens(text)
    return {items[i]: items[i + 1] for i in range(0, len(items), 2)}


Part = collections.namedtuple("Part", "kind children text defects", defaults=([], b"", ()))


def sections(shown, number="", is_root=True):
    """(section, BODYSTRUCTURE) of every leaf."""
    if isinstance(shown[0], list):
        for i, child in enumerate(children_of(shown), 1):
            yield from sections(child, f"{number}.{i}".lstrip("."), False)
        return
    number = number or "1"
    if is_message(shown):
        inner = shown[8]
        below = number if isinstance(inner[0], list) else f"{number}.1"
        yield from sections(inner, below, False)
    else:
        yield number, shown


def children_of(shown):
    return [item for item in shown[:next(i for i, x in enumerate(shown)
                                         if not isinstance(x, list))]]


def is_message(shown):
    return shown[0].lower() == b"message" and shown[1].lower() in (b"rfc822", b"global")


def shown_tree(shown, texts):
    """A Part of the BODYSTRUCTURE; `texts` are those of the leaves, in order."""
    if isinstance(shown[0], list):
        children = children_of(shown)
        kind = "multipart/" + shown[len(children)].decode("latin-1").lower()
        return Part(kind, [shown_tree(child, texts) for child in children])
    kind = (shown[0] + b"/" + shown[1]).decode("latin-1").lower()
    if is_message(shown):
        return Part(kind, [shown_tree(shown[8], texts)])
    return Part(kind, [], next(texts))


class Reader:
    """A mailbox of the server, filled by APPEND and read as clients do."""

    def __init__(self, server):
        self.imap = imaplib.IMAP4("127.0.0.1", server.ports["imap"], timeout=180)
        self.imap.login(HANAKO, PASSWORD)

    def trees(self, name, messages):
        self.ok(self.imap.create(name))
        for at in range(0, len(messages), 20):
            self.append(name, messages[at:at + 20])
        self.ok(self.imap.select(name))
        rows = answers(self.ok(self.imap.fetch("1:*", "(BODYSTRUCTURE)")))
        assert len(rows) == len(messages)
        return [self.tree(number, rows[number][1], message)
                for number, message in enumerate(messages, 1)]

    def append(self, name, messages):
        """All at once (RFC 3502), each octet as it is: imaplib's own changes line ends."""
        tag = self.imap._new_tag()
        self.imap.send(tag + b" APPEND " + name.encode() + b"".join(
            b" {%d+}\r\n%s" % (len(message), message) for message in messages) + b"\r\n")
        self.ok(self.imap._command_complete("APPEND", tag))

    def tree(self, number, shown, message):
        leaves = list(sections(shown))
        wanted = " ".join(f"BODY.PEEK[{section}]" for section, _ in leaves)
        found = answers(self.ok(self.imap.fetch(str(number), f"({wanted})")))[number]
        texts = found[1::2]
        assert len(texts) == len(leaves)
        texts = [text or b"" for text in texts]
        at = 0
        for (section, leaf), text in zip(leaves, texts):
            assert leaf[6] == len(text), (section, leaf, text, message)
            if leaf[0].lower() == b"text":
                assert leaf[7] == text.count(b"\r\n"), (section, leaf, text, message)
            at = message.find(text, at)  # in the order of the octets, without overlap
            assert at >= 0, (section, text, message)
            at += len(text)
        return shown_tree(shown, iter(texts))

    @staticmethod
    def ok(answer):
        assert answer[0] == "OK", answer
        return answer[1]


# ---- what Python reads


def python_tree(part):
    kind, defects = part.get_content_type(), tuple(type(d).__name__ for d in part.defects)
    if part.is_multipart():
        return Part(kind, [python_tree(child) for child in part.get_payload()],
                    str(part.get("Content-Transfer-Encoding", "")).lower().encode(), defects)
    payload = part._payload or ""  # get_payload() would decode the charset
    return Part(kind, [], payload.encode("ascii", "surrogateescape"), defects)


def without_defects(tree):
    children = [without_defects(child) for child in tree.children]
    return Part(tree.kind, children, b"" if children else tree.text)


def differences(ours, theirs, message):
    """Reasons for which the trees differ; "" where there is none."""
    major, encoding = theirs.kind.partition("/")[0], theirs.text if theirs.children else b""
    if "MissingHeaderBodySeparatorDefect" in theirs.defects and ours != without_defects(theirs):
        return ["line without a colon"]
    if ours.kind != theirs.kind and re.search(rb"Content-Type: ?[^\r\n;/]*/?(\r\n)?$", message):
        return ["half a type"]
    if ours.kind == "application/octet-stream" and major in ("multipart", "message"):
        if "NoBoundaryInMultipartDefect" in theirs.defects:
            same = ours.text in (theirs.text, theirs.text.removesuffix(b"\r\n"))
            return ["no boundary"] if same else [""]  # Python keeps the delimiter's CRLF
        if re.search(rb"boundary=?\"?$", message) and not theirs.text:
            return ["no boundary"]
        if encoding not in (b"", b"7bit", b"8bit", b"binary"):
            return ["encoded"]
        return [""]
    if "StartBoundaryNotFoundDefect" in theirs.defects:
        return ["no delimiter" if ours == Part(theirs.kind, [Part("text/plain")]) else ""]
    if ours.kind != theirs.kind:
        return [""]
    if major == "message" and not ours.children and theirs.children:
        return ["other message type"]
    if theirs.children or ours.children:
        if len(ours.children) != len(theirs.children):
            return [""]
        return [reason for pair in zip(ours.children, theirs.children)
                for reason in differences(*pair, message)]
    if ours.text == theirs.text:
        return []
    if message.endswith(ours.text) and ours.text in [theirs.text + end
                                                     for end in (b"\r\n", b"\r", b"\n")]:
        return ["last line end"]
    return [""]


# ---- messages made here


BOUNDARIES = ["b", "bb", "bbb", "b-", "b=1", "b b", "--", "=_b", "b'()+_,-./:=?", "B" * 70]
TEXTS = [b"", b"\r\n", b"one line", b"two\r\nlines\r\n", b"\r\n\r\nblank lines\r\n\r\n",
         b"-- \r\nsignature\r\n", b"--\r\n", b"--bx\r\n--b-x\r\nnear delimiters\r\n",
         b"From here\r\n.\r\n", b"x" * 700 + b"\r\n", "日本語\r\n".encode(), b"caf\xe9\r\n"]
LEAVES = ["text/plain", "text/html", "image/png", "application/octet-stream"]


class Maker:
    """Random messages; each with the tree it was made from."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def header(self, kind, boundary=None, default=None):
        lines = [f"X-Number: {self.random.randrange(1000)}"] if self.random.random() < 0.5 else []
        if boundary:
            fold = self.random.choice(["; ", ";\r\n\t"])
            lines.append(f'Content-Type: {kind}{fold}boundary="{boundary}"')
        elif kind != default or self.random.random() < 0.5:
            lines.append(f"Content-Type: {kind}")
        self.random.shuffle(lines)
        return "".join(line + "\r\n" for line in lines).encode() + b"\r\n"

    def part(self, depth, boundaries, default="text/plain"):
        chance = self.random.random()
        if depth and chance < 0.5 and boundaries:
            return self.multipart(depth, boundaries, default)
        if depth and chance < 0.65:
            octets, tree = self.part(depth - 1, boundaries)
            return self.header("message/rfc822", default=default) + octets, \
                Part("message/rfc822", [tree])
        kind, text = self.random.choice(LEAVES), self.random.choice(TEXTS)
        return self.header(kind, default=default) + text, Part(kind, [], text)

    def multipart(self, depth, boundaries, default="text/plain"):
        boundary = self.random.choice(boundaries)
        rest = [name for name in boundaries if name != boundary]
        kind = "multipart/" + self.random.choice(["mixed", "alternative", "digest", "x-new"])
        below = "message/rfc822" if kind == "multipart/digest" else "text/plain"
        octets, trees = self.header(kind, boundary, default), []
        octets += self.random.choice([b"", b"preamble\r\n", b"\r\n"])
        line = b"--" + boundary.encode()
        for _ in range(self.random.randrange(1, 4)):
            child, tree = self.part(depth - 1, rest, below)
            octets += line + self.random.choice([b"", b"", b" \t"]) + b"\r\n" + child + b"\r\n"
            trees.append(tree)
        octets += line + b"--" + self.random.choice([b"", b"\r\n", b"\r\nepilogue\r\n", b" \r\n"])
        return octets, Part(kind, trees)

    def whole(self):
        octets, tree = self.multipart(4, BOUNDARIES)
        return b"From: a@example.net\r\nMIME-Version: 1.0\r\n" + octets, tree

    def damaged(self):
        """Cut off, or with lines lost, or with delimiters that stand where none should."""
        octets, _ = self.whole()
        lines = octets.split(b"\r\n")
        start = lines.index(b"")
        chance = self.random.randrange(4)
        delimiters = [i for i in range(start, len(lines)) if lines[i].startswith(b"--")]
        if chance == 0:
            return octets[:self.random.randrange(len(b"\r\n".join(lines[:start])), len(octets))]
        if chance == 1:
            del lines[self.random.choice(delimiters)]
        elif chance == 2:
            at = self.random.randrange(start + 1, len(lines))
            lines[at:at] = [b"", lines[self.random.choice(delimiters)], b"X-Lost: yes", b"", b"y"]
        else:
            del lines[self.random.randrange(start + 1, len(lines))]
        return b"\r\n".join(lines)


def multipart(boundary, body, more="", kind="multipart/mixed"):
    return f'Content-Type: {kind}; boundary="{boundary}"\r\n{more}\r\n{body}'.encode()


def leaf(text, kind="text/plain"):
    return Part(kind, [], text)


def mixed(*children):
    return Part("multipart/mixed", list(children))


# Each with the tree we show, and the reason why Python's is another one, or None.
ROWS = [
    ("delimiters in a row", multipart("b", "--b\r\n--b\r\n\r\nx\r\n--b--\r\n"),
     mixed(leaf(b""), leaf(b"x")), "delimiters in a row"),
    ("same boundary within",
     multipart("b", "--b\r\n" + multipart("b", "--b\r\n\r\nx\r\n--b--\r\n").decode() + "--b--\r\n"),
     mixed(mixed(leaf(b"x"))), "same boundary within"),
    ("bare line feed before a delimiter", multipart("b", "--b\r\n\r\nx\n--b\n\ny\r\n--b--\r\n"),
     mixed(leaf(b"x\n--b\n\ny")), "bare line end"),
    ("bare CR before a delimiter", multipart("b", "--b\r\n\r\nx\r--b\r\r\n--b--\r\n"),
     mixed(leaf(b"x\r--b\r")), "bare line end"),
    ("no boundary", b"Content-Type: multipart/mixed\r\n\r\n--b\r\n\r\nx\r\n",
     leaf(b"--b\r\n\r\nx\r\n", "application/octet-stream"), "no boundary"),
    ("no delimiter", multipart("b", "text only\r\n"), mixed(leaf(b"")), "no delimiter"),
    ("encoded multipart",
     multipart("b", "--b\r\n\r\nx\r\n--b--", "Content-Transfer-Encoding: base64\r\n"),
     leaf(b"--b\r\n\r\nx\r\n--b--", "application/octet-stream"), "encoded"),
    ("part of a message", b"Content-Type: message/partial\r\n\r\nSubject: x\r\n\r\ny\r\n",
     leaf(b"Subject: x\r\n\r\ny\r\n", "message/partial"), "other message type"),
    ("a header line without a colon", b"Subject: x\r\nno field\r\n\r\ny\r\n",
     leaf(b"y\r\n"), "line without a colon"),
    ("half a type", multipart("b", "--b\r\nContent-Type: text/", kind="multipart/digest"),
     Part("multipart/digest", [Part("message/rfc822", [leaf(b"")])]), "half a type"),
    ("boundary in two lines", multipart("simple\r\n boundary",
                                        "--simple boundary\r\n\r\nx\r\n--simple boundary--"),
     mixed(leaf(b"x")), "folded boundary"),
    ("boundary that ends in a blank", multipart("b ", "--b \r\n\r\nx\r\n--b\r\n\r\ny\r\n--b --"),
     mixed(leaf(b"x\r\n--b\r\n\r\ny")), "blank ends a boundary"),
    ("boundary of 257 octets", multipart("B" * 257, f"--{'B' * 257}\r\n\r\nx\r\n"),
     leaf(f"--{'B' * 257}\r\n\r\nx\r\n".encode(), "application/octet-stream"), "long boundary"),
    ("boundary of 256 octets", multipart("B" * 256, f"--{'B' * 256}\r\n\r\nx\r\n"),
     mixed(leaf(b"x\r\n")), "last line end"),
    ("text behind a delimiter", multipart("b", "--b\r\n\r\nx\r\n--b y\r\n--b--y\r\n--b--"),
     mixed(leaf(b"x\r\n--b y\r\n--b--y")), None),
    ("no end", multipart("b", "--b\r\n\r\nx\r\n"), mixed(leaf(b"x\r\n")), "last line end"),
    ("only a delimiter", multipart("b", "--b"), mixed(leaf(b"")), None),
    ("only a close-delimiter", multipart("b", "--b--"), mixed(leaf(b"")), "no delimiter"),
    ("a delimiter in a header", multipart("b", "--b\r\nContent-Type: a/b\r\n--b--\r\n"),
     mixed(leaf(b"", "a/b")), None),
    ("a delimiter behind the close-delimiter",
     multipart("b", "--b\r\n\r\nx\r\n--b--\r\n--b\r\n\r\ny\r\n--b--\r\n"), mixed(leaf(b"x")), None),
    ("empty message", b"\r\n", leaf(b""), None),
    ("text that begins with a line end", b"\r\n\r\nx", leaf(b"\r\nx"), None),
    ("an outer delimiter ends all", multipart(
        "o", "--o\r\n" + multipart("i", "--i\r\nContent-Type: message/rfc822\r\n\r\n\r\nx\r\n"
                                   "--o\r\n\r\ny\r\n--o--\r\n").decode()),
     mixed(mixed(Part("message/rfc822", [leaf(b"x")])), leaf(b"y")), None),
]


# ---- the tests


@pytest.fixture(scope="module", name="reader")
def one_reader():
    options = ('auth { plaintext_without_tls = { "127.0.0.0/8" } }\n'
               "processes { edge = 1 access = 1 relay = 1 worker = 1 }\n")
    with Hayauma(users=[HANAKO], listen={"smtp": 0, "imap": 0}, options=options,
                 role="mailbox") as server:
        reader = Reader(server)
        yield reader
        reader.imap.logout()


def check_against_python(trees, messages):
    """How often each reason was needed."""
    reasons = collections.Counter()
    for ours, message in zip(trees, messages):
        theirs = python_tree(email.message_from_bytes(message))
        found = differences(ours, theirs, message)
        assert "" not in found, f"{message!r}\nours {ours}\nPython's {theirs}"
        reasons.update(set(found))
    return reasons


def test_whole_messages_have_the_tree_they_were_made_with(reader):
    maker = Maker(SEED)
    made = [maker.whole() for _ in range(WHOLE)]
    trees = reader.trees("whole", [message for message, _ in made])
    for ours, (message, wanted) in zip(trees, made):
        assert ours == wanted, message
    check_against_python(trees, [message for message, _ in made])


def test_damaged_messages_are_read_as_python_does(reader):
    maker = Maker(SEED + 1)
    messages = [maker.damaged() for _ in range(DAMAGED)]
    reasons = check_against_python(reader.trees("damaged", messages), messages)
    print(f"{DAMAGED} messages: {dict(reasons)}")


def test_rows_are_read_as_they_should_be(reader):
    trees = reader.trees("rows", [message for _, message, _, _ in ROWS])
    for ours, (name, message, wanted, reason) in zip(trees, ROWS):
        theirs = python_tree(email.message_from_bytes(message))
        assert ours == wanted, name
        found = differences(ours, theirs, message)
        if reason is None:
            assert not found, f"{name}: {theirs}"
        else:
            assert found, f"{name}: Python reads it as we do: {reason} is no reason"
            assert set(found) <= {reason, ""}, f"{name}: {found}"
    assert {row[3] for row in ROWS} - {None} == set(REASONS)



# ---- messages from outside


# Files that mime4j reads otherwise, and why.
UNLIKE_MIME4J = {
    **dict.fromkeys(["multi-2gifs-base64", "bad-newlines-multiple-parts-base64",
                     "base64encoded-rfc822message", "base64encoded-rfc822message-nested"],
                    "encoded: it decodes a message's base64 and looks into it"),
    **dict.fromkeys(["malformedHeaderStartsBody-nocrlfcrlf", "malformedHeaderStartsBody-noheader"],
                    "line without a colon: begins the body by an option of its own; the same "
                    "octets under malformedHeader-* are read as we do"),
    **dict.fromkeys(["very-long-boundary", "very-very-long-boundary"], "long boundary"),
    "ending-boundaries": "text behind a delimiter: the grammar of RFC 2046 allows blanks only, "
                         "and so does Python; else a boundary that begins another would end it",
}
# Those that Python reads otherwise for a reason that differences() does not see.
UNLIKE_PYTHON = {
    **dict.fromkeys(["2002_06_12_doublebound", "double-bound", "multipartemptypart"],
                    "delimiters in a row"),
    **dict.fromkeys(["multi-badnames", "multi-clen", "multi-digest", "multi-simple"],
                    "folded boundary"),
    **dict.fromkeys(["very-long-boundary", "very-very-long-boundary"], "long boundary"),
    "weird-boundary": "blank ends a boundary",
}


def mime4j_tree(element):
    """What their .xml says: "leaf" with its text, or what is within."""
    for below in element:
        if below.tag == "body":
            return Part("leaf", [], below.text or "")
        if below.tag == "message":
            return Part("message", [mime4j_tree(below)])
        if below.tag == "multipart":
            parts = [mime4j_tree(part) for part in below.findall("body-part")]
            return Part("multipart", parts or [Part("leaf", [], "")])
    return Part("leaf", [], "")


def shape(tree):
    """Ours in their words."""
    if not tree.children:
        return Part("leaf", [], tree.text)
    return Part(tree.kind.partition("/")[0], [shape(child) for child in tree.children])


def words(text):
    """What XML carries faithfully: not line ends, not octets of an unknown charset."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return re.sub(r"[^!-~]+", " ", text).split()


def unlike(ours, theirs):
    """Where the trees differ first, or None."""
    if ours.kind != theirs.kind or len(ours.children) != len(theirs.children):
        return f"{ours}\n{theirs}"
    if not ours.children:
        return None if words(ours.text) == words(theirs.text) else f"{ours.text}\n{theirs.text}"
    found = [unlike(*pair) for pair in zip(ours.children, theirs.children)]
    return next((place for place in found if place), None)


def expected_by_mime4j(path):
    """Some of their .xml hold octets that XML forbids, and none says its charset."""
    text = path.with_suffix(".xml").read_bytes().decode("latin-1")
    text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", " ", text)
    return mime4j_tree(xml.etree.ElementTree.fromstring(text))


def test_messages_of_mime4j_have_the_expected_trees(reader):
    folder = os.environ.get("HAYAUMA_OUTSIDE_DATA")
    if not folder:
        return  # as charset_test does: nothing of ours is missing
    files = sorted(pathlib.Path(folder).glob("mime4j/*/*.msg"))
    assert len(files) >= 70, f"no messages of mime4j in {folder}"
    messages = [re.sub(rb"\r?\n", b"\r\n", path.read_bytes()) for path in files]
    python, mime4j = {}, set()
    for path, message, ours in zip(files, messages, reader.trees("mime4j", messages)):
        if unlike(shape(ours), expected_by_mime4j(path)):
            mime4j.add(path.stem)
        found = differences(ours, python_tree(email.message_from_bytes(message)), message)
        if found:
            python[path.stem] = set(found)
    print(f"{len(files)} messages; unlike mime4j {sorted(mime4j)}, unlike Python {python}")
    assert mime4j == set(UNLIKE_MIME4J)
    assert {name for name, found in python.items() if "" in found} == set(UNLIKE_PYTHON)
    assert set(UNLIKE_PYTHON.values()) <= set(REASONS)
