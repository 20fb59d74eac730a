/* CAPABILITY, NOOP, CHECK, LOGOUT, ID, STARTTLS, ENABLE, IDLE, COMPRESS,
 * NAMESPACE: what concerns the session alone. */
#include "wire/imap/imap_server_engine.h"

static bool has_no_arguments(struct imap_server *s, struct imap_parser *p)
{
        if (imap_parse_end(p))
                return true;
        imap_server_bad(s, "This command takes no arguments");
        return false;
}

IMAP_COMMAND_FUNCTION(capability)
{
        if (!has_no_arguments(s, p))
                return;
        imap_server_put(s, "* CAPABILITY ");
        imap_server_put_capabilities(s);
        imap_server_put(s, "\r\n");
        imap_server_ok(s);
}

IMAP_COMMAND_FUNCTION(noop)
{
        if (has_no_arguments(s, p))
                imap_server_ok(s);
}

IMAP_COMMAND_FUNCTION(check)
{
        if (has_no_arguments(s, p))
                imap_server_ok(s);
}

IMAP_COMMAND_FUNCTION(logout)
{
        if (!has_no_arguments(s, p))
                return;
        imap_server_put(s, "* BYE Logging out\r\n");
        imap_server_ok(s);
        s->reading = IMAP_READING_CLOSED;
}

/* ---- ID (RFC 2971) ----------------------------------------------------------- */

enum { ID_FIELDS_MAX = 30, ID_TEXT_MAX = 200 };

static void put_id(char *out, size_t *len, struct span value)
{
        if (*len && value.len && *len < ID_TEXT_MAX)
                out[(*len)++] = ' ';
        for (size_t i = 0; i < value.len && *len < ID_TEXT_MAX; i++) {
                const unsigned char c = (unsigned char) value.p[i];

                out[(*len)++] = c < 32 || c == 127 ? '?' : value.p[i];
        }
}

static bool parse_id(struct imap_parser *p, char *out, size_t *len)
{
        struct span name, value, version = {NULL, 0};

        if (imap_parse_word(p, SPAN_LITERAL("NIL")))
                return imap_parse_end(p);
        if (!imap_parse_char(p, '('))
                return false;
        for (unsigned i = 0; i < ID_FIELDS_MAX && imap_parse_peek(p) != ')'; i++) {
                if ((i && !imap_parse_space(p)) || !imap_parse_string(p, &name)
                    || !imap_parse_space(p) || !imap_parse_nstring(p, &value))
                        return false;
                if (span_equal_nocase(name, SPAN_LITERAL("name")))
                        put_id(out, len, value);
                else if (span_equal_nocase(name, SPAN_LITERAL("version")))
                        version = value;
        }
        put_id(out, len, version);
        return imap_parse_char(p, ')') && imap_parse_end(p);
}

static void finish_id(struct imap_server *s, struct imap_event *ev __attribute__((unused)))
{
        imap_server_ok(s);
}

IMAP_COMMAND_FUNCTION(id)
{
        char *text = arena_alloc(&s->arena, ID_TEXT_MAX + 1);
        size_t len = 0;

        if (!text || !imap_parse_space(p) || !parse_id(p, text, &len)) {
                imap_server_bad(s, "Say ID NIL or ID (\"name\" \"value\" ...)");
                return;
        }
        imap_server_put(s, "* ID (\"name\" \"Hayauma\")\r\n");
        ev->kind = IMAP_EVENT_ID;
        ev->octets = span_make(text, len);
        s->work = finish_id; /* the text lives as long as the command */
}

/* ---- STARTTLS ---------------------------------------------------------------- */

static void answered_starttls(struct imap_server *s, const struct imap_answer *a)
{
        imap_server_finish_answer(s, a);
        if (a->result == IMAP_OK)
                s->reading = IMAP_READING_HANDSHAKE;
}

IMAP_COMMAND_FUNCTION(starttls)
{
        if (!has_no_arguments(s, p))
                return;
        if (s->is_secured || !(s->options.offers & IMAP_OFFER_STARTTLS))
                imap_server_bad(s, s->is_secured ? "TLS is in use" : "TLS is not offered");
        else
                imap_server_wait(s, ev, IMAP_EVENT_STARTTLS, answered_starttls);
}

/* ---- ENABLE (RFC 5161) ------------------------------------------------------- */

static const struct {
        struct span name;
        unsigned enables;
} enables[] = {
        { SPAN("CONDSTORE"), IMAP_ENABLED_CONDSTORE },
        { SPAN("QRESYNC"), IMAP_ENABLED_QRESYNC | IMAP_ENABLED_CONDSTORE },
        { SPAN("UTF8=ACCEPT"), IMAP_ENABLED_UTF8 },
        { SPAN("IMAP4rev2"), IMAP_ENABLED_REV2 },
};

static unsigned find_enable(struct imap_server *s, struct span word, unsigned done)
{
        for (size_t i = 0; i < sizeof enables / sizeof enables[0]; i++) {
                if (!span_equal_nocase(word, enables[i].name))
                        continue;
                if ((done & enables[i].enables) != enables[i].enables) {
                        imap_server_put(s, " ");
                        imap_server_put_span(s, enables[i].name);
                }
                return enables[i].enables;
        }
        return 0; /* what is not known is passed over (section 3.1) */
}

IMAP_COMMAND_FUNCTION(enable)
{
        struct imap_parser look = *p;
        struct span word;
        unsigned done = 0, words = 0;

        while (imap_parse_space(&look) && imap_parse_atom(&look, &word))
                words++;
        if (words == 0 || !imap_parse_end(&look)) {
                imap_server_bad(s, "Say ENABLE and names of capabilities");
                return;
        }
        imap_server_put(s, "* ENABLED");
        while (imap_parse_space(p) && imap_parse_atom(p, &word))
                done |= find_enable(s, word, done | s->enabled);
        imap_server_put(s, "\r\n");
        s->enabled |= done;
        imap_server_ok(s);
}

/* ---- IDLE (RFC 2177) --------------------------------------------------------- */

IMAP_COMMAND_FUNCTION(idle)
{
        if (!has_no_arguments(s, p))
                return;
        imap_server_put(s, "+ idling\r\n");
        imap_server_sync(s, true);
        s->reading = IMAP_READING_IDLE;
        buffer_clear(&s->line);
        ev->kind = IMAP_EVENT_IDLE;
}

void imap_server_idle_line(struct imap_server *s, struct span line, struct imap_event *ev)
{
        const bool is_done = span_equal_nocase(line, SPAN_LITERAL("DONE"));

        s->reading = IMAP_READING_LINE;
        ev->kind = IMAP_EVENT_IDLE_END;
        if (is_done)
                imap_server_ok(s);
        else
                imap_server_bad(s, "IDLE ends with DONE");
}

/* ---- COMPRESS (RFC 4978) ----------------------------------------------------- */

static void answered_compress(struct imap_server *s, const struct imap_answer *a)
{
        s->is_compressed = a->result == IMAP_OK;
        imap_server_finish_answer(s, a);
}

IMAP_COMMAND_FUNCTION(compress)
{
        struct span mechanism;

        if (!imap_parse_space(p) || !imap_parse_atom(p, &mechanism) || !imap_parse_end(p)
            || !span_equal_nocase(mechanism, SPAN_LITERAL("DEFLATE")))
                imap_server_bad(s, "Say COMPRESS DEFLATE");
        else if (s->is_compressed)
                imap_server_no(s, "COMPRESSIONACTIVE", "Compression is in use");
        else if (!(s->options.offers & IMAP_OFFER_COMPRESS))
                imap_server_no(s, NULL, "Compression is not offered");
        else
                imap_server_wait(s, ev, IMAP_EVENT_COMPRESS, answered_compress);
}

IMAP_COMMAND_FUNCTION(namespace)
{
        if (!has_no_arguments(s, p))
                return;
        imap_server_put(s, "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
        imap_server_ok(s);
}
