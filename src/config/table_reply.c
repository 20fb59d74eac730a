/* Replies as sendmail's tables write them: "5.7.1:551 Relay denied", "550 Bogus
 * host", "nouser No such user". In a snapshot they all have one form, "551
 * 5.7.1 Relay denied". */
#include "config/table.h"

#include "base/number.h"

enum { REPLY_TEXT_MAX = 500 };

/* sendmail's words for the usual reasons. */
static const struct {
        struct span word, code, enhanced, text;
} words[] = {
        { SPAN("nouser"), SPAN("550"), SPAN("5.1.1"), SPAN("No such user here") },
        { SPAN("nohost"), SPAN("550"), SPAN("5.1.2"), SPAN("No such host") },
        { SPAN("unavailable"), SPAN("550"), SPAN("5.0.0"), SPAN("Not available") },
        { SPAN("tempfail"), SPAN("450"), SPAN("4.0.0"), SPAN("Try again later") },
        { SPAN("usage"), SPAN("550"), SPAN("5.5.4"), SPAN("Not allowed") },
        { SPAN("protocol"), SPAN("550"), SPAN("5.5.0"), SPAN("Not allowed") },
        { SPAN("config"), SPAN("554"), SPAN("5.3.5"), SPAN("Configuration error") },
};
enum { WORDS = sizeof words / sizeof words[0] };

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* "550": the first digit 4 or 5. */
static bool is_code(struct span s)
{
        return s.len == 3 && (s.p[0] == '4' || s.p[0] == '5') && s.p[1] >= '0' && s.p[1] <= '5' &&
               is_digit(s.p[2]);
}

/* RFC 3463 section 2: class "." subject "." detail. */
static bool is_enhanced(struct span s)
{
        struct span part;
        unsigned parts = 0;

        if (s.len < 5 || (s.p[0] != '4' && s.p[0] != '5') || s.p[1] != '.')
                return false;
        while (span_split(&s, '.', &part)) {
                uint64_t number;

                if (part.len > 3 || number_parse(part, 999, &number) < 0)
                        return false;
                parts++;
        }
        return parts == 3;
}

/* The first word of `*s`, up to a blank, cut off if it passes `is`. */
static bool take(struct span *s, bool (*is)(struct span), struct span *ret_word)
{
        size_t end = 0;

        while (end < s->len && s->p[end] != ' ' && s->p[end] != '\t')
                end++;
        if (!is(span_first(*s, end)))
                return false;
        *ret_word = span_first(*s, end);
        *s = span_trim(span_skip(*s, end));
        return true;
}

static struct span unquote(struct span s)
{
        s = span_trim(s);
        if (s.len >= 2 && s.p[0] == '"' && s.p[s.len - 1] == '"')
                return span_trim(span_skip(span_first(s, s.len - 1), 1));
        return s;
}

/* A word in front, with a blank or a colon behind it. */
static bool take_word(struct span *s, size_t *ret_word)
{
        for (size_t i = 0; i < WORDS; i++) {
                const struct span word = words[i].word;

                if (!span_starts_with_nocase(*s, word))
                        continue;
                if (s->len > word.len && s->p[word.len] != ' ' && s->p[word.len] != ':' &&
                    s->p[word.len] != '\t')
                        continue;
                *s = unquote(span_skip(*s, word.len + 1));
                *ret_word = i;
                return true;
        }
        return false;
}

static bool text_is_good(struct table_lines *t, struct span text)
{
        if (text.len > REPLY_TEXT_MAX) {
                table_error(t, "the text of a reply may have at most %d octets; make it shorter",
                            REPLY_TEXT_MAX);
                return false;
        }
        for (size_t i = 0; i < text.len; i++) {
                if (text.p[i] >= ' ' && text.p[i] <= '~')
                        continue;
                table_error(t, "the text of a reply goes to any client and must be ASCII");
                return false;
        }
        return true;
}

bool table_reply_parse(struct table_lines *t, struct span text, struct span enhanced,
                       struct buffer *out)
{
        struct span code = {NULL, 0}, words_text = SPAN("Refused"), given = {NULL, 0};
        const struct span whole = text;
        size_t word, colon;

        text = unquote(text);
        colon = span_find(text, ':');
        if (take_word(&text, &word)) {
                code = words[word].code;
                enhanced = words[word].enhanced;
                words_text = words[word].text;
        } else if (colon != SIZE_MAX && is_enhanced(span_first(text, colon))) {
                given = span_first(text, colon);
                text = unquote(span_skip(text, colon + 1));
        }
        if (!take(&text, is_code, &code) && !code.len && !given.len) {
                table_error(t, "\"%.*s\" is no reply; write it like 5.7.1:550 text or 550 text",
                            TABLE_TEXT(whole));
                return false;
        }
        (void) take(&text, is_enhanced, &given);
        if (!code.len)
                code = given.p[0] == '4' ? SPAN_LITERAL("450") : SPAN_LITERAL("550");
        if (given.len && given.p[0] != code.p[0]) {
                table_error(t, "\"%.*s\" and \"%.*s\" do not go together: both begin with 4 (try "
                            "again later) or both with 5", TABLE_TEXT(code), TABLE_TEXT(given));
                return false;
        }
        if (!text_is_good(t, text))
                return false;
        if (given.len)
                enhanced = given;
        if (text.len == 0)
                text = words_text;
        return buffer_append_span(out, code) == 0 && buffer_append(out, " ", 1) == 0 &&
               buffer_append(out, code.p, 1) == 0 &&
               buffer_append_span(out, span_skip(enhanced, 1)) == 0 &&
               buffer_append(out, " ", 1) == 0 && buffer_append_span(out, text) == 0;
}

bool table_reply_split(struct span stored, uint16_t *ret_code, struct span *ret_enhanced,
                       struct span *ret_text)
{
        struct span code, enhanced;
        uint64_t number;

        if (!take(&stored, is_code, &code) || !take(&stored, is_enhanced, &enhanced) ||
            number_parse(code, 599, &number) < 0)
                return false;
        *ret_code = (uint16_t) number;
        *ret_enhanced = enhanced;
        *ret_text = stored;
        return true;
}
