#include "message/dsn.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "message/dsn_text.h"
#include "message/header.h"
#include "message/transfer_encoding.h"
#include "message/xtext.h"

enum {
        LINE_MAX = 998,       /* RFC 5322 section 2.1.1 */
        FIELD_COLUMNS = 78,
        VALUE_MAX = 2000,     /* octets of one field's value; more are cut */
        DECODED_MAX = 4096,   /* arena for one xtext */
        TEXT_PART_MAX = 512 * 1024,
        ID_CLEAN_MAX = 32,
        BOUNDARY_MAX = 64,
};

struct writer {
        const struct dsn *d;
        struct buffer *out;
        int failed;
        char boundary[BOUNDARY_MAX];
        char id[ID_CLEAN_MAX + 1];
};

static void add(struct writer *w, struct span s)
{
        if (w->failed == 0)
                w->failed = buffer_append_span(w->out, s);
}

static void add_string(struct writer *w, const char *s)
{
        add(w, span_from_string(s));
}

/* One octet of a value as it may stand in a field. */
static char clean(char c, bool is_utf8)
{
        const unsigned char u = (unsigned char) c;

        if (u < 32 || u == 127)
                return ' ';
        return u > 127 && !is_utf8 ? '?' : c;
}

/* "name: prefix value", folded at blanks where it is long. */
static void add_field(struct writer *w, const char *name, const char *prefix, struct span value)
{
        const bool is_utf8 = w->d->is_smtputf8 && utf8_is_valid(value);
        size_t column = strlen(name) + 2 + strlen(prefix);
        struct span word;

        value = span_first(value, utf8_cut(value, VALUE_MAX));
        add_string(w, name);
        add_string(w, ": ");
        add_string(w, prefix);
        for (bool is_first = true; span_split(&value, ' ', &word); is_first = false) {
                if (!is_first && column + 1 + word.len > FIELD_COLUMNS && word.len) {
                        add_string(w, "\r\n ");
                        column = 1;
                } else if (!is_first) {
                        add_string(w, " ");
                        column++;
                }
                for (size_t i = 0; i < word.len; i++) {
                        const char c = clean(word.p[i], is_utf8);

                        add(w, span_make(&c, 1));
                        /* A word without an end is broken rather than the line limit. */
                        if (++column % (LINE_MAX - 100) == 0)
                                add_string(w, "\r\n ");
                }
        }
        add_string(w, "\r\n");
}

static void add_date_field(struct writer *w, const char *name, uint64_t at_us)
{
        char date[CLOCK_DATE_MAX];

        if (at_us)
                add_field(w, name, "", span_from_string(clock_format_date(at_us, date)));
}

/* "type; address". Octets above 127 as they are under SMTPUTF8, else as the
 * "\x{…}" of RFC 6533 section 3, whose type is utf-8 both times. */
static void add_address_field(struct writer *w, const char *name, struct span type,
                              struct span text)
{
        char value[VALUE_MAX], prefix[80];
        const bool is_ascii = utf8_is_ascii(text);
        size_t len = 0;

        snprintf(prefix, sizeof prefix, "%.*s; ", (int) span_first(type, 60).len, type.p);
        if (is_ascii || w->d->is_smtputf8 || !utf8_is_valid(text)) {
                add_field(w, name, is_ascii ? prefix : "utf-8; ", text);
                return;
        }
        for (size_t i = 0; i < text.len && len + 12 < sizeof value;) {
                const unsigned char c = (unsigned char) text.p[i];
                unsigned point = c;
                size_t n = 1;

                if (c > 127) {
                        n = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
                        point = c & (0x7fu >> n);
                        for (size_t k = 1; k < n; k++)
                                point = point << 6 | ((unsigned char) text.p[i + k] & 0x3f);
                }
                if (n == 1)
                        value[len++] = (char) c;
                else
                        len += (size_t) snprintf(value + len, 12, "\\x{%X}", point);
                i += n;
        }
        add_field(w, name, "utf-8; ", span_make(value, len));
}

/* ORCPT as it came: "type;xtext" (RFC 3461 section 5.2.3). The text of type
 * utf-8 is not xtext as a whole and goes on as it is. */
static void add_original_recipient(struct writer *w, struct span orcpt)
{
        struct arena arena = ARENA_INIT(DECODED_MAX);
        struct span text = orcpt, type, decoded;

        if (orcpt.len == 0 || !span_split(&text, ';', &type) || text.len == 0
            || !utf8_is_ascii(type))
                return;
        for (size_t i = 0; i < type.len; i++)
                if (type.p[i] <= 32 || type.p[i] == 127)
                        return;
        decoded = xtext_decode(text, &arena);
        if (!decoded.p || span_equal_nocase(type, SPAN_LITERAL("utf-8")))
                decoded = text;
        add_address_field(w, "Original-Recipient", type, decoded);
        arena_done(&arena);
}

static void add_part(struct writer *w, const char *type, const char *encoding)
{
        add_string(w, "\r\n--");
        add_string(w, w->boundary);
        add_string(w, "\r\nContent-Type: ");
        add_string(w, type);
        if (encoding) {
                add_string(w, "\r\nContent-Transfer-Encoding: ");
                add_string(w, encoding);
        }
        add_string(w, "\r\n\r\n");
}

/* The words for people. ASCII goes as it is, so that it can be read anywhere. */
static void add_text_part(struct writer *w)
{
        struct buffer text = BUFFER_INIT(TEXT_PART_MAX);
        const int r = dsn_text_format(w->d, &text);

        if (w->failed == 0)
                w->failed = r;
        if (utf8_is_ascii(buffer_span(&text))) {
                add_part(w, "text/plain; charset=us-ascii", NULL);
                add(w, buffer_span(&text));
        } else {
                add_part(w, "text/plain; charset=utf-8", "base64");
                if (w->failed == 0)
                        w->failed = transfer_encode_base64(buffer_span(&text), w->out);
        }
        buffer_done(&text);
}

/* The reply as one line: "550 5.1.1 No such user". */
static void add_diagnostic(struct writer *w, const struct dsn_recipient *r)
{
        char value[VALUE_MAX], head[32];
        const struct span text = span_first(r->text, VALUE_MAX - sizeof head);
        size_t len = 0;

        if (text.len == 0 && r->code == 0)
                return;
        if (r->code)
                len = (size_t) snprintf(head, sizeof head, "%u%s%.*s%s", r->code % 1000u,
                                        r->enhanced.len ? " " : "",
                                        (int) span_first(r->enhanced, 12).len, r->enhanced.p,
                                        text.len ? " " : "");
        memcpy(value, head, len);
        if (text.len)
                memcpy(value + len, text.p, text.len);
        add_field(w, "Diagnostic-Code", r->code ? "smtp; " : "x-hayauma; ",
                  span_make(value, len + text.len));
}

static void add_recipient(struct writer *w, const struct dsn_recipient *r)
{
        char status[STATUS_CODE_TEXT_MAX];
        struct span host = r->host;

        add_string(w, "\r\n");
        add_original_recipient(w, r->orcpt);
        add_address_field(w, "Final-Recipient", SPAN_LITERAL("rfc822"), r->rcpt_to);
        add_field(w, "Action", "", span_from_string(dsn_action_name(w->d->action)));
        add_field(w, "Status", "",
                  span_from_string(status_code_format(dsn_text_status(w->d, r), status)));
        /* Where nobody answered there is no MTA that could have reported. */
        if (r->code && host.len) {
                host = span_first(host, span_find(host, ' '));
                add_field(w, "Remote-MTA", "dns; ", host);
        }
        add_diagnostic(w, r);
        if (w->d->action != DSN_EXPANDED)
                add_date_field(w, "Last-Attempt-Date", w->d->now_us);
        if (w->d->action == DSN_DELAYED)
                add_date_field(w, "Will-Retry-Until", w->d->retry_until_us);
}

static void add_status_part(struct writer *w)
{
        struct arena arena = ARENA_INIT(DECODED_MAX);
        const struct span envid = xtext_decode(w->d->envid, &arena);

        if (w->d->is_smtputf8)
                add_part(w, "message/global-delivery-status", "8bit");
        else
                add_part(w, "message/delivery-status", NULL);
        if (envid.len)
                add_field(w, "Original-Envelope-Id", "", envid);
        add_field(w, "Reporting-MTA", "dns; ", w->d->hostname);
        if (w->d->message_id.len)
                add_field(w, "X-Hayauma-Message-Id", "", w->d->message_id);
        add_date_field(w, "Arrival-Date", w->d->arrived_us);
        for (size_t i = 0; i < w->d->recipient_count; i++)
                add_recipient(w, &w->d->recipients[i]);
        arena_done(&arena);
}

/* Fit to be sent as 7bit or 8bit: lines of at most 998 octets that end with
 * CRLF, and no NUL (RFC 2045 section 2.7). */
static bool has_plain_lines(struct span text)
{
        struct span line;

        if (text.len && memchr(text.p, '\0', text.len))
                return false;
        while (span_split(&text, '\n', &line)) {
                const bool is_last = !text.p;

                if (line.len > LINE_MAX + 1)
                        return false;
                if (!is_last && (!line.len || line.p[line.len - 1] != '\r'))
                        return false;
                if (memchr(line.p, '\r', line.len - (is_last ? 0 : 1)))
                        return false;
        }
        return true;
}

/* What of the original is returned, and how. */
struct returned {
        struct span text;
        const char *type, *encoding; /* encoding NULL: 7bit */
        bool is_8bit;
};

static struct returned choose_returned(const struct dsn *d)
{
        struct returned r = {.text = d->original};
        const size_t header = header_len(d->original, NULL);
        const bool is_header_ascii = utf8_is_ascii(span_first(d->original, header));
        const bool is_ascii = utf8_is_ascii(d->original);

        if (d->returns_full && !d->is_original_cut && has_plain_lines(d->original)
            && (is_ascii || d->may_be_8bit || d->is_smtputf8)
            && (is_header_ascii || d->is_smtputf8)) {
                r.type = is_header_ascii ? "message/rfc822" : "message/global";
                r.is_8bit = !is_ascii;
        } else {
                r.text.len = header;
                r.type = "text/rfc822-headers";
                if (!is_header_ascii && d->is_smtputf8 && has_plain_lines(r.text)) {
                        r.type = "message/global-headers";
                        r.is_8bit = true;
                } else if (!is_header_ascii || !has_plain_lines(r.text)) {
                        r.encoding = "quoted-printable"; /* RFC 6522 section 4 */
                }
        }
        if (r.is_8bit)
                r.encoding = "8bit";
        return r;
}

static void add_returned_part(struct writer *w, const struct returned *r)
{
        add_part(w, r->type, r->encoding);
        if (r->encoding && r->encoding[0] == 'q') {
                if (w->failed == 0)
                        w->failed = transfer_encode_quoted(r->text, w->out);
                return;
        }
        add(w, r->text);
        if (r->text.len && r->text.p[r->text.len - 1] != '\n')
                add_string(w, "\r\n");
}

static void clean_id(struct writer *w)
{
        size_t len = 0;

        for (size_t i = 0; i < w->d->id.len && len < ID_CLEAN_MAX; i++) {
                const char c = ascii_lower(w->d->id.p[i]);

                if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
                        w->id[len++] = c;
        }
        w->id[len] = '\0';
}

/* Starts with "=_", which neither base64 nor quoted-printable can; and is not
 * in the original. */
static void choose_boundary(struct writer *w)
{
        const struct span original = w->d->original;
        unsigned n = 0;
        int size;

        do
                size = snprintf(w->boundary, sizeof w->boundary, "=_%s_%u", w->id, n++);
        while (original.len && memmem(original.p, original.len, w->boundary, (size_t) size));
}

static void add_header(struct writer *w, const struct returned *r)
{
        struct header_summary original;
        struct span message_id;
        char head[160];

        add_string(w, "From: Mail Delivery System <MAILER-DAEMON@");
        add(w, w->d->hostname);
        add_string(w, ">\r\n");
        add_field(w, "To", "<", w->d->mail_from);
        /* add_field() ended the line: the bracket goes in front of that. */
        if (w->failed == 0) {
                w->out->len -= 2;
                add_string(w, ">\r\n");
        }
        add_string(w, "Subject: ");
        if (w->failed == 0)
                w->failed = transfer_encode_words(span_from_string(dsn_text_subject(w->d)), w->out);
        add_string(w, "\r\n");
        add_date_field(w, "Date", w->d->now_us);
        snprintf(head, sizeof head, "Message-ID: <%s.dsn@", w->id);
        add_string(w, head);
        add(w, w->d->hostname);
        add_string(w, ">\r\n");
        header_summarize(w->d->original, HEADER_SIZE_MAX, HEADER_FIELDS_MAX, &original);
        message_id = header_message_id(&original);
        if (message_id.len && message_id.len < 500 && utf8_is_ascii(message_id))
                add_field(w, "References", "", message_id);
        /* RFC 3834 section 5.1: nothing automatic is to answer this. */
        add_string(w, "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
                      "Content-Type: multipart/report; report-type=");
        add_string(w, w->d->is_smtputf8 ? "global-delivery-status" : "delivery-status");
        add_string(w, ";\r\n boundary=\"");
        add_string(w, w->boundary);
        add_string(w, "\"\r\n");
        if (w->d->is_smtputf8 || r->is_8bit)
                add_string(w, "Content-Transfer-Encoding: 8bit\r\n");
        add_string(w, "\r\nThis is a notification in MIME format.\r\n");
}

int dsn_format(const struct dsn *d, struct buffer *out)
{
        const struct returned returned = choose_returned(d);
        struct writer w = {.d = d, .out = out};
        const size_t before = out->len;

        clean_id(&w);
        choose_boundary(&w);
        add_header(&w, &returned);
        add_text_part(&w);
        add_status_part(&w);
        add_returned_part(&w, &returned);
        add_string(&w, "\r\n--");
        add_string(&w, w.boundary);
        add_string(&w, "--\r\n");
        if (w.failed < 0)
                out->len = before;
        return w.failed;
}

const char *dsn_action_name(enum dsn_action action)
{
        switch (action) {
        case DSN_FAILED:
                return "failed";
        case DSN_DELAYED:
                return "delayed";
        case DSN_DELIVERED:
                return "delivered";
        case DSN_RELAYED:
                return "relayed";
        case DSN_EXPANDED:
                return "expanded";
        }
        return "failed";
}
