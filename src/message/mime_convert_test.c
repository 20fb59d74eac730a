/* What is converted and how, each row fed whole and octet by octet. */
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
        struct mime_convert *c = mime_convert_new(false);
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
        struct mime_convert *c = mime_convert_new(false);
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

TEST_MAIN()
