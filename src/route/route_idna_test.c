/* Domain names with U-labels, as they are compared and asked for: A-labels (RFC
 * 5891, UTS #46 without transitional processing). With HAYAUMA_OUTSIDE_DATA the
 * rows of Unicode's IdnaTestV2.txt are read, too (tests/README.md). */
#include <stdio.h>
#include <stdlib.h>
#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include "base/test.h"
#include "base/utf8.h"
#include "route/route.h"

enum { LINE_ROOM = 8192, FIELDS = 5 };

static const struct {
        const char *name, *domain, *want; /* NULL: refused */
} cases[] = {
        { "kanji",               "日本語.jp",               "xn--wgv71a119e.jp" },
        { "A-label",             "xn--wgv71a119e.jp",       "xn--wgv71a119e.jp" },
        { "A-label in capitals", "XN--WGV71A119E.JP",       "xn--wgv71a119e.jp" },
        { "ideographic dots",    "日本語。jp",              "xn--wgv71a119e.jp" },
        { "the root's dot",      "日本語.jp.",              "xn--wgv71a119e.jp" },
        { "an ideographic one",  "日本語。jp。",            "xn--wgv71a119e.jp" },
        { "full width",          "ＥＸＡＭＰＬＥ．ＪＰ",    "example.jp" },
        { "half-width kana",     "ｶﾞｽ.jp",                  "xn--mck0a.jp" },
        { "composed or not",     "cafe\xcc\x81.example",    "xn--caf-dma.example" },
        { "capitals",            "CAF\xc3\x89.example",     "xn--caf-dma.example" },
        { "sharp s stays",       "stra\xc3\x9f" "e.example", "xn--strae-oqa.example" },
        { "an empty label",      "日本語..jp",              NULL },
        { "two dots at the end", "日本語.jp。。",           NULL },
        { "only a dot",          "。",                      NULL },
        { "a blank",             "日 本.jp",                NULL },
        { "underscore",          "日_本.jp",                NULL },
        { "a full-width at",     "日＠本.jp",               NULL },
        { "a false A-label",     "xn--a.日本",              NULL },
        { "hyphen in front",     "-日本.jp",                NULL },
        { "zero width joiner",   "日\xe2\x80\x8d本.jp",     NULL },
        { "bidi",                "\xd7\x90" "a.jp",         NULL },
        { "no UTF-8",            "\xff.jp",                 NULL },
        { "a surrogate",         "\xed\xa0\x80.jp",         NULL },
};

static bool is_normalised_to(const char *domain, size_t len, const char *want, size_t want_len)
{
        char out[ROUTE_DOMAIN_ROOM];
        size_t out_len;

        return route_normalise_domain(span_make(domain, len), out, &out_len) &&
               out_len == want_len && memcmp(out, want, want_len) == 0;
}

TEST(domains_are_compared_by_their_a_labels)
{
        char out[ROUTE_DOMAIN_ROOM];
        size_t len;

        CHECK(route_warm_up() == 0, "ICU");
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                const char *domain = cases[i].domain, *want = cases[i].want;

                CHECK(route_normalise_domain(span_from_string(domain), out, &len) == !!want,
                      cases[i].name);
                if (want)
                        CHECK(is_normalised_to(domain, strlen(domain), want, strlen(want)),
                              cases[i].name);
        }
}

/* ---- the rows of Unicode ------------------------------------------------ */

struct text {
        char octets[LINE_ROOM];
        size_t len;
        bool is_known; /* no surrogates, and nothing that this ICU knows otherwise */
};

/* What newer versions of UTS #46 than ICU's 15.0 map or allow in another way:
 * capitals whose small letters came later, comparisons, fillers, corrections. */
static bool has_changed(UChar32 c)
{
        static const UChar32 changed[] = {
                0x4C0, 0x1E9E, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x1806, 0x2132, 0x2183,
                0x226E, 0x226F, 0x2260, 0x338, 0x3164, 0xFFA0, 0x2F868, 0x2F874, 0x2F91F,
                0x2F95F, 0x2F9BF,
        };

        for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++)
                if (c == changed[i])
                        return true;
        return c >= 0x10A0 && c <= 0x10CF; /* Georgian capitals */
}

static void add_character(struct text *t, UChar32 c)
{
        const int32_t type = u_charType(c);

        if (type == U_SURROGATE || type == U_UNASSIGNED || has_changed(c))
                t->is_known = false;
        t->len += utf8_put((uint32_t) c, t->octets + t->len);
}

/* "\u00DF", "\x{1F600}" and `""` have their meaning. */
static void read_field(struct span field, struct text *ret)
{
        ret->len = 0;
        ret->is_known = true;
        if (span_equal(field, SPAN_LITERAL("\"\"")))
                return;
        for (size_t at = 0; at < field.len;) {
                UChar32 c;

                if (field.p[at] == '\\') {
                        const bool is_long = field.p[at + 1] == 'x';
                        char *end;

                        c = (UChar32) strtol(field.p + at + (is_long ? 3 : 2), &end, 16);
                        at = is_long ? (size_t) (end - field.p) + 1 : at + 6;
                        if (!is_long)
                                c = (UChar32) strtol((char[]) {field.p[at - 4], field.p[at - 3],
                                                               field.p[at - 2], field.p[at - 1],
                                                               '\0'}, NULL, 16);
                } else {
                        U8_NEXT((const uint8_t *) field.p, at, field.len, c);
                }
                add_character(ret, c);
        }
}

static bool is_ascii(const struct text *t)
{
        for (size_t i = 0; i < t->len; i++)
                if ((unsigned char) t->octets[i] >= 0x80)
                        return false;
        return true;
}

/* Without the root's dot no label is empty or longer than 63 octets. */
static bool has_labels(const struct text *t)
{
        size_t label = 0;

        for (size_t i = 0; i < t->len; i++) {
                label = t->octets[i] == '.' ? 0 : label + 1;
                if (label > 63 || (i + 1 < t->len && !label && (i == 0 || t->octets[i + 1] == '.')))
                        return false;
        }
        return t->len > 1;
}

struct counts {
        size_t compared, different, unknown, ascii_wrong;
};

/* Columns: source; toUnicode; its status; toAsciiN; its status. Blank: as the
 * one before it says. */
static void compare_row(char *line, struct counts *counts)
{
        static struct text source, want;
        struct span rest = span_from_string(line), fields[FIELDS];
        bool is_good, is_taken;
        char out[ROUTE_DOMAIN_ROOM];
        size_t len = 0;

        for (size_t i = 0; i < FIELDS; i++) {
                (void) span_split(&rest, ';', &fields[i]);
                fields[i] = span_trim(fields[i]);
        }
        read_field(fields[0], &source);
        read_field(fields[3].len ? fields[3] : fields[1].len ? fields[1] : fields[0], &want);
        is_good = fields[4].len ? span_equal(fields[4], SPAN_LITERAL("[]"))
                                : fields[2].len == 0 || span_equal(fields[2], SPAN_LITERAL("[]"));
        /* The root's dot is taken off, which they call an empty label. */
        if (has_labels(&want) && want.octets[want.len - 1] == '.' &&
            span_equal(fields[4].len ? fields[4] : fields[2], SPAN_LITERAL("[A4_2]"))) {
                want.len--;
                is_good = true;
        }
        /* What it does not know it refuses. */
        if (is_good && (!source.is_known || !want.is_known)) {
                counts->unknown++;
                return;
        }
        /* What is ASCII already is for the DNS to know or not. */
        if (is_ascii(&source) && !is_good) {
                counts->ascii_wrong++;
                return;
        }
        counts->compared++;
        is_taken = route_normalise_domain(span_make(source.octets, source.len), out, &len);
        if (is_taken != is_good ||
            (is_good && (len != want.len || memcmp(out, want.octets, len) != 0))) {
                counts->different++;
                print_error("taken %d, wanted %d: %s -> %.*s\n", is_taken, is_good, line,
                            (int) len, out);
        }
}

TEST(rows_of_unicode_are_read_alike)
{
        const char *folder = getenv("HAYAUMA_OUTSIDE_DATA");
        struct counts counts = {0};
        char path[4096], line[LINE_ROOM];
        FILE *f;

        if (!folder)
                return;
        snprintf(path, sizeof path, "%s/IdnaTestV2.txt", folder);
        f = fopen(path, "r");
        CHECK(f, path);
        while (fgets(line, sizeof line, f)) {
                line[strcspn(line, "#\r\n")] = '\0';
                if (line[0])
                        compare_row(line, &counts);
        }
        fclose(f);
        printf("compared %zu, different %zu; with characters that ICU " U_ICU_VERSION
               " knows otherwise %zu; wrong in ASCII %zu\n",
               counts.compared, counts.different, counts.unknown, counts.ascii_wrong);
        CHECK(counts.compared > 3900 && counts.different == 0, "IdnaTestV2.txt");
}

TEST_MAIN()
