/* What is converted and how, each row fed whole and in pieces of every length.
 * First what mailboxes take, by labels; then what hosts take, by octets. */
#include "message/mime_convert.h"

#include <errno.h>

#include "base/test.h"

enum { OUT_MAX = 1 << 20 };

struct row {
        const char *name;
        struct span in;
        const char *out; /* NULL: as it went in */
        int error;
        unsigned parts;
        bool breaks_signature;
};

#define MIXED "Content-Type: multipart/mixed; boundary=b\r\n"
#define ENCODING "Content-Transfer-Encoding: "

static const struct row rows[] = {
        { "empty", SPAN(""), NULL, 0, 0, false },
        { "lines", SPAN("Subject: x\r\n\r\n\xe6\x97\xa9\r\n.\r\n"), NULL, 0, 0,
          false },
        { "header only", SPAN("Subject: x\r\n"), NULL, 0, 0, false },
        { "header cut", SPAN("Subject: x"), NULL, 0, 0, false },
        { "binary",
          SPAN("Content-Type: a/b\r\n" ENCODING "binary\r\nTo: x\r\n\r\na\nb\0c\r"),
          "Content-Type: a/b\r\n" ENCODING "base64\r\nTo: x\r\nMIME-Version: 1.0\r\n\r\n"
          "YQpiAGMN\r\n", 0, 1, false },
        { "binary folded, in capitals, with a comment",
          SPAN("MIME-Version: 1.0\r\nContent-Type: a/b\r\nContent-Transfer-ENCODING:\r\n"
               " (really) BINARY\r\n\r\n\r\n"),
          "MIME-Version: 1.0\r\nContent-Type: a/b\r\nContent-Transfer-ENCODING: base64\r\n\r\n"
          "DQo=\r\n", 0, 1, false },
        { "only the part that is binary",
          SPAN("MIME-Version: 1.0\r\n" MIXED ENCODING "binary\r\n\r\npre\r\n--b\r\n\r\ntext\r\n"
               "--b\r\n" ENCODING "binary\r\n\r\n\n--b\r-\r\n--c\r\n--b--\r\nepilogue\r\n"),
          "MIME-Version: 1.0\r\n" MIXED ENCODING "8bit\r\n\r\npre\r\n--b\r\n\r\ntext\r\n"
          "--b\r\n" ENCODING "base64\r\n\r\nCi0tYg0tDQotLWM=\r\n--b--\r\nepilogue\r\n", 0, 1,
          false },
        { "an empty binary part",
          SPAN(MIXED "\r\n--b\r\n" ENCODING "binary\r\n\r\n\r\n--b--"),
          MIXED "\r\n--b\r\n" ENCODING "base64\r\n\r\n--b--", 0, 1, false },
        { "within a message",
          SPAN("Content-Type: message/rfc822\r\n" ENCODING "binary\r\n\r\n" ENCODING
               "binary\r\n\r\n\n"),
          "Content-Type: message/rfc822\r\n" ENCODING "8bit\r\nMIME-Version: 1.0\r\n\r\n" ENCODING
          "base64\r\n\r\nCg==\r\n", 0, 1, false },
        { "two labels",
          SPAN("MIME-Version: 1\r\nContent-Type: a/b\r\n" ENCODING "binary\r\n" ENCODING
               "8bit\r\n\r\nx"),
          "MIME-Version: 1\r\nContent-Type: a/b\r\n" ENCODING "base64\r\n\r\neA==\r\n", 0, 1,
          false },
        { "lines of 76",
          SPAN("MIME-Version: 1\r\nContent-Type: a/b\r\n" ENCODING "binary\r\n\r\n"
               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
          "MIME-Version: 1\r\nContent-Type: a/b\r\n" ENCODING "base64\r\n\r\n"
          "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh\r\n"
          "YWFh\r\n", 0, 1, false },
        { "signed parts",
          SPAN("Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n" ENCODING
               "binary\r\n\r\n\n\r\n--b--\r\n"),
          "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n" ENCODING
          "base64\r\n\r\nCg==\r\n--b--\r\n", 0, 1, true },
        { "signed as a whole",
          SPAN("MIME-Version: 1\r\nDKIM-Signature: x\r\nContent-Type: a/b\r\n" ENCODING
               "binary\r\n\r\nx"),
          "MIME-Version: 1\r\nDKIM-Signature: x\r\nContent-Type: a/b\r\n" ENCODING
          "base64\r\n\r\neA==\r\n", 0, 1, true },
        { "signed, and nothing changes",
          SPAN("DKIM-Signature: x\r\n\r\nx\r\n"), NULL, 0, 0, false },
        { "bare LF in lines", SPAN("\r\na\nb\r\n"), "", -EBADMSG, 0, false },
        { "bare CR in lines", SPAN("\r\na\rb\r\n"), "", -EBADMSG, 0, false },
        { "CR at the end", SPAN("\r\na\r"), "", -EBADMSG, 0, false },
        { "CR CR LF", SPAN("\r\na\r\r\n"), "", -EBADMSG, 0, false },
        { "NUL in lines", SPAN("\r\na\0b\r\n"), "", -EBADMSG, 0, false },
        { "bare LF in a header", SPAN("a: b\nc: d\r\n\r\n"), "", -EBADMSG, 0,
          false },
        { "bare LF behind a delimiter",
          SPAN(MIXED "\r\n--b\n\r\n" ENCODING "binary\r\n\r\nx"), "", -EBADMSG, 0, false },
        { "bare LF in the preamble", SPAN(MIXED "\r\nx\n--b\r\n"), "",
          -EBADMSG, 0, false },
        { "a multipart of nothing, binary",
          SPAN("Content-Type: multipart/mixed\r\n" ENCODING "binary\r\n\r\nx"), "", -EBADMSG, 0,
          false },
        { "part cut by a delimiter in its header",
          SPAN(MIXED "\r\n--b\r\n" ENCODING "binary\r\n--b--\r\n"), NULL, 0, 0, false },
};

static void play(const struct row *row, size_t piece)
{
        struct mime_convert *c = mime_convert_new(MIME_CONVERT_TO_LINES, false);
        struct buffer out = BUFFER_INIT(OUT_MAX);
        int r = 0;

        assert_non_null(c);
        for (size_t at = 0; at < row->in.len; at += piece)
                r = mime_convert_feed(c, span_first(span_skip(row->in, at), piece), &out);
        r = mime_convert_end(c, &out);
        CHECK(r == row->error, row->name);
        if (r == 0) {
                const struct span want = row->out ? span_from_string(row->out) : row->in;

                if (!span_equal(buffer_span(&out), want))
                        print_error("got: %.*s\n", (int) out.len, buffer_span(&out).p);
                CHECK(span_equal(buffer_span(&out), want), row->name);
                CHECK(mime_convert_parts(c) == row->parts, row->name);
                CHECK(mime_convert_breaks_signature(c) == row->breaks_signature, row->name);
        }
        buffer_done(&out);
        c = mime_convert_free(c);
}

TEST(parts_get_the_form_that_is_wanted)
{
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
                for (size_t piece = 1; piece <= rows[i].in.len + 1; piece++)
                        play(&rows[i], piece);
}

TEST(a_header_without_end_is_an_error)
{
        struct mime_convert *c = mime_convert_new(MIME_CONVERT_TO_LINES, false);
        struct buffer out = BUFFER_INIT(OUT_MAX);
        int r = 0;

        for (size_t i = 0; i < 100000 && r == 0; i++)
                r = mime_convert_feed(c, SPAN_LITERAL("Subject: x\r\n"), &out);
        assert_int_equal(r, -EMSGSIZE);
        assert_int_equal(mime_convert_end(c, &out), -EMSGSIZE);
        assert_int_equal(out.len, 0);
        buffer_done(&out);
        c = mime_convert_free(c);
}


/* ---- for hosts ---------------------------------------------------------- */

#define HUNDRED "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
                "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define LINE64 "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4\r\n"
#define IN_BASE64 LINE64 LINE64 LINE64 LINE64 LINE64 LINE64 LINE64 LINE64 LINE64 \
        LINE64 LINE64 LINE64 LINE64 LINE64 LINE64 LINE64 LINE64 \
        "eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHh4eA==\r\n"

#define TEXT_8BIT "caf\xc3\xa9\r\n"

#define TO_8BIT MIME_CONVERT_TO_8BIT
#define TO_7BIT MIME_CONVERT_TO_7BIT

static const struct {
        const char *name;
        enum mime_convert_to to;
        bool may_break;
        int want_result;
        const char *in, *out; /* out NULL: as it was */
} cases[] = {
        { "nothing to do", TO_7BIT, false, 0, "A: b\r\n\r\nplain\r\n", NULL },
        { "a signed one, nothing to do", TO_7BIT, false, 0,
          "DKIM-Signature: x\r\n\r\nplain\r\n", NULL },
        { "8-bit text", TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
          "Content-Transfer-Encoding: 8bit\r\n\r\n" TEXT_8BIT,
          "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n" },
        { "8-bit text for 8-bit hosts", TO_8BIT, false, 0,
          "Content-Transfer-Encoding: 8bit\r\n\r\n" TEXT_8BIT, NULL },
        { "no MIME at all", TO_7BIT, false, 0, "Subject: x\r\n\r\n" TEXT_8BIT,
          "Subject: x\r\nMIME-Version: 1.0\r\n"
          "Content-Type: text/plain; charset=unknown-8bit\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n" },
        { "no text", TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: image/x\r\n"
          "Content-Transfer-Encoding: binary\r\n\r\n\xff\n\xfe",
          "MIME-Version: 1.0\r\nContent-Type: image/x\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\n/wr+\r\n" },
        { "binary text for 8-bit hosts", TO_8BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\na\nb\r\n",
          "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\nYQpiDQo=\r\n" },
        { "only the part that needs it", TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
          "Content-Transfer-Encoding: 8bit\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\n"
          "Content-Type: text/html\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
          TEXT_8BIT "\r\n--b--\r\nend\r\n",
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n"
          "Content-Transfer-Encoding: 7bit\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\n"
          "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
          "caf=C3=A9\r\n\r\n--b--\r\nend\r\n" },
        { "a part without a last line end", TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
          "Content-Type: text/plain\r\n\r\n\xe9\r\n--b\r\nContent-Type: a/b\r\n\r\n\xe9\r\n"
          "--b--\r\n",
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
          "Content-Type: text/plain\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9"
          "\r\n--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n6Q=="
          "\r\n--b--\r\n" },
        { "a message within", TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n"
          "Content-Transfer-Encoding: 8bit\r\n\r\nSubject: in\r\nContent-Type: text/plain\r\n\r\n"
          TEXT_8BIT,
          "MIME-Version: 1.0\r\nContent-Type: message/rfc822\r\n"
          "Content-Transfer-Encoding: 7bit\r\n\r\nSubject: in\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n" },
        { "signed by DKIM", TO_7BIT, false, -EPERM,
          "DKIM-Signature: x\r\n\r\n" TEXT_8BIT, NULL },
        { "signed by DKIM, and nobody minds", TO_7BIT, true, 0,
          "DKIM-Signature: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n" TEXT_8BIT,
          "DKIM-Signature: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9\r\n" },
        { "signed part", TO_7BIT, false, -EPERM,
          "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" TEXT_8BIT
          "\r\n--b--\r\n", NULL },
        { "signed part that may stay", TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
          "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--o\r\n"
          "Content-Type: a/b\r\n\r\n\xe9\r\n--o--\r\n",
          "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n"
          "Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--o\r\n"
          "Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n6Q==\r\n--o--\r\n" },
        { "a header beyond ASCII", TO_7BIT, false, -ENOTSUP,
          "Subject: caf\xc3\xa9\r\n\r\nx\r\n", NULL },
        { "a preamble beyond ASCII", TO_7BIT, false, -ENOTSUP,
          "Content-Type: multipart/mixed; boundary=b\r\n\r\n\xe9\r\n--b\r\n\r\nx\r\n--b--\r\n",
          NULL },
        { "half encoded", TO_7BIT, false, 0,
          "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db\xe9\r\n",
          "MIME-Version: 1.0\r\nContent-Type: text/plain\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=E9\r\n" },
        { "text with what looks like a delimiter", TO_7BIT, false, 0,
          "Content-Type: multipart/mixed; boundary=\"=3D\"\r\n\r\n--=3D\r\n\r\n"
          "\xe9\r\n--=\r\n\r\n--=3D--\r\n",
          "Content-Type: multipart/mixed; boundary=\"=3D\"\r\n\r\n--=3D\r\n"
          "Content-Transfer-Encoding: base64\r\n\r\n6Q0KLS09DQo=\r\n--=3D--\r\n" },
        { "a message within a part", TO_7BIT, false, 0,
          MIXED "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\n"
          "\xe9\r\n--b--\r\n",
          MIXED "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n"
          "Content-Transfer-Encoding: quoted-printable\r\n\r\n=E9\r\n--b--\r\n" },
        { "the outer part as well", TO_7BIT, true, 0,
          "Content-Type: multipart/signed; boundary=o\r\n" ENCODING "8bit\r\n\r\n--o\r\n"
          MIXED ENCODING "binary\r\n\r\n--b\r\n\r\n" TEXT_8BIT "\r\n--b--\r\n--o--\r\n",
          "Content-Type: multipart/signed; boundary=o\r\n" ENCODING "7bit\r\nMIME-Version: 1.0"
          "\r\n\r\n--o\r\n" MIXED ENCODING "7bit\r\n\r\n--b\r\n" ENCODING
          "quoted-printable\r\n\r\ncaf=C3=A9\r\n\r\n--b--\r\n--o--\r\n" },
        { "signed by ARC", TO_7BIT, false, -EPERM, "ARC-Message-Signature: x\r\n\r\n" TEXT_8BIT,
          NULL },
        { "a long line of ASCII", TO_8BIT, false, 0,
          MIXED "\r\n--b\r\nContent-Type: a/b\r\n\r\n" HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED
          HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED "\r\n--b--",
          MIXED "\r\n--b\r\nContent-Type: a/b\r\n" ENCODING "base64\r\n\r\n" IN_BASE64
          "--b--" },
        { "an unknown encoding", TO_7BIT, false, -ENOTSUP, ENCODING "x-what\r\n\r\n\xe9\r\n",
          NULL },
        { "a multipart in base64", TO_7BIT, false, -ENOTSUP,
          MIXED ENCODING "base64\r\n\r\n\xe9\r\n", NULL },
        { "a multipart without parts", TO_7BIT, false, -ENOTSUP, MIXED "\r\n\xe9\r\n", NULL },
        { "a delimiter beyond ASCII", TO_7BIT, false, -ENOTSUP,
          "Content-Type: multipart/mixed; boundary=\"\xe9\"\r\n\r\n--\xe9\r\n\r\nx\r\n", NULL },
        { "a bare LF between parts", TO_8BIT, false, -ENOTSUP,
          MIXED "\r\na\nb\r\n--b--\r\n", NULL },
        { "a bare CR in a header", TO_8BIT, false, -ENOTSUP, "Subject: a\rb\r\n\r\nx\r\n", NULL },
};

static int convert(struct span in, enum mime_convert_to to, bool may_break, size_t piece,
                   struct buffer *out)
{
        struct mime_convert *c = mime_convert_new(to, false);
        int r;

        assert_non_null(c);
        for (size_t at = 0; at < in.len; at += piece)
                (void) mime_convert_feed(c, span_first(span_skip(in, at), piece), out);
        r = mime_convert_end(c, out);
        if (r == 0 && mime_convert_breaks_signature(c) && !may_break)
                r = -EPERM;
        c = mime_convert_free(c);
        return r;
}

TEST(messages_become_fit_for_hosts)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const struct span in = span_from_string(cases[i].in);
                const struct span want = cases[i].out ? span_from_string(cases[i].out) : in;

                for (size_t piece = 1; piece <= in.len + 1; piece++) {
                        struct buffer out = BUFFER_INIT(OUT_MAX);
                        const int r = convert(in, cases[i].to, cases[i].may_break, piece, &out);

                        if (r == 0 && !span_equal(buffer_span(&out), want))
                                print_error("got: %.*s\n", (int) out.len, buffer_span(&out).p);
                        CHECK(r == cases[i].want_result, cases[i].name);
                        CHECK(r < 0 || span_equal(buffer_span(&out), want), cases[i].name);
                        buffer_done(&out);
                }
        }
}

/* Cut anywhere, it is refused or becomes fit. */
TEST(every_cut_becomes_fit_or_is_refused)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t len = 0; len < strlen(cases[i].in); len++) {
                        const struct span in = span_first(span_from_string(cases[i].in), len);
                        struct buffer out = BUFFER_INIT(OUT_MAX), again = BUFFER_INIT(OUT_MAX);

                        if (convert(in, TO_7BIT, true, SIZE_MAX / 2, &out) == 0) {
                                for (size_t k = 0; k < out.len; k++)
                                        CHECK((unsigned char) buffer_span(&out).p[k] < 0x80,
                                              cases[i].name);
                                CHECK(convert(buffer_span(&out), TO_7BIT, false, 7, &again) == 0,
                                      cases[i].name);
                                CHECK(span_equal(buffer_span(&out), buffer_span(&again)),
                                      "a fit one stays as it is");
                        }
                        buffer_done(&out);
                        buffer_done(&again);
                }
}

TEST_MAIN()
