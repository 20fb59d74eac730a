"""Enhanced status codes: IANA's registry of them, begun by RFC 3463 and kept by
RFC 5248, and whether a reply has the one it needs. tools/check_status_codes
holds the source against it, tests/hayauma.py each reply that a test reads."""
import re

# Subject: the highest detail; each from 0 on is registered. X.6.10 is a
# duplicate of X.6.8 there, and not to be used.
DETAILS = {0: 0, 1: 10, 2: 4, 3: 6, 4: 7, 5: 6, 6: 9, 7: 30}

# Not "section 2.3.8" nor an address.
CODE = re.compile(r"(?<![\d.])(?<!section )([0-9])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")

# What RFC 2034 section 3 sends without a code: the answers to HELO, and greetings,
# one of which stands behind XCLIENT, too.
WITHOUT = {("helo", "250"), ("ehlo", "250"), ("lhlo", "250"), ("xclient", "220"),
           ("", "220"), ("", "421"), ("", "554")}


def is_registered(code):
    match = CODE.fullmatch(code)
    return bool(match) and match[1] in "245" and int(match[3]) <= DETAILS.get(int(match[2]), -1) \
        and code == ".".join(str(int(part)) for part in match.groups())


def wrong_with(reply_code, enhanced):
    """What is wrong with a code behind a reply code, or None."""
    if not is_registered(enhanced):
        return f"{enhanced} is not in the registry of RFC 5248"
    if enhanced[0] != str(reply_code)[0]:
        return f"{enhanced} is of another class than {reply_code}"
    return None


def wrong_with_reply(verb, reply_code, text):
    """What is wrong with the text behind a reply's code, or None. `verb` is what
    was asked, in lower case; empty: nothing, it is a greeting."""
    if str(reply_code)[0] not in "245":
        return None
    if (verb, str(reply_code)) in WITHOUT:
        return None
    lines = text.split("\n")
    codes = {line.split(" ")[0] for line in lines}
    if len(codes) != 1:
        return f"lines with different codes: {reply_code} {text}"
    found = wrong_with(reply_code, codes.pop())
    return found and f"{found}: {reply_code} {text}"
