#include "base/log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/number.h"
#include "base/octets.h"

static char process_name[32] = "hayauma";
static enum log_level level_max = LOG_INFO;
static bool has_clock;

/* Lines not written yet; see log_set_buffered(). */
static char held[16 * 1024];
static size_t held_len;
static void (*want_flush)(void *arg);
static void *want_flush_arg;

static const struct span level_names[] = {
        [LOG_ERROR] = SPAN("error"), [LOG_WARNING] = SPAN("warning"), [LOG_NOTICE] = SPAN("notice"),
        [LOG_INFO] = SPAN("info"),   [LOG_DEBUG] = SPAN("debug"),
};
enum { LEVEL_COUNT = sizeof level_names / sizeof level_names[0] };

void log_set_process(const char *name)
{
        snprintf(process_name, sizeof process_name, "%s", name);
}

void log_set_clock(bool with_time)
{
        has_clock = with_time;
}

void log_set_level(enum log_level level)
{
        level_max = level;
}

enum log_level log_get_level(void)
{
        return level_max;
}

int log_level_parse(struct span name)
{
        for (int i = 0; i < LEVEL_COUNT; i++)
                if (span_equal_nocase(name, level_names[i]))
                        return i;
        return -1;
}

/* A line being written behind those that are held. */
struct line {
        char *text; /* room for LOG_LINE_MAX */
        size_t len;
};

/* Leaves room for the closing quote and the line end. */
static void put(struct line *l, char c)
{
        if (l->len < LOG_LINE_MAX - 2)
                l->text[l->len++] = c;
}

static void put_octets(struct line *l, const char *p, size_t len)
{
        const size_t end = LOG_LINE_MAX - 2, room = l->len < end ? end - l->len : 0;
        const size_t n = len < room ? len : room;

        if (n)
                memcpy(l->text + l->len, p, n);
        l->len += n;
}

static void put_string(struct line *l, const char *s)
{
        put_octets(l, s, strlen(s));
}

static void put_number(struct line *l, uint64_t number)
{
        char digits[NUMBER_TEXT_MAX];
        const struct span text = number_span(number, digits);

        put_octets(l, text.p, text.len);
}

static octets16 to_quote(octets16 x)
{
        return octets_below(x, ' ' + 1) | octets_equal(x, 127) | octets_equal(x, '"') |
               octets_equal(x, '\\') | octets_equal(x, '=');
}

static bool needs_quotes(struct span s)
{
        return s.len == 0 || octets_until(s, to_quote) < s.len;
}

static void put_value(struct line *l, struct span s)
{
        static const char digits[] = "0123456789abcdef";

        if (!needs_quotes(s)) {
                put_octets(l, s.p, s.len);
                return;
        }
        put(l, '"');
        for (size_t i = 0; i < s.len; i++) {
                const unsigned char c = (unsigned char) s.p[i];

                if (c == '"' || c == '\\') {
                        put(l, '\\');
                        put(l, (char) c);
                } else if (c < ' ' || c == 127) {
                        put_string(l, "\\x");
                        put(l, digits[c >> 4]);
                        put(l, digits[c & 15]);
                } else {
                        put(l, (char) c);
                }
        }
        if (l->len < LOG_LINE_MAX - 1) /* the line end's place stays */
                l->text[l->len++] = '"';
}

void log_set_buffered(void (*request_flush)(void *arg), void *arg)
{
        log_flush();
        want_flush = request_flush;
        want_flush_arg = arg;
}

void log_flush(void)
{
        const size_t len = held_len;

        held_len = 0;
        /* Nothing sensible can be done about a log that cannot be written. */
        if (len && write(STDERR_FILENO, held, len) < 0)
                return;
}

static void put_out(const struct line *l, enum log_level level)
{
        if (held_len == 0 && want_flush)
                want_flush(want_flush_arg);
        held_len += l->len;
        if (!want_flush || level <= LOG_WARNING)
                log_flush();
}

void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t field_count)
{
        struct line l;

        if (level > level_max)
                return;
        if (sizeof held - held_len < LOG_LINE_MAX)
                log_flush();
        l = (struct line) {.text = held + held_len};
        if (has_clock) {
                char time[CLOCK_DATE_MAX];

                put_string(&l, clock_format_iso(clock_now_us(), time));
                put(&l, ' ');
        }
        put_octets(&l, level_names[level].p, level_names[level].len);
        put(&l, ' ');
        put_string(&l, process_name);
        put(&l, ' ');
        put_string(&l, event);
        for (size_t i = 0; i < field_count; i++) {
                put_octets(&l, fields[i].before.p, fields[i].before.len);
                if (fields[i].is_number)
                        put_number(&l, fields[i].number);
                else
                        put_value(&l, fields[i].text);
        }
        l.text[l.len++] = '\n';
        put_out(&l, level);
}
