#include "config/import_mc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { ARGS_MAX = 9, LIST_MAX = 64, ITEM_LEN_MAX = 255 };

struct list {
        struct span items[LIST_MAX];
        size_t count;
};

struct mc {
        struct span rest;
        struct buffer notes; /* comments on what has no counterpart */
        int error;
        struct span host, domain, full_name; /* $w, $m, $j */
        struct span smart_host, local_relay, fallback_mx, masquerade_as;
        struct span mailertable, access, aliases, virtusertable, genericstable;
        struct span certificate, key, ca, message_size, recipients, hops, lifetime, warn_after;
        struct list domains, relay_domains, masquerade_domains, exposed_users, listen;
        bool is_limited, is_envelope, is_entire, adds_domain, is_lenient;
        struct buffer lists; /* sections dnsbl */
};

/* A macro that was called, and its arguments without their quotes. */
struct call {
        struct span name;
        struct span args[ARGS_MAX];
        size_t count;
};

/* ---- notes ---- */

static bool is_plain(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] < ' ' || s.p[i] == 127)
                        return false;
        return true;
}

static void keep_error(struct mc *m, int r)
{
        if (r < 0 && m->error == 0)
                m->error = r;
}

static void note(struct mc *m, const struct call *c, const char *text)
{
        const struct span arg = c->count && is_plain(c->args[0]) ? c->args[0]
                                                                 : (struct span) {"", 0};

        keep_error(m, buffer_printf(&m->notes, "# %.*s(%.*s): %s\n", (int) c->name.len, c->name.p,
                                    (int) (arg.len < 80 ? arg.len : 80), arg.p, text));
}

/* ---- values ---- */

/* What can stand in a string of hayauma.conf without any escape. */
static bool is_value(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if ((unsigned char) s.p[i] <= ' ' || s.p[i] == '"' || s.p[i] == '\\' ||
                    s.p[i] == '$' || (unsigned char) s.p[i] >= 127)
                        return false;
        return s.len > 0 && s.len <= ITEM_LEN_MAX;
}

static void set(struct mc *m, const struct call *c, struct span value, struct span *field)
{
        value = span_trim(value);
        if (is_value(value))
                *field = value;
        else
                note(m, c, "the value could not be understood");
}

static void add(struct mc *m, const struct call *c, struct span value, struct list *list)
{
        for (size_t i = 0; i < list->count; i++)
                if (span_equal_nocase(list->items[i], value))
                        return;
        if (list->count == LIST_MAX || !is_value(value))
                note(m, c, "the value could not be understood, or there are too many");
        else
                list->items[list->count++] = value;
}

/* Words with blanks or commas between them. */
static void add_words(struct mc *m, const struct call *c, struct list *list)
{
        for (size_t k = 0; k < c->count; k++) {
                struct span rest = c->args[k];

                while (rest.len) {
                        size_t i = 0;

                        while (i < rest.len && !strchr(" \t\n,", rest.p[i]))
                                i++;
                        if (i)
                                add(m, c, span_first(rest, i), list);
                        rest = span_skip(rest, i + 1);
                }
        }
}

/* "hash -o /etc/mail/mailertable.db" names a text beside its database. */
static void set_table(struct mc *m, const struct call *c, const char *usual, struct span *field)
{
        struct span path = c->count > 1 ? span_trim(c->args[1]) : (struct span) {NULL, 0};
        const size_t blank = span_find_last(path, ' ');

        if (blank != SIZE_MAX)
                path = span_skip(path, blank + 1);
        if (span_ends_with_nocase(path, SPAN_LITERAL(".db")))
                path.len -= 3;
        if (path.len == 0 || path.p[0] != '/')
                path = span_from_string(usual);
        set(m, c, path, field);
}

/* ---- macros ---- */

#define OFFSET(field) offsetof(struct mc, field)

static const struct feature {
        const char *name;
        const char *table; /* its usual path, and where it is kept */
        size_t offset;     /* of that, or of a bool that becomes true */
        const char *note;  /* NULL: nothing need be said */
} features[] = {
        { "mailertable", "/etc/mail/mailertable", OFFSET(mailertable), NULL },
        { "access_db", "/etc/mail/access", OFFSET(access), NULL },
        { "virtusertable", "/etc/mail/virtusertable", OFFSET(virtusertable), NULL },
        { "genericstable", "/etc/mail/genericstable", OFFSET(genericstable), NULL },
        { "limited_masquerade", NULL, OFFSET(is_limited), NULL },
        { "masquerade_envelope", NULL, OFFSET(is_envelope), NULL },
        { "masquerade_entire_domain", NULL, OFFSET(is_entire), NULL },
        { "always_add_domain", NULL, OFFSET(adds_domain), NULL },
        { "nocanonify", NULL, 0, "addresses are never looked up to rewrite them" },
        { "blacklist_recipients", NULL, 0, "the access table always speaks of recipients too" },
        { "blocklist_recipients", NULL, 0, "the access table always speaks of recipients too" },
        { "delay_checks", NULL, 0, "clients and senders are always refused at RCPT" },
        { "accept_unresolvable_domains", NULL, OFFSET(is_lenient), NULL },
        { "accept_unqualified_senders", NULL, 0, "a bare sender is a local user's only" },
        { "use_cw_file", NULL, 0, "put the names of /etc/mail/local-host-names into domains" },
        { "use_ct_file", NULL, 0, "there are no trusted users: nothing is written about senders" },
        { "relay_entire_domain", NULL, 0, "name the domain's networks in relay_networks" },
        { "relay_mail_from", NULL, 0, "a sender alone never lets anybody relay: see "
                                      "relay_mail_from, which narrows relay_networks" },
        { "promiscuous_relay", NULL, 0, "there is no open relay; name relay_networks" },
        { "redirect", NULL, 0, "write error:551 5.1.6 text into the virtusertable" },
        { "smrsh", NULL, 0, "programs are run without a shell, as the owner of the alias" },
        { "local_procmail", NULL, 0, "mailboxes are kept by hayauma itself" },
        { "local_lmtp", NULL, 0, "mailboxes are kept by hayauma itself" },
        { "no_default_msa", NULL, 0, "what is not in listen is not served" },
        { "msp", NULL, 0, "`hayauma send` and its link sendmail hand mail to the running server" },
        { "greet_pause", NULL, 0, "see smtp.greet_delay" },
        { "conncontrol", NULL, 0, "see limits.connections_per_client" },
        { "ratecontrol", NULL, 0, "see limits.messages_per_minute" },
        { "nouucp", NULL, 0, "UUCP addresses are never routed" },
        { "badmx", NULL, 0, "see accept_unresolvable_domains" },
};

/* "550 Rejected: $&{client_addr} is bad" as a message of ours. As sendmail's own
 * files write it, the words stand in double quotes, with blanks between them and
 * the macro, whose "$" has m4's quotes behind it. False: it holds what no string
 * of hayauma.conf has, or another macro. */
static bool put_message(struct span text, struct buffer *out)
{
        static const struct span macros[] = {SPAN("$&{client_addr}"), SPAN("$`'&{client_addr}")};
        const bool has_quotes = text.len && text.p[0] == '"';
        bool is_quoted = false;

        for (size_t i = 0; i < text.len; i++) {
                const struct span here = span_skip(text, i);
                const struct span macro = macros[span_starts_with_nocase(here, macros[1])];
                const char c = text.p[i];

                if (span_starts_with_nocase(here, macro)) {
                        if (buffer_append_string(out, "%a") < 0)
                                return false;
                        i += macro.len - 1;
                } else if (has_quotes && c == '"') {
                        is_quoted = !is_quoted;
                } else if (has_quotes && !is_quoted && c == ' ') {
                        continue;
                } else if (strchr("\"\\$%", c) || (unsigned char) c < ' ' ||
                           (unsigned char) c > 126 || buffer_append(out, &c, 1) < 0) {
                        return false;
                }
        }
        return true;
}

static bool is_answer(struct span s)
{
        for (size_t i = 0; i < s.len; i++)
                if (s.p[i] != '.' && (s.p[i] < '0' || s.p[i] > '9'))
                        return false;
        return s.len > 0;
}

/* The tutorial has a text for people among them. */
static void put_answers(struct mc *m, const struct call *c)
{
        bool is_first = true;

        for (size_t i = 4; i < c->count; i++) {
                const struct span answer = span_trim(c->args[i]);

                if (!is_answer(answer)) {
                        note(m, c, "one of the answers is no address: is it the message?");
                        continue;
                }
                keep_error(m, buffer_printf(&m->lists, "%s\"%.*s\"",
                                            is_first ? "        answers = { " : ", ",
                                            (int) answer.len, answer.p));
                is_first = false;
        }
        if (!is_first)
                keep_error(m, buffer_append_string(&m->lists, " }\n"));
}

/* "550 " in front of a message: the code is not ours to say. */
static void drop_code(struct mc *m, const struct call *c, struct buffer *message)
{
        const struct span text = buffer_span(message);
        bool has_code = text.len > 4 && text.p[3] == ' ';

        for (size_t i = 0; has_code && i < 3; i++)
                has_code = text.p[i] >= '0' && text.p[i] <= '9';
        if (!has_code)
                return;
        if (text.p[0] == '4')
                note(m, c, "who is listed is refused for good, with 550");
        buffer_consume(message, 4);
}

/* FEATURE(dnsbl, zone, message, t) and FEATURE(enhdnsbl, zone, message, t, answers). */
static void take_list(struct mc *m, const struct call *c)
{
        const struct span zone = c->count > 1 ? span_trim(c->args[1]) : (struct span) {"", 0};
        struct buffer message = BUFFER_INIT(200);

        if (!is_value(zone)) {
                note(m, c, zone.len ? "the value could not be understood"
                                    : "the list that it meant in 2001 is gone: name one");
                return;
        }
        keep_error(m, buffer_printf(&m->lists, "dnsbl \"%.*s\" {\n", (int) zone.len, zone.p));
        put_answers(m, c);
        if (c->count > 2 && c->args[2].len && !put_message(c->args[2], &message)) {
                note(m, c, "the message could not be understood");
                buffer_clear(&message);
        }
        drop_code(m, c, &message);
        if (message.len)
                keep_error(m, buffer_printf(&m->lists, "        message = \"%.*s\"\n",
                                            (int) message.len, buffer_span(&message).p));
        if (c->count > 3 && span_equal(span_trim(c->args[3]), SPAN_LITERAL("t")))
                keep_error(m, buffer_append_string(&m->lists,
                                                   "        on_outage = \"tempfail\"\n"));
        keep_error(m, buffer_append_string(&m->lists, "}\n"));
        buffer_done(&message);
}

/* FEATURE(nullclient, hub): a machine without mail of its own. */
static void take_null_client(struct mc *m, const struct call *c)
{
        note(m, c, "all mail goes to the smart host, also for local users; see masquerade.as");
        if (c->count > 1)
                set(m, c, c->args[1], &m->smart_host);
        m->local_relay = m->smart_host;
}

static void take_feature(struct mc *m, const struct call *c)
{
        if (span_equal(c->args[0], SPAN_LITERAL("nullclient"))) {
                take_null_client(m, c);
                return;
        }
        if (span_equal(c->args[0], SPAN_LITERAL("dnsbl")) ||
            span_equal(c->args[0], SPAN_LITERAL("enhdnsbl"))) {
                take_list(m, c);
                return;
        }
        for (size_t i = 0; i < sizeof features / sizeof features[0]; i++) {
                const struct feature *f = &features[i];
                char *field = (char *) m + f->offset;

                if (!span_equal(c->args[0], span_from_string(f->name)))
                        continue;
                if (f->table)
                        set_table(m, c, f->table, (struct span *) (void *) field);
                else if (f->note)
                        note(m, c, f->note);
                else
                        *(bool *) field = true;
                return;
        }
        note(m, c, "has no counterpart");
}

static const struct {
        const char *name;
        size_t offset;
} defines[] = {
        { "SMART_HOST", OFFSET(smart_host) },       { "LOCAL_RELAY", OFFSET(local_relay) },
        { "confFALLBACK_MX", OFFSET(fallback_mx) }, { "ALIAS_FILE", OFFSET(aliases) },
        { "confFALLBACK_SMARTHOST", OFFSET(fallback_mx) },
        { "confDOMAIN_NAME", OFFSET(full_name) },   { "confSERVER_CERT", OFFSET(certificate) },
        { "confSERVER_KEY", OFFSET(key) },          { "confCACERT", OFFSET(ca) },
        { "confMAX_MESSAGE_SIZE", OFFSET(message_size) },
        { "confMAX_RCPTS_PER_MESSAGE", OFFSET(recipients) },
        { "confMAX_HOP", OFFSET(hops) },            { "confTO_QUEUERETURN", OFFSET(lifetime) },
        { "confTO_QUEUEWARN", OFFSET(warn_after) },
};

/* Where another option does what a definition did. */
static const struct {
        const char *name, *note;
} known_defines[] = {
        { "confPRIVACY_FLAGS", "see smtp.vrfy, smtp.expn and smtp.etrn" },
        { "confCONNECTION_RATE_THROTTLE", "see limits.connections and limits.messages_per_minute" },
        { "confCONNECTION_RATE_WINDOW_SIZE", "rates are of a minute" },
        { "confBAD_RCPT_THROTTLE", "see limits.errors and limits.errors_per_minute" },
        { "confMIN_QUEUE_AGE", "see queue.retry_min" },
        { "confDEF_USER_ID", "see agent.user" },
        { "confFORWARD_PATH", "see agent.forward" },
        { "confTRUSTED_USERS", "there are no trusted users" },
        { "confTRUSTED_USER", "there are no trusted users" },
        { "confHOST_STATUS_DIRECTORY", "the state of each destination is kept in memory" },
        { "_USE_ETC_MAIL_", "tables may lie anywhere" },
};

static void note_define(struct mc *m, const struct call *c)
{
        for (size_t i = 0; i < sizeof known_defines / sizeof known_defines[0]; i++)
                if (span_equal(c->args[0], span_from_string(known_defines[i].name))) {
                        note(m, c, known_defines[i].note);
                        return;
                }
        note(m, c, "has no counterpart");
}

static bool is_path(const struct span *field, const struct mc *m)
{
        return field == &m->certificate || field == &m->key || field == &m->ca ||
               field == &m->aliases;
}

static void take_define(struct mc *m, const struct call *c)
{
        for (size_t i = 0; c->count > 1 && i < sizeof defines / sizeof defines[0]; i++) {
                struct span *field = (struct span *) (void *) ((char *) m + defines[i].offset);

                if (!span_equal(c->args[0], span_from_string(defines[i].name)))
                        continue;
                if (field == &m->full_name)
                        *field = span_trim(c->args[1]); /* has $w and $m */
                else if (is_path(field, m) && c->args[1].len && c->args[1].p[0] != '/')
                        note(m, c, "is no path: what macros are in it was not looked up");
                else
                        set(m, c, c->args[1], field);
                return;
        }
        note_define(m, c);
}

/* "Port=smtp,Addr=127.0.0.1, Name=MTA, Family=inet6" */
static void take_daemon(struct mc *m, const struct call *c)
{
        struct span host = SPAN("*"), port = SPAN("25"), scheme = SPAN("smtp"), word;
        struct buffer b = BUFFER_INIT(ITEM_LEN_MAX);

        for (size_t k = 0; k < c->count; k++) {
                struct span rest = c->args[k];

                while (rest.len && span_split(&rest, ',', &word)) {
                        const struct span value = span_trim(span_skip(word,
                                                                      span_find(word, '=') + 1));

                        word = span_trim(word);
                        if (span_starts_with_nocase(word, SPAN_LITERAL("Port=")))
                                port = value;
                        else if (span_starts_with_nocase(word, SPAN_LITERAL("Addr=")))
                                host = value;
                        else if (span_equal_nocase(word, SPAN_LITERAL("Family=inet6")) &&
                                 span_equal(host, SPAN_LITERAL("*")))
                                host = SPAN_LITERAL("::");
                }
        }
        if (span_equal_nocase(port, SPAN_LITERAL("smtp")))
                port = SPAN_LITERAL("25");
        if (span_equal_nocase(port, SPAN_LITERAL("submission")) ||
            span_equal(port, SPAN_LITERAL("587"))) {
                port = SPAN_LITERAL("587");
                scheme = SPAN_LITERAL("submission");
        }
        if (span_starts_with_nocase(host, SPAN_LITERAL("IPv6:")))
                host = span_skip(host, 5);
        if (!is_value(host) || !is_value(port) || m->listen.count == LIST_MAX) {
                note(m, c, "the value could not be understood");
        } else {
                const bool is_v6 = span_find(host, ':') != SIZE_MAX;

                keep_error(m, buffer_printf(&b, "%.*s://%s%.*s%s:%.*s", (int) scheme.len, scheme.p,
                                            is_v6 ? "[" : "", (int) host.len, host.p,
                                            is_v6 ? "]" : "", (int) port.len, port.p));
                m->listen.items[m->listen.count].p = strndup(buffer_span(&b).p, b.len);
                m->listen.items[m->listen.count].len = b.len;
                if (m->listen.items[m->listen.count].p)
                        m->listen.count++;
                else
                        keep_error(m, -ENOMEM);
        }
        buffer_done(&b);
}

static void take_mailer(struct mc *m, const struct call *c)
{
        if (!span_equal(c->args[0], SPAN_LITERAL("local")) &&
            !span_equal(c->args[0], SPAN_LITERAL("smtp")))
                note(m, c, "has no counterpart");
}

static void take_masquerade(struct mc *m, const struct call *c)
{
        set(m, c, c->args[0], &m->masquerade_as);
}

static void take_masquerade_domain(struct mc *m, const struct call *c)
{
        add_words(m, c, &m->masquerade_domains);
}

static void take_exposed(struct mc *m, const struct call *c)
{
        add_words(m, c, &m->exposed_users);
}

static void take_domain(struct mc *m, const struct call *c)
{
        add_words(m, c, &m->domains);
}

static void take_relay_domain(struct mc *m, const struct call *c)
{
        add_words(m, c, &m->relay_domains);
}

static void take_generics(struct mc *m, const struct call *c)
{
        note(m, c, "the genericstable speaks of our own domains and of masquerade.domains");
}

static void take_nothing(struct mc *m, const struct call *c)
{
        (void) m;
        (void) c;
}

static const struct {
        const char *name;
        void (*take)(struct mc *m, const struct call *c);
} macros[] = {
        { "FEATURE", take_feature },             { "define", take_define },
        { "MAILER", take_mailer },               { "MASQUERADE_AS", take_masquerade },
        { "MASQUERADE_DOMAIN", take_masquerade_domain },
        { "EXPOSED_USER", take_exposed },        { "LOCAL_DOMAIN", take_domain },
        { "VIRTUSER_DOMAIN", take_domain },      { "RELAY_DOMAIN", take_relay_domain },
        { "GENERICS_DOMAIN", take_generics },    { "DAEMON_OPTIONS", take_daemon },
        { "VERSIONID", take_nothing },           { "OSTYPE", take_nothing },
        { "DOMAIN", take_nothing },              { "divert", take_nothing },
        { "include", take_nothing },             { "changequote", take_nothing },
};

static void take_call(struct mc *m, const struct call *c)
{
        for (size_t i = 0; i < sizeof macros / sizeof macros[0]; i++) {
                if (!span_equal(c->name, span_from_string(macros[i].name)))
                        continue;
                if (c->count)
                        macros[i].take(m, c);
                return;
        }
        note(m, c, "has no counterpart");
}

/* ---- m4 ---- */

static bool is_word(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_';
}

/* Octets of a quote that opens here, or 0. */
static size_t opens(struct span s)
{
        if (s.len && s.p[0] == '`')
                return 1;
        return span_starts_with_nocase(s, SPAN_LITERAL("\xe2\x80\x98")) ? 3 : 0;
}

/* One that closes: papers also print the opening one there. */
static size_t closes(struct span s)
{
        if (s.len && s.p[0] == '\'')
                return 1;
        if (span_starts_with_nocase(s, SPAN_LITERAL("\xe2\x80\x99")))
                return 3;
        return span_starts_with_nocase(s, SPAN_LITERAL("\xe2\x80\x98")) ? 3 : 0;
}

/* Where the quote that was opened in front of `i` closes: m4's nest. */
static size_t end_of_quote(struct span s, size_t i)
{
        unsigned depth = 0;

        for (; i < s.len; i++) {
                if (s.p[i] == '`')
                        depth++;
                else if (closes(span_skip(s, i)) && depth-- == 0)
                        break;
        }
        return i;
}

/* Quotes around what was in quotes already. */
static struct span without_quotes(struct span s)
{
        while (s.len > 1 && s.p[0] == '`' && s.p[s.len - 1] == '\'' &&
               end_of_quote(s, 1) == s.len - 1)
                s = span_trim(span_skip(span_first(s, s.len - 1), 1));
        return s;
}

/* The argument at the front, without quotes around it; `*s` then begins with the
 * comma or parenthesis behind it. False: the call never ends. */
static bool take_arg(struct span *s, struct span *ret_arg)
{
        struct span quoted = {NULL, 0};
        unsigned depth = 0;
        size_t i = 0, n;

        while (s->len && strchr(" \t\r\n", s->p[0]))
                *s = span_skip(*s, 1);
        while (i < s->len) {
                const char c = s->p[i];

                n = opens(span_skip(*s, i));
                if (n) {
                        const size_t begin = i + n;

                        i = end_of_quote(*s, begin);
                        if (!quoted.p)
                                quoted = span_make(s->p + begin, i - begin);
                        i += closes(span_skip(*s, i));
                        continue;
                }
                if (depth == 0 && (c == ',' || c == ')')) {
                        *ret_arg = quoted.p ? without_quotes(span_trim(quoted))
                                            : span_trim(span_first(*s, i));
                        *s = span_skip(*s, i);
                        return true;
                }
                depth += c == '(';
                depth -= c == ')';
                i++;
        }
        return false;
}

/* Behind "NAME(": its arguments. False: it never ends. */
static bool take_args(struct mc *m, struct call *c)
{
        while (m->rest.len) {
                struct span arg;
                bool is_last;

                if (!take_arg(&m->rest, &arg))
                        return false;
                is_last = m->rest.p[0] == ')';
                m->rest = span_skip(m->rest, 1);
                if (c->count < ARGS_MAX)
                        c->args[c->count++] = arg;
                if (is_last)
                        return true;
        }
        return false;
}

static void skip_line(struct mc *m)
{
        struct span line;

        span_split(&m->rest, '\n', &line);
}

/* A line of sendmail.cf: "Dmexample.jp" sets $m, "Cwname" adds names of ours. */
static void take_raw_line(struct mc *m)
{
        const char *at;
        struct span line, value;
        struct call c = {.count = 1};

        span_split(&m->rest, '\n', &line);
        at = line.len ? memmem(line.p, line.len, "dnl", 3) : NULL;
        line = span_trim(at ? span_first(line, (size_t) (at - line.p)) : line);
        c.name = span_first(line, 2);
        value = span_trim(span_skip(line, 2));
        c.args[0] = value;
        if (span_equal(c.name, SPAN_LITERAL("Dw")))
                set(m, &c, value, &m->host);
        else if (span_equal(c.name, SPAN_LITERAL("Dm")))
                set(m, &c, value, &m->domain);
        else if (span_equal(c.name, SPAN_LITERAL("Dj")))
                m->full_name = value;
        else if (span_equal(c.name, SPAN_LITERAL("DM")))
                set(m, &c, value, &m->masquerade_as);
        else if (span_equal(c.name, SPAN_LITERAL("DS")))
                set(m, &c, value, &m->smart_host);
        else if (span_equal(c.name, SPAN_LITERAL("Cw")))
                add_words(m, &c, &m->domains);
        else
                note(m, &c, "a line of sendmail.cf has no counterpart");
}

static bool is_raw_line(struct span s)
{
        return s.len > 2 && (s.p[0] == 'D' || s.p[0] == 'C' || s.p[0] == 'O') &&
               (s.p[0] == 'O' ? s.p[1] == ' ' : is_word(s.p[1]) && !(s.p[1] >= 'A' &&
                s.p[1] <= 'Z' && is_word(s.p[2]) && s.p[2] >= 'A' && s.p[2] <= 'Z'));
}

static struct span first_word(struct span s)
{
        size_t i = 0;

        while (i < s.len && is_word(s.p[i]))
                i++;
        return span_first(s, i);
}

/* LOCAL_RULE_0 and its like: lines of sendmail.cf follow. */
static bool is_section(struct span word)
{
        static const char *const names[] = {"LOCAL_CONFIG", "LOCAL_RULE_0", "LOCAL_RULE_1",
                                            "LOCAL_RULE_2", "LOCAL_RULE_3", "LOCAL_RULESETS",
                                            "LOCAL_NET_CONFIG", "MAILER_DEFINITIONS"};

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                if (span_equal(word, span_from_string(names[i])))
                        return true;
        return false;
}

/* Rules and other lines of sendmail.cf, up to the next macro. */
static void take_section(struct mc *m, struct span name)
{
        unsigned count = 0;

        skip_line(m);
        while (m->rest.len) {
                const char c = m->rest.p[0];
                const struct span word = first_word(m->rest);

                if (is_section(word) || span_equal(word, SPAN_LITERAL("dnl")) ||
                    (word.len > 1 && word.len < m->rest.len && m->rest.p[word.len] == '('))
                        break;
                if (is_raw_line(m->rest)) {
                        take_raw_line(m);
                        continue;
                }
                count += !strchr("# \t\r\n", c);
                skip_line(m);
        }
        if (count)
                keep_error(m, buffer_printf(&m->notes, "# %.*s: %u lines of sendmail.cf have no "
                                            "counterpart\n", (int) name.len, name.p, count));
}

/* divert(-1) throws away what follows, up to the next divert(. */
static void skip_diverted(struct mc *m, const struct call *c)
{
        const char *next;

        if (!span_equal(c->name, SPAN_LITERAL("divert")) || c->count == 0 ||
            !span_equal(c->args[0], SPAN_LITERAL("-1")) || !m->rest.len)
                return;
        next = memmem(m->rest.p, m->rest.len, "\ndivert(", 8);
        m->rest = next ? span_skip(m->rest, (size_t) (next + 1 - m->rest.p))
                       : span_skip(m->rest, m->rest.len);
}

/* A word, which may be a macro with arguments or without. */
static void take_word(struct mc *m)
{
        struct call c = {.name = first_word(m->rest)};

        m->rest = span_skip(m->rest, c.name.len ? c.name.len : 1);
        if (span_equal(c.name, SPAN_LITERAL("dnl"))) {
                skip_line(m);
        } else if (c.name.len && m->rest.len && m->rest.p[0] == '(') {
                m->rest = span_skip(m->rest, 1);
                if (!take_args(m, &c)) {
                        note(m, &c, "the call never ends");
                        return;
                }
                take_call(m, &c);
                skip_diverted(m, &c);
        } else if (is_section(c.name)) {
                take_section(m, c.name);
        }
}

static void read_all(struct mc *m)
{
        const char *const begin = m->rest.p;

        while (m->rest.len && m->error == 0) {
                const bool is_line = m->rest.p == begin || m->rest.p[-1] == '\n';

                if (m->rest.p[0] == '#')
                        skip_line(m);
                else if (is_line && is_raw_line(m->rest))
                        take_raw_line(m);
                else
                        take_word(m);
        }
}

/* ---- the result ---- */

/* $w.$m, put together. */
static int put_hostname(struct mc *m, struct buffer *out)
{
        const struct span pattern = m->full_name.len ? m->full_name : SPAN_LITERAL("$w.$m");
        struct buffer name = BUFFER_INIT(4 * ITEM_LEN_MAX);
        bool is_known = true;
        int r = 0;

        for (size_t i = 0; r == 0 && i < pattern.len; i++) {
                const char kind = pattern.p[i] == '$' && i + 1 < pattern.len ? pattern.p[i + 1]
                                                                             : '\0';
                const struct span part = kind == 'w' ? m->host : m->domain;

                if (kind != 'w' && kind != 'm') {
                        r = buffer_append(&name, pattern.p + i, 1);
                        continue;
                }
                is_known &= part.len > 0;
                r = buffer_append_span(&name, part);
                i++;
        }
        is_known &= is_value(buffer_span(&name)) && span_find(buffer_span(&name), '.') != SIZE_MAX;
        if (r == 0 && is_known)
                r = buffer_printf(out, "hostname = \"%.*s\"\n", (int) name.len,
                                  buffer_span(&name).p);
        else if (r == 0)
                r = buffer_append_string(out, "# The full name of this machine; the .mc does not "
                                         "say it.\nhostname = \"change-me.invalid\"\n");
        if (r == 0 && is_known && m->domains.count == 0)
                r = buffer_printf(out, "domains = { \"%.*s\" }\n", (int) name.len,
                                  buffer_span(&name).p);
        else if (r == 0 && m->domains.count == 0)
                r = buffer_append_string(out, "domains = { \"change-me.invalid\" }\n");
        buffer_done(&name);
        return r;
}

static void put_text(struct mc *m, struct buffer *out, const char *name, struct span value)
{
        if (value.len)
                keep_error(m, buffer_printf(out, "%s = \"%.*s\"\n", name, (int) value.len,
                                            value.p));
}

static void put_list(struct mc *m, struct buffer *out, const char *name, const struct list *list)
{
        for (size_t i = 0; i < list->count; i++)
                keep_error(m, buffer_printf(out, "%s%s\"%.*s\"%s", i ? "" : name,
                                            i ? ", " : " = { ", (int) list->items[i].len,
                                            list->items[i].p, i + 1 == list->count ? " }\n" : ""));
}

static void put_flag(struct mc *m, struct buffer *out, const char *name, bool is_set)
{
        if (is_set)
                keep_error(m, buffer_printf(out, "%s = yes\n", name));
}

static void put_sections(struct mc *m, struct buffer *out)
{
        keep_error(m, buffer_append_string(out, "tables {\n"));
        put_text(m, out, "        mailertable", m->mailertable);
        put_text(m, out, "        access", m->access);
        put_text(m, out, "        aliases", m->aliases);
        put_text(m, out, "        virtusertable", m->virtusertable);
        put_text(m, out, "        genericstable", m->genericstable);
        keep_error(m, buffer_append_string(out, "}\n"));
        if (m->masquerade_as.len || m->adds_domain) {
                keep_error(m, buffer_append_string(out, "masquerade {\n"));
                put_text(m, out, "        as", m->masquerade_as);
                if (m->masquerade_as.len)
                        put_list(m, out, "        domains", &m->masquerade_domains);
                put_list(m, out, "        exposed_users", &m->exposed_users);
                put_flag(m, out, "        entire_domain", m->is_entire);
                put_flag(m, out, "        limited", m->is_limited);
                put_flag(m, out, "        envelope", m->is_envelope && m->masquerade_as.len);
                put_flag(m, out, "        always_add_domain", m->adds_domain);
                keep_error(m, buffer_append_string(out, "}\n"));
        }
        if (m->certificate.len && m->key.len) {
                keep_error(m, buffer_append_string(out, "tls {\n"));
                put_text(m, out, "        certificate", m->certificate);
                put_text(m, out, "        key", m->key);
                put_text(m, out, "        ca", m->ca);
                keep_error(m, buffer_append_string(out, "}\n"));
        }
        if (m->message_size.len || m->recipients.len || m->hops.len) {
                keep_error(m, buffer_append_string(out, "limits {\n"));
                put_text(m, out, "        message_size", m->message_size);
                put_text(m, out, "        recipients", m->recipients);
                put_text(m, out, "        received_hops", m->hops);
                keep_error(m, buffer_append_string(out, "}\n"));
        }
        if (m->lifetime.len || m->warn_after.len) {
                keep_error(m, buffer_append_string(out, "queue {\n"));
                put_text(m, out, "        lifetime", m->lifetime);
                put_text(m, out, "        warn_after", m->warn_after);
                keep_error(m, buffer_append_string(out, "}\n"));
        }
}

/* What the machine is for: one that passes mail on by table alone is a gateway,
 * one that also hands all else to a smart host a relay; who masquerades sends
 * mail of its own users. */
static const char *guess_role(const struct mc *m)
{
        if (!m->mailertable.len || m->masquerade_as.len)
                return "mailbox";
        return m->smart_host.len ? "relay" : "gateway";
}

static void put_all(struct mc *m, struct span name, struct buffer *out)
{
        if (!m->aliases.len) /* which sendmail reads without being told */
                m->aliases = SPAN_LITERAL("/etc/mail/aliases");
        keep_error(m, buffer_printf(out, "# Made from %.*s by hayauma import mc.\n",
                                    (int) (is_plain(name) ? name.len : 0), name.p));
        keep_error(m, put_hostname(m, out));
        keep_error(m, buffer_printf(out, "role = \"%s\"\n", guess_role(m)));
        put_list(m, out, "domains", &m->domains);
        put_list(m, out, "relay_domains", &m->relay_domains);
        put_list(m, out, "listen", &m->listen);
        put_text(m, out, "smart_host", m->smart_host);
        put_text(m, out, "local_relay", m->local_relay);
        put_text(m, out, "fallback_mx", m->fallback_mx);
        keep_error(m, buffer_printf(out, "accept_unresolvable_domains = %s\n",
                                    m->is_lenient ? "yes" : "no"));
        keep_error(m, buffer_append_span(out, buffer_span(&m->lists)));
        put_sections(m, out);
        if (m->notes.len)
                keep_error(m, buffer_append_string(out, "\n# What was not taken over:\n"));
        keep_error(m, buffer_append_span(out, buffer_span(&m->notes)));
}

int import_mc(struct span text, struct span name, struct buffer *out)
{
        struct mc m = {.rest = text, .notes = BUFFER_INIT(1 << 20),
                       .lists = BUFFER_INIT(1 << 20)};

        read_all(&m);
        put_all(&m, name, out);
        for (size_t i = 0; i < m.listen.count; i++)
                free((void *) (uintptr_t) m.listen.items[i].p);
        buffer_done(&m.notes);
        buffer_done(&m.lists);
        return m.error;
}
