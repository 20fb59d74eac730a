#include "base/number.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

/* Takes the digits at the front of `*s`. */
static int take_digits(struct span *s, uint64_t max, uint64_t *ret_value)
{
        uint64_t value = 0;
        size_t i = 0;

        for (; i < s->len && s->p[i] >= '0' && s->p[i] <= '9'; i++) {
                const uint64_t digit = (uint64_t) (s->p[i] - '0');

                if (value > (max - digit) / 10)
                        return -ERANGE;
                value = value * 10 + digit;
        }
        if (i == 0)
                return -EINVAL;
        *s = span_skip(*s, i);
        *ret_value = value;
        return 0;
}

int number_parse(struct span s, uint64_t max, uint64_t *ret_value)
{
        uint64_t value;
        int r = take_digits(&s, max, &value);

        if (r < 0)
                return r;
        if (s.len)
                return -EINVAL;
        *ret_value = value;
        return 0;
}

int size_parse(struct span s, uint64_t *ret_bytes)
{
        static const char units[] = "kmgt";
        uint64_t value;
        unsigned shift = 0;
        int r = take_digits(&s, UINT64_MAX, &value);

        if (r < 0)
                return r;
        if (s.len > 1)
                return -EINVAL;
        if (s.len == 1) {
                const char *unit = strchr(units, ascii_lower(s.p[0]));

                if (!unit || !*unit)
                        return -EINVAL;
                shift = 10 * (unsigned) (unit - units + 1);
        }
        if (value > UINT64_MAX >> shift)
                return -ERANGE;
        *ret_bytes = value << shift;
        return 0;
}

static const struct {
        struct span name;
        uint64_t ms;
} duration_units[] = {
        { SPAN("w"),  7 * 24 * 3600 * 1000ULL },
        { SPAN("d"),  24 * 3600 * 1000ULL },
        { SPAN("h"),  3600 * 1000ULL },
        { SPAN("ms"), 1 }, /* before "m", which it starts with */
        { SPAN("m"),  60 * 1000ULL },
        { SPAN("s"),  1000 },
};
enum { UNIT_COUNT = sizeof duration_units / sizeof duration_units[0] };

static int take_unit(struct span *s, uint64_t *ret_ms)
{
        if (s->len == 0) {
                *ret_ms = 1000;
                return 0;
        }
        for (size_t i = 0; i < UNIT_COUNT; i++) {
                if (!span_starts_with_nocase(*s, duration_units[i].name))
                        continue;
                *s = span_skip(*s, duration_units[i].name.len);
                *ret_ms = duration_units[i].ms;
                return 0;
        }
        return -EINVAL;
}

int duration_parse(struct span s, uint64_t *ret_ms)
{
        uint64_t total = 0;

        do {
                uint64_t value = 0, unit = 0;
                int r = take_digits(&s, UINT64_MAX, &value);

                if (r == 0)
                        r = take_unit(&s, &unit);
                if (r < 0)
                        return r;
                if (value > (UINT64_MAX - total) / unit)
                        return -ERANGE;
                total += value * unit;
        } while (s.len);
        *ret_ms = total;
        return 0;
}

const char *size_format(uint64_t bytes, char *out)
{
        static const char units[] = "KMGT";
        unsigned unit = 0;

        while (bytes && bytes % 1024 == 0 && unit < 4) {
                bytes /= 1024;
                unit++;
        }
        snprintf(out, NUMBER_TEXT_MAX, "%" PRIu64 "%.*s", bytes, unit ? 1 : 0,
                 unit ? &units[unit - 1] : "");
        return out;
}

const char *duration_format(uint64_t ms, char *out)
{
        for (size_t i = 0; i < UNIT_COUNT; i++) {
                if (ms == 0 || ms % duration_units[i].ms || duration_units[i].ms == 1)
                        continue;
                snprintf(out, NUMBER_TEXT_MAX, "%" PRIu64 "%s", ms / duration_units[i].ms,
                         duration_units[i].name.p);
                return out;
        }
        snprintf(out, NUMBER_TEXT_MAX, "%" PRIu64 "%s", ms, ms ? "ms" : "s");
        return out;
}

struct span number_span(uint64_t value, char out[NUMBER_TEXT_MAX])
{
        size_t at = NUMBER_TEXT_MAX;

        do {
                out[--at] = (char) ('0' + value % 10);
                value /= 10;
        } while (value);
        return span_make(out + at, NUMBER_TEXT_MAX - at);
}
