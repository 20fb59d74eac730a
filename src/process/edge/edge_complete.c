#include "process/edge/edge_complete.h"

#include "base/clock.h"
#include "base/id.h"

/* In sendmail's words. */
static int warn(const struct edge_complete *c, struct buffer *out)
{
        return buffer_printf(out, "X-Authentication-Warning: %.*s: %.*s set sender to\r\n"
                             "\t%s%.*s using -f\r\n", (int) c->hostname.len, c->hostname.p,
                             (int) c->set_by.len, c->set_by.p, c->mail_from.len ? "" : "<>",
                             (int) (c->mail_from.len < 900 ? c->mail_from.len : 0), c->mail_from.p);
}

int edge_complete(const struct edge_complete *c, const struct header_summary *summary,
                  struct buffer *out, struct span *ret_id)
{
        char id[ID_TEXT_LEN + 1], date[CLOCK_DATE_MAX];
        size_t at;
        int r = 0;

        *ret_id = (struct span) {0};
        if (c->set_by.len)
                r = warn(c, out);
        if (r == 0 && !summary->values[HEADER_DATE].p)
                r = buffer_printf(out, "Date: %s\r\n", clock_format_date(c->arrived_us, date));
        /* Beyond ASCII, or a whole line long, it would be no field of a header. */
        if (r == 0 && !summary->values[HEADER_FROM].p && c->mail_from.len && c->mail_from.len < 900)
                r = buffer_printf(out, "From: <%.*s>\r\n", (int) c->mail_from.len,
                                  c->mail_from.p);
        if (r < 0 || summary->values[HEADER_MESSAGE_ID].p)
                return r;
        r = buffer_append_string(out, "Message-ID: ");
        at = out->len;
        if (r == 0)
                r = buffer_printf(out, "<%s@%.*s>", id_format(c->message_id, id),
                                  (int) c->hostname.len, c->hostname.p);
        if (r < 0)
                return r;
        *ret_id = (struct span) {NULL, out->len - at};
        r = buffer_append_string(out, "\r\n");
        ret_id->p = buffer_span(out).p + at;
        return r;
}
