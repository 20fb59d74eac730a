/* The fields put end to end are the header; a summary says the same as a scan;
 * a trace field in front of any header is one field more and changes nothing
 * behind it; what is unfolded has no controls; a notification about any message
 * is of 7 bits. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "message/dsn.h"
#include "message/header.h"
#include "message/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_unfolded(struct span value)
{
        struct buffer line = BUFFER_INIT(HEADER_SIZE_MAX);

        assert(header_unfold(value, &line) == 0);
        for (size_t i = 0; i < line.len; i++)
                assert((unsigned char) line.data[i] >= 32 && line.data[i] != 127);
        buffer_done(&line);
}

static void check_scan(struct span text)
{
        struct header_scan s = HEADER_SCAN(text, HEADER_SIZE_MAX, HEADER_FIELDS_MAX);
        struct header_summary sum;
        struct header_field f;
        const char *at = text.p;
        size_t body, len = header_len(text, &body), fields = 0;
        int r;

        while ((r = header_next(&s, &f)) != 0 && r != -EMSGSIZE) {
                assert(f.raw.p == at && f.raw.len > 0);
                at += f.raw.len;
                fields++;
                if (r > 0)
                        check_unfolded(f.value);
        }
        if (r == 0)
                assert((size_t) (at - text.p) == len && s.rest.len == text.len - len);
        assert(body == len || body == len + 2);
        assert(header_summarize(text, HEADER_SIZE_MAX, HEADER_FIELDS_MAX, &sum) == r);
        assert(sum.fields == fields && sum.received <= fields);
}

static void check_trace(struct span text)
{
        const struct span part = span_first(text, 300);
        const struct trace_received t = {
                .helo_name = part, .client_name = span_skip(part, 1),
                .client_address = span_skip(part, 2), .hostname = SPAN_LITERAL("mx"),
                .protocol = SPAN_LITERAL("ESMTP"), .id = SPAN_LITERAL("1"), .rcpt_to = part,
        };
        struct buffer out = BUFFER_INIT(1 << 20);
        struct header_summary before, after;

        assert(trace_format_received(&t, &out) == 0);
        assert(buffer_append_span(&out, text) == 0);
        header_summarize(text, HEADER_SIZE_MAX, 100, &before);
        header_summarize(buffer_span(&out), HEADER_SIZE_MAX, 101, &after);
        /* A text that starts with a fold continues our field instead. */
        if (text.len && text.p[0] != ' ' && text.p[0] != '\t')
                assert(after.fields == before.fields + 1 && after.received == before.received + 1);
        buffer_done(&out);
}

static void check_dsn(struct span text)
{
        const struct dsn_recipient r = {
                .rcpt_to = span_first(text, 100), .orcpt = text, .host = text, .enhanced = text,
                .code = 550, .text = text,
        };
        const struct dsn d = {
                .action = (enum dsn_action) (1 + text.len % 5), .now_us = 1, .id = text,
                .hostname = SPAN_LITERAL("mx"), .mail_from = text, .envid = text, .recipients = &r,
                .recipient_count = 1, .original = text, .returns_full = text.len % 2,
                .language = text.len % 3 ? STATUS_ENGLISH : STATUS_JAPANESE,
        };
        struct buffer out = BUFFER_INIT(8 << 20);
        struct span rest, line;

        if (dsn_format(&d, &out) == 0) {
                assert(utf8_is_ascii(buffer_span(&out)));
                rest = buffer_span(&out);
                while (span_split(&rest, '\n', &line))
                        assert(line.len <= 999
                               && (!rest.p || (line.len && line.p[line.len - 1] == '\r')));
        }
        buffer_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span text = span_make((const char *) data, size);

        if (size > 65536)
                return 0;
        check_scan(text);
        check_trace(text);
        check_dsn(text);
        return 0;
}
