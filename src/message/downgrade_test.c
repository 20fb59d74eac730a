/* Messages for hosts that take less than they hold. What comes out is looked at
 * as octets; that nothing is lost is seen by decoding it again. */
#include "message/downgrade.h"

#include <errno.h>

#include "base/test.h"

#define TEXT_8BIT "caf\xc3\xa9\r\n"

static const struct {
        const char *name;
        enum downgrade_target target;
        bool may_break;
        int want_result;
        const char *in, *out; /* out NULL: as it was */
} cases[] = {
        { "nothing to do", DOWNGRADE_TO_7BIT, false, 0, "A: b\r\n\r\nplain\r\n", NULL },
        { "a signed one, nothing to do", DOWNGRADE_TO_7BIT, false, 0,
          "DKIM-Signature: x\r\n\r\nplain\r\n", NULL },
        { "8-bit text", DOWNGRADE_TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
          "Content-Transfer-Encoding: 8bit\r\n\r\n" TEXT_8BIT,
          "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n" },
        { "8-bit text for 8-bit hosts", DOWNGRADE_TO_8BIT, false, 0,
          "Content-Transfer-Encoding: 8bit\r\n\r\n" TEXT_8BIT, NULL },
        { "no MIME at all", DOWNGRADE_TO_7BIT, false, 0, "Subject: x\r\n\r\n" TEXT_8BIT,
          "Subject: x\r\nMIME-Version: 1.0\r\n"
          "Content-Type: text/plain; charset=unknown-8bit\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n" },
        { "no text", DOWNGRADE_TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: image/x\r\n"
          "Content-Transfer-Encoding: binary\r\n\r\n\xff\n\xfe",
          "MIME-Version: 1.0\r\nContent-Type: image/x\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\n/wr+\r\n" },
        { "binary text for 8-bit hosts", DOWNGRADE_TO_8BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\na\nb\r\n",
          "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\nYQpiDQo=\r\n" },
        { "only the part that needs it", DOWNGRADE_TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
          "Content-Transfer-Encoding: 8bit\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\n"
          "Content-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
          TEXT_8BIT "\r\n--b--\r\nend\r\n",
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
          "Content-Transfer-Encoding: 7bit\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\n"
          "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
          "caf=C3=A9\r\n\r\n--b--\r\nend\r\n" },
        { "a part without a last line end", DOWNGRADE_TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
          "Content-Type: text/plain\r\n\r\n\xe9\r\n--b\r\nContent-Type: a/b\r\n\r\n\xe9\r\n"
          "--b--\r\n",
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
          "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9"
          "\r\n--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n6Q=="
          "\r\n--b--\r\n" },
        { "a message within", DOWNGRADE_TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n"
          "Content-Transfer-Encoding: 8bit\r\n\r\nSubject: in\r\nContent-Type: text/plain\r\n\r\n"
          TEXT_8BIT,
          "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n"
          "Content-Transfer-Encoding: 7bit\r\n\r\nSubject: in\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n" },
        { "signed by DKIM", DOWNGRADE_TO_7BIT, false, -EPERM,
          "DKIM-Signature: x\r\n\r\n" TEXT_8BIT, NULL },
        { "signed by DKIM, and nobody minds", DOWNGRADE_TO_7BIT, true, 0,
          "DKIM-Signature: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" TEXT_8BIT,
          "DKIM-Signature: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n" },
        { "signed part", DOWNGRADE_TO_7BIT, false, -EPERM,
          "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" TEXT_8BIT
          "\r\n--b--\r\n", NULL },
        { "signed part that may stay", DOWNGRADE_TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
          "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--o\r\n"
          "Content-Type: a/b\r\n\r\n\xe9\r\n--o--\r\n",
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
          "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--o\r\n"
          "Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n6Q==\r\n--o--\r\n" },
        { "a header beyond ASCII", DOWNGRADE_TO_7BIT, false, -ENOTSUP,
          "Subject: caf\xc3\xa9\r\n\r\nx\r\n", NULL },
        { "a preamble beyond ASCII", DOWNGRADE_TO_7BIT, false, -ENOTSUP,
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n\xe9\r\n--b\r\n\r\nx\r\n--b--\r\n",
          NULL },
        { "half encoded", DOWNGRADE_TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db\xe9\r\n",
          "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=E9\r\n" },
};

TEST(messages_become_fit)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct span in = span_from_string(cases[i].in);
                struct buffer out = BUFFER_INIT(65536);
                const int r = downgrade(in, cases[i].target, cases[i].may_break, &out);
                const struct span want = r < 0 ? SPAN_LITERAL("")
                                               : cases[i].out ? span_from_string(cases[i].out) : in;

                CHECK(r == cases[i].want_result, cases[i].name);
                CHECK(span_equal(buffer_span(&out), want), cases[i].name);
                buffer_done(&out);
        }
}

/* Cut anywhere, it is refused or becomes fit. */
TEST(every_cut_becomes_fit_or_is_refused)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t len = 0; len < strlen(cases[i].in); len++) {
                        const struct span in = span_first(span_from_string(cases[i].in), len);
                        struct buffer out = BUFFER_INIT(65536), again = BUFFER_INIT(65536);

                        if (downgrade(in, DOWNGRADE_TO_7BIT, true, &out) == 0) {
                                for (size_t k = 0; k < out.len; k++)
                                        CHECK((unsigned char) buffer_span(&out).p[k] < 0x80,
                                              cases[i].name);
                                CHECK(downgrade(buffer_span(&out), DOWNGRADE_TO_7BIT, false,
                                                &again) == 0, cases[i].name);
                                CHECK(span_equal(buffer_span(&out), buffer_span(&again)),
                                      "a fit one stays as it is");
                        }
                        buffer_done(&out);
                        buffer_done(&again);
                }
}

TEST_MAIN()
