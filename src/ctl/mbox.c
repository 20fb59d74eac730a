#include "ctl/mbox.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/number.h"
#include "store/mailbox.h"

/* ---- the From_ line ----------------------------------------------------- */

/* Dates as they are found behind the address: asctime(), with a zone before or
 * behind the year. Without a zone it is UTC (RFC 4155 appendix A). */
static bool parse_date(const char *text, uint64_t *ret_at_us)
{
        static const char *const formats[] = {
                "%a %b %e %H:%M:%S %Y %z", "%a %b %e %H:%M:%S %Y", "%a %b %e %H:%M:%S %z %Y",
                "%a %b %e %H:%M %Y",
        };

        for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
                struct tm tm = {0};
                const char *end = strptime(text, formats[i], &tm);
                const long east_s = tm.tm_gmtoff; /* timegm() clears it */
                time_t at;

                if (!end || (*end != '\0' && *end != ' ' && *end != '\r' && *end != '\n'))
                        continue;
                at = timegm(&tm) - east_s;
                *ret_at_us = at > 0 ? (uint64_t) at * 1000000 : 0;
                return true;
        }
        return false;
}

/* Is this line, which ends in NUL, "From address date"? */
static bool is_from_line(const char *line, size_t len, uint64_t *ret_at_us)
{
        if (len < 5 || memcmp(line, "From ", 5) != 0)
                return false;
        for (const char *at = strchr(line, ' '); at; at = strchr(at + 1, ' '))
                if (parse_date(at + 1, ret_at_us))
                        return true;
        return false;
}

/* ---- reading ------------------------------------------------------------ */

void mbox_reader_done(struct mbox_reader *r)
{
        free(r->line);
        *r = (struct mbox_reader) {0};
}

/* The next line into r->line, without its line end. 1, 0 at the end, -EIO. */
static int next_line(struct mbox_reader *r)
{
        const ssize_t len = getdelim(&r->line, &r->room, '\n', r->in);

        if (len < 0)
                return feof(r->in) && !ferror(r->in) ? 0 : -EIO;
        r->len = (size_t) len;
        r->line_number++;
        if (r->len && r->line[r->len - 1] == '\n')
                r->len--;
        if (r->len && r->line[r->len - 1] == '\r')
                r->len--;
        r->line[r->len] = '\0';
        return 1;
}

static uint32_t flags_of(struct span letters)
{
        static const struct {
                char letter;
                uint32_t flag;
        } known[] = {
                { 'R', MESSAGE_SEEN }, { 'A', MESSAGE_ANSWERED }, { 'F', MESSAGE_FLAGGED },
                { 'T', MESSAGE_DRAFT }, { 'D', MESSAGE_DELETED },
        };
        uint32_t flags = 0;

        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
                if (span_find(letters, known[i].letter) != SIZE_MAX)
                        flags |= known[i].flag;
        return flags;
}

static uint32_t number_of(struct span text)
{
        uint64_t number = 0;

        return number_parse(span_trim(text), UINT32_MAX, &number) < 0 ? 0 : (uint32_t) number;
}

static void take_flags(struct mbox_reader *r, struct span value, struct transfer_message *m)
{
        (void) r;
        m->flags |= flags_of(value);
}

static void take_uid(struct mbox_reader *r, struct span value, struct transfer_message *m)
{
        (void) r;
        m->uid = number_of(value);
}

static void take_keywords(struct mbox_reader *r, struct span value, struct transfer_message *m)
{
        struct span rest = span_trim(value), word;

        (void) r;
        while (span_split(&rest, ' ', &word))
                transfer_message_add_keyword(m, word);
}

/* "1700000000 0000000042", then names of keywords */
static void take_base(struct mbox_reader *r, struct span value, struct transfer_message *m)
{
        struct span rest = span_trim(value), validity = {0}, last = {0};

        (void) m;
        if (r->uid_validity || !span_split(&rest, ' ', &validity) ||
            !span_split(&rest, ' ', &last))
                return;
        r->uid_validity = number_of(validity);
        r->uid_last = number_of(last);
}

/* The first message of a folder of the University of Washington is none. */
static void take_folder_data(struct mbox_reader *r, struct span value, struct transfer_message *m)
{
        take_base(r, value, m);
        r->is_folder_data = true;
}

/* Takes a header line that mail readers have added. False: it is another. */
static bool take_field(struct mbox_reader *r, struct span line, struct transfer_message *m)
{
        static const struct {
                struct span name;
                void (*take)(struct mbox_reader *r, struct span value, struct transfer_message *m);
        } fields[] = {
                { SPAN("Status:"), take_flags },       { SPAN("X-Status:"), take_flags },
                { SPAN("X-UID:"), take_uid },          { SPAN("X-Keywords:"), take_keywords },
                { SPAN("X-IMAPbase:"), take_base },    { SPAN("X-IMAP:"), take_folder_data },
        };

        if (!line.len || (line.p[0] != 'S' && line.p[0] != 'X' && line.p[0] != 's' &&
                          line.p[0] != 'x'))
                return false;
        for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
                if (!span_starts_with_nocase(line, fields[i].name))
                        continue;
                fields[i].take(r, span_skip(line, fields[i].name.len), m);
                return true;
        }
        return false;
}

/* Undoes the quoting: ">From ", ">>From ", … lose one ">". */
static struct span unquote(struct span line)
{
        size_t marks = 0;

        while (marks < line.len && line.p[marks] == '>')
                marks++;
        if (marks && span_equal(span_first(span_skip(line, marks), 5), SPAN_LITERAL("From ")))
                return span_skip(line, 1);
        return line;
}

/* Finds the first From_ line of the file. As mbox_read(). */
static int find_first(struct mbox_reader *r)
{
        int got;

        do
                got = next_line(r);
        while (got == 1 && r->len == 0);
        if (got == 1 && !is_from_line(r->line, r->len, &r->next_at_us))
                return -EBADMSG;
        r->has_from = got == 1;
        return got;
}

static int append_line(struct buffer *message, struct span line)
{
        int r = buffer_append_span(message, line);

        return r < 0 ? r : buffer_append(message, "\r\n", 2);
}

int mbox_read(struct mbox_reader *r, struct transfer_message *m)
{
        struct buffer *const message = &m->octets;
        bool is_header = true;
        bool has_blank = false, ends_header = false; /* an empty line not yet written */
        int got = r->has_from ? 1 : feof(r->in) ? 0 : find_first(r), result = 1;

        if (got <= 0)
                return got;
        transfer_message_clear(m);
        m->arrived_us = r->next_at_us;
        r->has_from = r->is_folder_data = false;
        while ((got = next_line(r)) == 1) {
                const struct span line = span_make(r->line, r->len);

                if ((has_blank || message->len == 0) &&
                    is_from_line(r->line, r->len, &r->next_at_us)) {
                        r->has_from = true;
                        break;
                }
                if (has_blank && result == 1)
                        result = append_line(message, (struct span) {0}) < 0 ? -EMSGSIZE : 1;
                has_blank = line.len == 0;
                ends_header = has_blank && is_header;
                if (has_blank)
                        is_header = false;
                else if (!(is_header && take_field(r, line, m)) && result == 1)
                        result = append_line(message, unquote(line)) < 0 ? -EMSGSIZE : 1;
        }
        if (got < 0)
                return got;
        /* The last empty line belongs to the file, unless it ends the header. */
        if (has_blank && ends_header && result == 1)
                result = append_line(message, (struct span) {0}) < 0 ? -EMSGSIZE : 1;
        return result;
}

/* ---- writing ------------------------------------------------------------ */

/* The path of a leading Return-Path field, or MAILER-DAEMON. */
static struct span return_path(struct span message)
{
        struct span rest = message, line;
        size_t open, end;

        if (!span_split(&rest, '\n', &line) ||
            !span_starts_with_nocase(line, SPAN_LITERAL("Return-Path:")))
                return SPAN_LITERAL("MAILER-DAEMON");
        open = span_find(line, '<');
        end = span_find_last(line, '>');
        if (open == SIZE_MAX || end == SIZE_MAX || end <= open + 1)
                return SPAN_LITERAL("MAILER-DAEMON");
        line = span_make(line.p + open + 1, end - open - 1);
        for (size_t i = 0; i < line.len; i++)
                if (line.p[i] <= ' ')
                        return SPAN_LITERAL("MAILER-DAEMON");
        return line;
}

static bool is_quoted(struct span line)
{
        while (line.len && line.p[0] == '>')
                line = span_skip(line, 1);
        return span_equal(span_first(line, 5), SPAN_LITERAL("From "));
}

/* Seen, and old: the reader has told of it. */
static void write_flags(FILE *out, uint32_t flags)
{
        if (flags & MESSAGE_SEEN)
                fputs("Status: RO\n", out);
        if (flags & (MESSAGE_ANSWERED | MESSAGE_FLAGGED | MESSAGE_DRAFT | MESSAGE_DELETED))
                fprintf(out, "X-Status: %s%s%s%s\n", flags & MESSAGE_ANSWERED ? "A" : "",
                        flags & MESSAGE_FLAGGED ? "F" : "", flags & MESSAGE_DRAFT ? "T" : "",
                        flags & MESSAGE_DELETED ? "D" : "");
}

static void write_fields(struct mbox_writer *w, const struct transfer_message *m)
{
        struct span keywords = buffer_span(&m->keywords), word;

        if (!w->has_begun && w->uid_validity)
                fprintf(w->out, "X-IMAPbase: %u %010u\n", w->uid_validity,
                        w->uid_next ? w->uid_next - 1 : 0);
        w->has_begun = true;
        write_flags(w->out, m->flags);
        if (w->uid_validity && m->uid)
                fprintf(w->out, "X-UID: %u\n", m->uid);
        if (!keywords.len)
                return;
        fputs("X-Keywords:", w->out);
        while (keywords.len && span_split(&keywords, '\0', &word))
                if (word.len)
                        fprintf(w->out, " %.*s", (int) word.len, word.p);
        fputc('\n', w->out);
}

int mbox_write(struct mbox_writer *w, const struct transfer_message *m)
{
        const struct span path = return_path(buffer_span(&m->octets));
        const time_t at = (time_t) (m->arrived_us / 1000000);
        struct span rest = buffer_span(&m->octets), line;
        struct tm tm;
        char date[64];

        if (!gmtime_r(&at, &tm) || !strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm))
                return -EIO;
        fprintf(w->out, "From %.*s %s\n", (int) path.len, path.p, date);
        write_fields(w, m);
        while (rest.len && span_split(&rest, '\n', &line)) {
                if (line.len && line.p[line.len - 1] == '\r')
                        line.len--;
                if (is_quoted(line))
                        fputc('>', w->out);
                fwrite(line.p, 1, line.len, w->out);
                fputc('\n', w->out);
        }
        fputc('\n', w->out);
        return ferror(w->out) ? -EIO : 0;
}
