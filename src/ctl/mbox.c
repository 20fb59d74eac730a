#include "ctl/mbox.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

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

/* Takes the flags out of a header line. False: it is another field. */
static bool take_status(struct span line, uint32_t *flags)
{
        static const struct span names[] = { SPAN("Status:"), SPAN("X-Status:") };

        for (size_t i = 0; i < 2; i++) {
                if (!span_starts_with_nocase(line, names[i]))
                        continue;
                *flags |= flags_of(span_skip(line, names[i].len));
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

int mbox_read(struct mbox_reader *r, struct buffer *message, uint64_t *ret_at_us,
              uint32_t *ret_flags)
{
        bool is_header = true;
        bool has_blank = false, ends_header = false; /* an empty line not yet written */
        uint32_t flags = 0;
        uint64_t at_us;
        int got = r->has_from ? 1 : feof(r->in) ? 0 : find_first(r), result = 1;

        if (got <= 0)
                return got;
        at_us = r->next_at_us;
        r->has_from = false;
        buffer_clear(message);
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
                else if (!(is_header && take_status(line, &flags)) && result == 1)
                        result = append_line(message, unquote(line)) < 0 ? -EMSGSIZE : 1;
        }
        if (got < 0)
                return got;
        /* The last empty line belongs to the file, unless it ends the header. */
        if (has_blank && ends_header && result == 1)
                result = append_line(message, (struct span) {0}) < 0 ? -EMSGSIZE : 1;
        *ret_at_us = at_us;
        *ret_flags = flags;
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

static void write_flags(FILE *out, uint32_t flags)
{
        if (flags & MESSAGE_SEEN)
                fputs("Status: RO\n", out);
        if (flags & (MESSAGE_ANSWERED | MESSAGE_FLAGGED | MESSAGE_DRAFT | MESSAGE_DELETED))
                fprintf(out, "X-Status: %s%s%s%s\n", flags & MESSAGE_ANSWERED ? "A" : "",
                        flags & MESSAGE_FLAGGED ? "F" : "", flags & MESSAGE_DRAFT ? "T" : "",
                        flags & MESSAGE_DELETED ? "D" : "");
}

int mbox_write(FILE *out, struct span message, uint64_t at_us, uint32_t flags)
{
        const struct span path = return_path(message);
        const time_t at = (time_t) (at_us / 1000000);
        struct span rest = message, line;
        struct tm tm;
        char date[64];

        if (!gmtime_r(&at, &tm) || !strftime(date, sizeof date, "%a %b %e %H:%M:%S %Y", &tm))
                return -EIO;
        fprintf(out, "From %.*s %s\n", (int) path.len, path.p, date);
        write_flags(out, flags);
        while (rest.len && span_split(&rest, '\n', &line)) {
                if (line.len && line.p[line.len - 1] == '\r')
                        line.len--;
                if (is_quoted(line))
                        fputc('>', out);
                fwrite(line.p, 1, line.len, out);
                fputc('\n', out);
        }
        fputc('\n', out);
        return ferror(out) ? -EIO : 0;
}
