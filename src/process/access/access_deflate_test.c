/* Both directions, against each other: what one writes the other reads, however
 * it is cut and whenever memory is given back. */
#include "process/access/access_deflate.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/test.h"

/* Reads all of `in`, `step` octets at a time, into `out`. */
static int read_all(struct access_deflate *d, struct span in, size_t step, struct buffer *out)
{
        size_t at = 0, shown = 0;

        for (;;) {
                size_t end = shown + step < in.len ? shown + step : in.len;
                const long n = access_deflate_read(d, span_make(in.p + at, end - at));
                const struct span plain = access_deflate_plain(d);

                if (n < 0)
                        return (int) n;
                at += (size_t) n;
                shown = at > shown ? at : end;
                assert_true(plain.len <= ACCESS_DEFLATE_PIECE);
                assert_int_equal(buffer_append_span(out, plain), 0);
                access_deflate_used(d, plain.len);
                if (n == 0 && plain.len == 0 && end == in.len)
                        return 0;
        }
}

static void check_roundtrip(size_t line_len, unsigned lines, size_t step, bool trims)
{
        struct access_deflate *server = access_deflate_new(), *client = access_deflate_new();
        struct buffer wire = BUFFER_INIT(1 << 22), got = BUFFER_INIT(1 << 22),
                      sent = BUFFER_INIT(1 << 22);
        char line[300];

        for (unsigned i = 0; i < lines; i++) {
                for (size_t k = 0; k < line_len; k++)
                        line[k] = (char) (rand() % (i % 2 ? 256 : 3));
                assert_int_equal(buffer_append(&sent, line, line_len), 0);
                assert_int_equal(access_deflate_write(server, span_make(line, line_len), &wire), 0);
                if (trims && i % 3 == 0)
                        access_deflate_trim(server);
                assert_int_equal(read_all(client, buffer_span(&wire), step, &got), 0);
                buffer_clear(&wire);
                if (trims && i % 5 == 0)
                        access_deflate_trim(client);
                assert_int_equal(got.len, sent.len); /* nothing is held back */
        }
        assert_memory_equal(buffer_span(&got).p, buffer_span(&sent).p, sent.len);
        buffer_done(&wire);
        buffer_done(&got);
        buffer_done(&sent);
        access_deflate_free(server);
        access_deflate_free(client);
}

TEST(what_is_written_is_read)
{
        srand(1);
        check_roundtrip(1, 50, 1, false);
        check_roundtrip(100, 200, 1, true);
        check_roundtrip(300, 1000, 7, true);
        check_roundtrip(300, 1000, 1000, false);
}

TEST(a_stream_that_swells_is_read_piece_by_piece)
{
        enum { SIZE = 2000000 };
        struct access_deflate *d = access_deflate_new(), *writer = access_deflate_new();
        struct buffer wire = BUFFER_INIT(1 << 20), got = BUFFER_INIT(4 << 20);
        char *zeros = calloc(1, SIZE);

        assert_int_equal(access_deflate_write(writer, span_make(zeros, SIZE), &wire), 0);
        assert_true(wire.len < 5000);
        assert_int_equal(read_all(d, buffer_span(&wire), wire.len, &got), 0);
        assert_int_equal(got.len, SIZE);
        free(zeros);
        buffer_done(&wire);
        buffer_done(&got);
        access_deflate_free(d);
        access_deflate_free(writer);
}

TEST(what_is_no_stream_is_refused)
{
        struct access_deflate *d = access_deflate_new();
        struct buffer got = BUFFER_INIT(1 << 20);

        assert_int_equal(read_all(d, SPAN_LITERAL("a1 NOOP\r\na2 NOOP\r\n"), 3, &got), -EBADMSG);
        access_deflate_free(d);
        d = access_deflate_new();
        /* An empty last block, and octets behind the end of the stream. */
        assert_int_equal(read_all(d, SPAN_LITERAL("\x03\x00zzz"), 5, &got), -EBADMSG);
        assert_int_equal(got.len, 0);
        access_deflate_free(d);
        buffer_done(&got);
}

TEST_MAIN()
