#include "message/dsn_text.h"

#include <stdint.h>

#include "base/clock.h"
#include "base/utf8.h"

enum {
        COLUMNS = 72,
        REPLY_LINE_MAX = 900, /* octets of one line of somebody's reply */
        REPLY_LINES_MAX = 32,
};

/* [language] of each text; indexed by enum dsn_action - 1 where it depends. */
static const char *const subjects[][2] = {
        { "Your message was not delivered", "メールを配送できませんでした" },
        { "Your message is delayed, and still being tried", "メールの配送が遅れています（再試行中）" },
        { "Your message was delivered", "メールを配送しました" },
        { "Your message was passed on", "メールを次のシステムへ渡しました" },
        { "Your message was sent on to a list", "メールをリストの宛先へ送りました" },
};

static const char *const openings[][2] = {
        { "Your message could not be delivered to the address below. Nothing more will be tried: "
          "who was meant to read it has not got it.",
          "下記の宛先にメールを配送できませんでした。これ以上の再試行はしません。相手には届いていません。" },
        { "Your message has not yet been delivered to the address below. It is still being tried. "
          "You need not send it again.",
          "下記の宛先への配送が遅れています。再試行を続けていますので、送り直す必要はありません。" },
        { "Your message was delivered to the mailbox of the address below, as you asked to be "
          "told.",
          "下記の宛先のメールボックスにメールを配送しました（ご依頼の通知です）。" },
        { "Your message was passed on to the next system on the way to the address below. That "
          "system sends no such notifications, so you will hear nothing more.",
          "下記の宛先へ向けて次のシステムにメールを渡しました。その先からの通知はありません。" },
        { "Your message was sent on to all members of the address below. There will be no "
          "notification for each of them.",
          "下記の宛先の登録者全員にメールを送りました。個々の通知はありません。" },
};

struct writer {
        const struct dsn *d;
        struct buffer *out;
        size_t language;
        int failed;
};

static void add(struct writer *w, struct span s)
{
        if (w->failed == 0)
                w->failed = buffer_append_span(w->out, s);
}

static void add_line(struct writer *w, const char *indent, struct span text)
{
        add(w, span_from_string(indent));
        add(w, text);
        add(w, SPAN_LITERAL("\r\n"));
}

/* A text of ours in lines of at most 72 columns; Japanese has no blanks to
 * break at, and mail readers break it well. */
static void add_wrapped(struct writer *w, const char *indent, const char *text)
{
        struct span rest = span_from_string(text);
        const size_t width = COLUMNS - strlen(indent);

        while (rest.len > width && w->language == STATUS_ENGLISH) {
                size_t cut = span_find_last(span_first(rest, width + 1), ' ');

                if (cut == SIZE_MAX)
                        cut = width;
                add_line(w, indent, span_first(rest, cut));
                rest = span_skip(rest, cut + (rest.p[cut] == ' '));
        }
        add_line(w, indent, rest);
}

/* What others wrote: no controls, in English nothing but ASCII either. */
static void add_foreign(struct writer *w, struct span text)
{
        const bool is_utf8 = w->language != STATUS_ENGLISH && utf8_is_valid(text);

        for (size_t i = 0; i < text.len; i++) {
                const unsigned char c = (unsigned char) text.p[i];
                const char as[] = {c < 32 || c == 127 ? ' ' : c > 127 && !is_utf8 ? '?' : (char) c};

                add(w, span_make(as, 1));
        }
}

struct status_code dsn_text_status(const struct dsn *d, const struct dsn_recipient *r)
{
        struct span text = r->text;
        struct status_code c;

        if (status_code_parse(r->enhanced, &c) < 0 && !status_code_take(&text, r->code, &c))
                c = r->code ? status_code_of_reply(r->code) : (struct status_code) {0};
        /* Given up for its age: what was said last was no refusal. */
        if (d->action == DSN_FAILED && c.class == 4)
                return (struct status_code) {5, 4, 7};
        if (c.class)
                return c;
        c = (struct status_code) {2, 0, 0};
        if (d->action == DSN_FAILED || d->action == DSN_DELAYED)
                c.class = d->action == DSN_FAILED ? 5 : 4;
        return c;
}

/* Whose words: without a reply they are ours. */
static void add_reply(struct writer *w, const struct dsn_recipient *r)
{
        static const char *const answered[] = {" answered:", " の応答:"};
        static const char *const found[] = {"What was found here:", "こちらで分かったこと:"};
        struct span rest = r->text, line;
        unsigned count = 0;

        if (r->text.len == 0 && r->code == 0)
                return;
        add(w, SPAN_LITERAL("  "));
        if (r->code && r->host.len) {
                add_foreign(w, span_first(r->host, 300));
                add(w, span_from_string(answered[w->language]));
        } else {
                add(w, span_from_string(found[w->language]));
        }
        add(w, SPAN_LITERAL("\r\n"));
        do {
                char code[] = {(char) ('0' + r->code / 100 % 10), (char) ('0' + r->code / 10 % 10),
                               (char) ('0' + r->code % 10), ' '};

                if (!span_split(&rest, '\n', &line))
                        line = (struct span) {NULL, 0};
                line = span_first(line, utf8_cut(line, REPLY_LINE_MAX));
                add(w, SPAN_LITERAL("    "));
                if (r->code)
                        add(w, span_make(code, sizeof code));
                if (r->enhanced.len && r->code) {
                        add_foreign(w, span_first(r->enhanced, 12));
                        add(w, SPAN_LITERAL(" "));
                }
                add_foreign(w, line);
                add(w, SPAN_LITERAL("\r\n"));
        } while (rest.p && ++count < REPLY_LINES_MAX);
}

static void add_recipient(struct writer *w, const struct dsn_recipient *r)
{
        const bool is_trouble = w->d->action == DSN_FAILED || w->d->action == DSN_DELAYED;

        add(w, SPAN_LITERAL("\r\n<"));
        add_foreign(w, span_first(r->rcpt_to, REPLY_LINE_MAX));
        add(w, SPAN_LITERAL(">\r\n"));
        if (is_trouble)
                add_wrapped(w, "  ", status_code_explain(dsn_text_status(w->d, r),
                                                         w->d->language));
        add_reply(w, r);
}

static void add_retry_until(struct writer *w)
{
        static const char *const until[] = {"It will be tried until ", "再試行の期限: "};
        char date[CLOCK_DATE_MAX];

        if (w->d->action != DSN_DELAYED || !w->d->retry_until_us)
                return;
        add(w, SPAN_LITERAL("\r\n"));
        add(w, span_from_string(until[w->language]));
        add(w, span_from_string(clock_format_date(w->d->retry_until_us, date)));
        add(w, SPAN_LITERAL("\r\n"));
}

int dsn_text_format(const struct dsn *d, struct buffer *out)
{
        static const char *const hello[] = {"This is the mail system of ", "メールシステムからのお知らせです: "};
        static const char *const help[] = {
                "If you need help, send this whole notification to the address postmaster of your "
                "own mail system. Programs read the attached report; the header of your message is "
                "attached too.",
                "お困りの際は、この通知全体を添えて、お使いのメールシステムの管理者（postmaster）にご相談ください。"
                "添付は、機械用の報告と元のメールのヘッダです。",
        };
        static const char *const known_as[] = {"There, your message is known as ",
                                               "このシステムでのメールの番号: "};
        const size_t which = (size_t) (d->action >= DSN_FAILED && d->action <= DSN_EXPANDED
                                               ? d->action - DSN_FAILED : 0);
        struct writer w = {.d = d, .out = out, .language = d->language == STATUS_JAPANESE};

        add(&w, span_from_string(hello[w.language]));
        add_foreign(&w, d->hostname);
        add(&w, SPAN_LITERAL("\r\n\r\n"));
        add_wrapped(&w, "", openings[which][w.language]);
        for (size_t i = 0; i < d->recipient_count; i++)
                add_recipient(&w, &d->recipients[i]);
        add_retry_until(&w);
        add(&w, SPAN_LITERAL("\r\n"));
        add_wrapped(&w, "", help[w.language]);
        if (d->message_id.len) {
                add(&w, span_from_string(known_as[w.language]));
                add_foreign(&w, span_first(d->message_id, 64));
                add(&w, SPAN_LITERAL("\r\n"));
        }
        return w.failed;
}

const char *dsn_text_subject(const struct dsn *d)
{
        const size_t which = (size_t) (d->action >= DSN_FAILED && d->action <= DSN_EXPANDED
                                               ? d->action - DSN_FAILED : 0);

        return subjects[which][d->language == STATUS_JAPANESE];
}
