/* Charsets as mail has them, encoded words, parameters. With HAYAUMA_OUTSIDE_DATA
 * the tables of the WHATWG's encodings are read, too (tests/README.md). */
#include "message/charset.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/test.h"
#include "base/utf8.h"
#include "message/encoded_word.h"
#include "message/search_fold.h"

#define ESC "\x1B"

static const struct {
        const char *name, *charset, *in, *out;
} texts[] = {
        { "kanji in ISO-2022-JP", "ISO-2022-JP", ESC "$B2q5D" ESC "(B.", "会議." },
        { "NEC row 13", "iso-2022-jp", ESC "$B-!" ESC "(B", "①" },
        { "IBM extension", "iso-2022-jp", ESC "$B|q" ESC "(B", "ⅰ" },
        { "half-width kana by escape", "iso-2022-jp", ESC "(I6^" ESC "(B", "ｶﾞ" },
        { "half-width kana as octets", "iso-2022-jp", "\xB6\xDE" "a", "ｶﾞa" },
        { "empty escapes", "iso-2022-jp", "a" ESC "$B" ESC "(Bb" ESC "$B2q" ESC "(B" ESC "$B5D",
          "ab会議" },
        { "another name", "cp50221", ESC "$B2q5D" ESC "(B", "会議" },
        { "a line begins in ASCII", "iso-2022-jp", ESC "$B2q\nab", "会\nab" },
        { "Roman goes on, and is left", "iso-2022-jp", ESC "(Ja\n\\" ESC "(B\\", "a\n¥\\" },
        { "UTF-8 declared as ISO-2022-JP", "iso-2022-jp", "会議", "会議" },
        { "Shift_JIS is windows-31j", "Shift_JIS", "\x87\x40\x89\xEF\x8B\x63", "①会議" },
        { "wave dash as Windows has it", "Shift_JIS", "\x81\x60", "～" },
        { "EUC-JP", "euc-jp", "\xB2\xF1\xB5\xC4", "会議" },
        { "ISO-8859-1 is windows-1252", "iso-8859-1", "\x80\xE9", "€é" },
        { "Big5 with the letters of ETEN", "Big5", "\xC6\xE7\xC7\xF3\xA4\xA4", "ぁА中" },
        { "Big5 with those of Hong Kong", "big5", "\x94\xDC\x9D\xEF", "啫嘅" },
        { "UTF-8 with rubbish", "utf-8", "a\xFF\xE4\xBC\x9A\xE4", "a\xEF\xBF\xBD会\xEF\xBF\xBD" },
        { "nothing said, ISO-2022-JP", "", ESC "$B2q5D" ESC "(B", "会議" },
        { "nothing said, EUC-JP", "us-ascii", "\xB2\xF1\xB5\xC4", "会議" },
        { "nothing said, one octet", "us-ascii", "caf\xE9", "café" },
        { "empty", "iso-2022-jp", "", "" },
};

TEST(charsets_are_read_as_they_are_sent)
{
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
                struct buffer out = BUFFER_INIT(1000);

                CHECK(charset_to_utf8(span_from_string(texts[i].charset),
                                      span_from_string(texts[i].in), &out) == 0, texts[i].name);
                buffer_append(&out, "", 1);
                if (strcmp(out.data, texts[i].out) != 0)
                        printf("%s: %s\n", texts[i].name, out.data);
                CHECK(strcmp(out.data, texts[i].out) == 0, texts[i].name);
                buffer_done(&out);
        }
        CHECK(!charset_is_known(SPAN_LITERAL("no-such")), "unknown");
        CHECK(!charset_is_known(SPAN_LITERAL("../../x")), "no name");
}

/* Pieces that text in ISO-2022-JP is made of, and what is wrong in it. */
static const struct span pieces[] = {
        SPAN(ESC "$B2q5D"), SPAN(ESC "(B"), SPAN(ESC "(J"), SPAN(ESC "$@"), SPAN(ESC "(I6^"),
        SPAN("abc"), SPAN("\\~"), SPAN("\r\n"), SPAN("\n"), SPAN("\r"), SPAN("$\"$$"), SPAN("2"),
        SPAN(ESC), SPAN(" "), SPAN("\t"), SPAN("-!|q"), SPAN("\x7F\x21"), SPAN("\x0E\x0F"),
        SPAN("\xB6"), SPAN(ESC "$(D"), SPAN("\0"), SPAN("!d!\""), SPAN(ESC "$B"), SPAN("~~"),
};

TEST(the_table_says_what_the_library_says)
{
        struct buffer ours = BUFFER_INIT(1 << 20), theirs = BUFFER_INIT(1 << 20);
        char text[256];

        for (unsigned row = 0x20; row < 0x80; row++) { /* every pair there can be */
                for (unsigned cell = 0x20; cell < 0x80; cell++) {
                        const int n = snprintf(text, sizeof text, ESC "$B%c%c" ESC "(B.",
                                               (int) row, (int) cell);
                        const struct span in = span_make(text, (size_t) n);

                        CHECK(charset_to_utf8(SPAN_LITERAL("iso-2022-jp"), in, &ours) == 0 &&
                              charset_japanese_by_library(in, &theirs) == 0, "pairs");
                }
        }
        CHECK(span_equal(buffer_span(&ours), buffer_span(&theirs)), "each pair alone");
        srand(1);
        for (unsigned turn = 0; turn < 20000; turn++) {
                size_t len = 0;

                for (unsigned k = 0; k < 1 + turn % 12; k++) {
                        const unsigned of = turn % 3 ? 12 : sizeof pieces / sizeof pieces[0];
                        const struct span piece = pieces[(unsigned) rand() % of];

                        memcpy(text + len, piece.p, piece.len);
                        len += piece.len;
                }
                if (memchr(text, 0xB6, len)) /* may be another charset, declared wrongly */
                        continue;
                buffer_clear(&ours);
                buffer_clear(&theirs);
                CHECK(charset_to_utf8(SPAN_LITERAL("iso-2022-jp"), span_make(text, len), &ours)
                      == 0 && charset_japanese_by_library(span_make(text, len), &theirs) == 0,
                      "read");
                CHECK(span_equal(buffer_span(&ours), buffer_span(&theirs)), "the same");
        }
        buffer_done(&ours);
        buffer_done(&theirs);
}

/* Each character alone, and between others that it may join with. */
TEST(folding_by_the_table_is_folding_by_the_library)
{
        static const char *const around[] = {
                "", "か", "\u3099", "ｶ", "ﾞ", "e", "\u0301", "\u1100", "\u1161", "\uAC00", "Σ",
                "\u0345", "\u093C", "ß", "\u200D", "\uFDFA", "İ", "\xFF", "𝐀",
        };
        struct buffer text = BUFFER_INIT(64), ours = BUFFER_INIT(1024), theirs = BUFFER_INIT(1024);

        for (uint32_t c = 1; c < 0x11000; c += c < 0x3400 || c >= 0xF900 ? 1 : 37) {
                for (size_t i = 0; i < sizeof around / sizeof around[0]; i++) {
                        char octets[UTF8_OCTETS_MAX];

                        if (c >= 0xD800 && c < 0xE000)
                                continue;
                        buffer_clear(&text);
                        buffer_clear(&ours);
                        buffer_clear(&theirs);
                        buffer_append_string(&text, around[i]);
                        buffer_append(&text, octets, utf8_put(c, octets));
                        buffer_append_string(&text, around[i]);
                        CHECK(search_fold(buffer_span(&text), &ours) == 0 &&
                              search_fold_by_library(buffer_span(&text), &theirs) == 0, "folded");
                        if (!span_equal(buffer_span(&ours), buffer_span(&theirs)))
                                printf("U+%04X between '%s'\n", (unsigned) c, around[i]);
                        CHECK(span_equal(buffer_span(&ours), buffer_span(&theirs)), "the same");
                }
        }
        buffer_done(&text);
        buffer_done(&ours);
        buffer_done(&theirs);
}

static const struct {
        const char *name, *in, *out;
} words[] = {
        { "plain", "Hello  there", "Hello  there" },
        { "B", "=?UTF-8?B?5Lya6K2w?=", "会議" },
        { "Q", "=?iso-8859-1?q?caf=E9_x?=", "café x" },
        { "words joined", "=?utf-8?q?a?= \r\n =?utf-8?q?b?= c", "ab c" },
        { "a character cut in two", "=?utf-8?b?5Lya6A==?= =?utf-8?b?rbA=?=", "会議" },
        { "ISO-2022-JP cut within", "=?ISO-2022-JP?B?GyRCMnE=?= =?ISO-2022-JP?B?NUQbKEI=?=",
          "会議" },
        { "two charsets", "=?utf-8?q?a?= =?iso-8859-1?q?=E9?=", "aé" },
        { "text between", "=?utf-8?q?a?= x =?utf-8?q?b?=", "a x b" },
        { "a fold", "a\r\n b", "a b" },
        { "with a language", "=?utf-8*en?q?a?=", "a" },
        { "not a word", "=?utf-8?x?a?= =?q", "=?utf-8?x?a?= =?q" },
        { "an unknown charset", "=?nope?q?a?=", "=?nope?q?a?=" },
        { "raw UTF-8", "会議 =?utf-8?q?=21?=", "会議 !" },
        { "raw ISO-2022-JP", ESC "$B2q5D" ESC "(B", "会議" },
        { "blanks within a word", "=?utf-8?q?a b?=", "a b" },
};

TEST(encoded_words_become_text)
{
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
                struct buffer out = BUFFER_INIT(1000);

                CHECK(encoded_word_decode(span_from_string(words[i].in), &out) == 0,
                      words[i].name);
                buffer_append(&out, "", 1);
                if (strcmp(out.data, words[i].out) != 0)
                        printf("%s: %s\n", words[i].name, out.data);
                CHECK(strcmp(out.data, words[i].out) == 0, words[i].name);
                buffer_done(&out);
        }
}

static const struct {
        const char *name, *field, *out;
} parameters[] = {
        { "plain", "attachment; filename=x.txt", "x.txt" },
        { "extended", "attachment; filename*=utf-8''%E4%BC%9A%E8%AD%B0.txt", "会議.txt" },
        { "sections", "attachment; filename*0*=utf-8'ja'%E4%BC; filename*1*=%9A; filename*2=.t",
          "会.t" },
        { "plain sections", "a; filename*1=b; filename*0=a", "ab" },
        { "an encoded word", "a; filename=\"=?ISO-2022-JP?B?GyRCMnE1RBsoQg==?=\"", "会議" },
};

TEST(parameters_are_joined_and_decoded)
{
        for (size_t i = 0; i < sizeof parameters / sizeof parameters[0]; i++) {
                struct arena arena = ARENA_INIT(100000);
                struct buffer out = BUFFER_INIT(1000);
                struct content_field f;

                CHECK(content_field_parse(span_from_string(parameters[i].field), &arena, &f) == 0,
                      parameters[i].name);
                CHECK(encoded_word_parameter(&f, SPAN_LITERAL("filename"), &out) == 0,
                      parameters[i].name);
                buffer_append(&out, "", 1);
                CHECK(strcmp(out.data, parameters[i].out) == 0, parameters[i].name);
                buffer_done(&out);
                arena_done(&arena);
        }
}

/* ---- tables from outside ------------------------------------------------------ */

static void read_table(const char *folder, const char *name, struct buffer *out)
{
        char path[1000];
        FILE *f;
        char *to;
        size_t n;

        snprintf(path, sizeof path, "%s/encodings/%s", folder, name);
        f = fopen(path, "rb");
        CHECK(f, path);
        CHECK(buffer_reserve(out, 1 << 20, &to) == 0, path);
        n = fread(to, 1, 1 << 20, f);
        buffer_commit(out, n);
        fclose(f);
}

/* Lines that are read otherwise. */
static size_t count_differences(const char *folder, const char *charset, const char *in_name,
                                const char *ref_name)
{
        struct buffer in = BUFFER_INIT(1 << 21), ref = BUFFER_INIT(1 << 21);
        struct span in_rest, ref_rest, in_line, ref_line;
        size_t different = 0, lines = 0;

        read_table(folder, in_name, &in);
        read_table(folder, ref_name, &ref);
        in_rest = buffer_span(&in);
        ref_rest = buffer_span(&ref);
        while (span_split(&in_rest, '\n', &in_line) && span_split(&ref_rest, '\n', &ref_line)) {
                struct buffer out = BUFFER_INIT(10000);

                if (lines++ >= 4) {
                        CHECK(charset_to_utf8(span_from_string(charset), in_line, &out) == 0,
                              in_name);
                        /* How many octets of rubbish one U+FFFD is for may differ. */
                        if (!memmem(ref_line.p, ref_line.len, "\xEF\xBF\xBD", 3))
                                different += !span_equal(buffer_span(&out), ref_line);
                }
                buffer_done(&out);
        }
        CHECK(lines > 5000, in_name);
        buffer_done(&in);
        buffer_done(&ref);
        return different;
}

TEST(tables_of_the_whatwg_are_read_alike)
{
        const char *folder = getenv("HAYAUMA_OUTSIDE_DATA");
        size_t jis, sjis, euc;

        if (!folder)
                return;
        jis = count_differences(folder, "iso-2022-jp", "iso_2022_jp_in.txt",
                                "iso_2022_jp_in_ref.txt");
        sjis = count_differences(folder, "shift_jis", "shift_jis_in.txt", "shift_jis_in_ref.txt");
        euc = count_differences(folder, "euc-jp", "jis0208_in.txt", "jis0208_in_ref.txt");
        printf("lines read otherwise: ISO-2022-JP %zu, Shift_JIS %zu, EUC-JP %zu\n", jis, sjis,
               euc);
        CHECK(jis == 0, "ISO-2022-JP");
        CHECK(sjis == 0, "Shift_JIS");
        CHECK(euc == 0, "EUC-JP");
}

TEST_MAIN()
