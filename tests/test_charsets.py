"""Text in the charsets of mail as Hayauma decodes it (PREVIEW, RFC 8970) beside
Python's codecs: up to 600 letters of each charset, spread over all it has, from
a fixed seed, and the SIGNS that tables are known to differ about. charset_test.c
holds the tables of the WHATWG against the same decoder, and what is sent beyond
every table."""
import base64
import random

import pytest

from hayauma import PASSWORD, Hayauma
from test_mime_trees import HANAKO, Reader, answers

SEED, CHARACTERS, PREVIEW = 1468, 600, 150

# Charset of the message: Python's codec for what is sent under that name.
CHARSETS = {
    "utf-8": "utf-8", "iso-2022-jp": "iso2022_jp", "shift_jis": "cp932", "windows-31j": "cp932",
    "euc-jp": "euc_jp", "gb2312": "gbk", "gbk": "gbk", "gb18030": "gb18030", "big5": "big5hkscs",
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949", "us-ascii": "ascii", "iso-8859-1": "cp1252",
    "windows-1250": "cp1250", "windows-1251": "cp1251", "windows-1252": "cp1252",
    "windows-1253": "cp1253", "windows-1254": "cp1254", "windows-1255": "cp1255",
    "windows-1256": "cp1256", "windows-1257": "cp1257", "windows-1258": "cp1258",
    "iso-8859-2": "iso8859_2", "iso-8859-3": "iso8859_3", "iso-8859-4": "iso8859_4",
    "iso-8859-5": "iso8859_5", "iso-8859-6": "iso8859_6", "iso-8859-7": "iso8859_7",
    "iso-8859-8": "iso8859_8", "iso-8859-9": "cp1254", "iso-8859-13": "iso8859_13",
    "iso-8859-15": "iso8859_15", "koi8-r": "koi8_r", "koi8-u": "koi8_u", "tis-620": "cp874",
}

SIGNS = "〜～−－‖∥—―¢￠£￡¬￢¥￥€①㈱髙﨑"

# What is decoded otherwise: as Windows and the WHATWG's tables have it, which is
# how it was written; the standards that Python goes by gave them other names.
WINDOWS = str.maketrans("〜−‖¢£¬", "～－∥￠￡￢")
JAPANESE = ("utf-8", "iso-2022-jp", "shift_jis", "windows-31j", "euc-jp")
UNLIKE = {"iso-2022-jp": WINDOWS, "euc-jp": WINDOWS}

# Left out: ICU's table is from before Unicode 4.1 and gives them a private number.
NOT_YET = {"big5": set("龦龧龨龩龪龫龬龭龮龯龲龳")}


def characters(charset, codec):
    """Letters that the codec has and gives back."""
    found = [chr(c) for c in range(0x21, 0x10000) if chr(c).isalpha()]
    return [c for c in found if c not in NOT_YET.get(charset, ())
            and c.encode(codec, "ignore").decode(codec, "ignore") == c]


def message(charset, octets):
    return (f"Content-Type: text/plain; charset={charset}\r\n"
            f"Content-Transfer-Encoding: base64\r\n\r\n").encode() + base64.encodebytes(octets) \
        .replace(b"\n", b"\r\n")


@pytest.fixture(scope="module", name="reader")
def one_reader():
    options = ('auth { plaintext_without_tls = { "127.0.0.0/8" } }\n'
               "processes { edge = 1 access = 1 relay = 1 worker = 1 }\n")
    with Hayauma(users=[HANAKO], listen={"smtp": 0, "imap": 0}, options=options) as server:
        reader = Reader(server)
        yield reader
        reader.imap.logout()


def test_characters_are_decoded_as_python_does(reader):
    chance, made = random.Random(SEED), []
    for charset, codec in CHARSETS.items():
        letters = characters(charset, codec)
        letters = chance.sample(letters, min(CHARACTERS, len(letters)))
        if charset in JAPANESE:
            letters += SIGNS.encode(codec, "ignore").decode(codec)
        made += [(charset, codec, "".join(letters[at:at + PREVIEW]))
                 for at in range(0, len(letters), PREVIEW)]
    messages = [message(charset, text.encode(codec)) for charset, codec, text in made]
    reader.ok(reader.imap.create("charsets"))
    reader.append("charsets", messages)
    reader.ok(reader.imap.select("charsets"))
    rows = answers(reader.ok(reader.imap.fetch("1:*", "(PREVIEW)")))
    different = {}
    for number, (charset, _, text) in enumerate(made, 1):
        shown, wanted = rows[number][1].decode(), text.translate(UNLIKE.get(charset, {}))
        if shown != wanted:
            pairs = [pair for pair in zip(wanted, shown) if pair[0] != pair[1]]
            different.setdefault(charset, []).append(pairs or (wanted, shown))
    print(f"{sum(len(text) for _, _, text in made)} characters of {len(CHARSETS)} charsets")
    assert not different
