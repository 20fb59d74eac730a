#include "message/search_fold.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include <unicode/unorm2.h>
#include <unicode/ustring.h>

#include "base/utf8.h"

enum { PIECE = 64 * 1024 };

static int fold_ascii(struct span text, struct buffer *out)
{
        char *to;
        const int r = buffer_reserve(out, text.len, &to);

        if (r < 0)
                return r;
        ascii_lower_copy(to, text);
        buffer_commit(out, text.len);
        return 0;
}

static const UNormalizer2 *normalizer(void)
{
        static _Thread_local const UNormalizer2 *nfkc_fold;
        UErrorCode error = U_ZERO_ERROR;

        if (!nfkc_fold)
                nfkc_fold = unorm2_getNFKCCasefoldInstance(&error);
        return U_FAILURE(error) ? NULL : nfkc_fold;
}

/* Through UTF-16, which is ICU's own. */
static int fold_units(const UChar *units, int32_t count, struct buffer *out)
{
        UErrorCode error = U_ZERO_ERROR;
        int32_t room = 3 * count + 64, n;
        UChar *folded = malloc((size_t) room * sizeof *folded);
        char *to;
        int r = -ENOMEM;

        if (!folded || !normalizer())
                goto out;
        n = unorm2_normalize(normalizer(), units, count, folded, room, &error);
        if (error == U_BUFFER_OVERFLOW_ERROR) {
                UChar *grown = realloc(folded, (size_t) n * sizeof *folded);

                if (!grown)
                        goto out;
                folded = grown;
                error = U_ZERO_ERROR;
                n = unorm2_normalize(normalizer(), units, count, folded, n, &error);
        }
        if (U_FAILURE(error))
                goto out;
        r = buffer_reserve(out, 3 * (size_t) n + 1, &to);
        if (r < 0)
                goto out;
        {
                int32_t len = 0;

                u_strToUTF8WithSub(to, 3 * n + 1, &len, folded, n, 0xFFFD, NULL, &error);
                buffer_commit(out, U_FAILURE(error) ? 0 : (size_t) len);
        }
out:
        free(folded);
        return r;
}

static int fold_piece(struct span text, struct buffer *out)
{
        UErrorCode error = U_ZERO_ERROR;
        UChar *units = malloc((text.len + 1) * sizeof *units);
        int32_t count = 0;
        int r = -ENOMEM;

        if (!units)
                return r;
        u_strFromUTF8WithSub(units, (int32_t) text.len + 1, &count, text.p, (int32_t) text.len,
                             0xFFFD, NULL, &error);
        if (U_SUCCESS(error))
                r = fold_units(units, count, out);
        free(units);
        return r;
}

/* ---- by the table --------------------------------------------------------------- */

enum { FOLDED_MAX = 7, PAGE_CHARACTERS = 256, PAGES = 256, CHARACTER_MAX = 3 };

/* What a character becomes; `len` 0: ask the library. */
struct folded {
        char octets[FOLDED_MAX];
        uint8_t len;
};

/* Of the characters below U+10000, by their high octet; made when first needed. */
static _Thread_local struct folded *pages[PAGES];

/* It stands for itself if nothing before it can change what it becomes; then what
 * follows cannot either, since that is asked of each. */
static void fold_one(uint32_t character, struct folded *ret)
{
        struct buffer folded = BUFFER_INIT(256);
        char octets[UTF8_OCTETS_MAX];

        ret->len = 0;
        if ((character >= 0xD800 && character < 0xE000) ||
            !unorm2_hasBoundaryBefore(normalizer(), (UChar32) character))
                return;
        if (fold_piece(span_make(octets, utf8_put(character, octets)), &folded) == 0 &&
            folded.len && folded.len <= FOLDED_MAX) {
                memcpy(ret->octets, buffer_span(&folded).p, folded.len);
                ret->len = (uint8_t) folded.len;
        }
        buffer_done(&folded);
}

static const struct folded *page_of(unsigned high)
{
        struct folded *page = pages[high];

        if (page || !normalizer())
                return page;
        page = calloc(PAGE_CHARACTERS, sizeof *page);
        for (uint32_t i = 0; page && i < PAGE_CHARACTERS; i++)
                fold_one(high << 8 | i, &page[i]);
        pages[high] = page;
        return page;
}

/* The character that begins with an octet above 127 at `p`, of two or three octets;
 * 0: another, or none. */
static uint32_t short_character(const unsigned char *p, size_t left, size_t *ret_len)
{
        if (left >= 2 && p[0] >= 0xC2 && p[0] < 0xE0 && (p[1] & 0xC0) == 0x80) {
                *ret_len = 2;
                return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
        }
        if (left >= 3 && (p[0] & 0xF0) == 0xE0 && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80) {
                const uint32_t c = (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);

                *ret_len = 3;
                return c >= 0x800 ? c : 0;
        }
        return 0;
}

/* False: something is for the library to fold. */
static bool fold_by_table(struct span text, char *to, size_t *ret_len)
{
        const unsigned char *p = (const unsigned char *) text.p, *const end = p + text.len;
        char *const begin = to;

        while (p < end) {
                const struct folded *page, *f;
                uint32_t character;
                size_t len;

                if (*p < 128) {
                        *to++ = ascii_lower((char) *p++);
                        continue;
                }
                character = short_character(p, (size_t) (end - p), &len);
                page = character ? page_of(character >> 8) : NULL;
                if (!page)
                        return false;
                f = &page[character & 0xFF];
                if (f->len == 0)
                        return false;
                memcpy(to, f->octets, FOLDED_MAX);
                to += f->len;
                p += len;
        }
        *ret_len = (size_t) (to - begin);
        return true;
}

static int fold_quickly(struct span text, struct buffer *out)
{
        size_t len;
        char *to;
        /* Two octets may become seven; more are written than counted. */
        const int r = buffer_reserve(out, text.len / 2 * FOLDED_MAX + 2 * FOLDED_MAX, &to);

        if (r < 0 || !fold_by_table(text, to, &len))
                return fold_piece(text, out);
        buffer_commit(out, len);
        return 0;
}

/* ---- by pieces -------------------------------------------------------------------- */

/* They end behind a line, so that memory stays small. */
static int fold_pieces(struct span text, struct buffer *out,
                       int (*fold)(struct span text, struct buffer *out))
{
        int r = 0;

        while (text.len && r == 0) {
                size_t n = text.len;

                if (n > PIECE) {
                        const size_t line = span_find_last(span_first(text, PIECE), '\n');

                        n = line != SIZE_MAX ? line + 1 : utf8_cut(text, PIECE);
                        if (n == 0)
                                n = PIECE;
                }
                r = utf8_is_ascii(span_first(text, n)) ? fold_ascii(span_first(text, n), out)
                                                       : fold(span_first(text, n), out);
                text = span_skip(text, n);
        }
        return r;
}

int search_fold(struct span text, struct buffer *out)
{
        return fold_pieces(text, out, fold_quickly);
}

int search_fold_by_library(struct span text, struct buffer *out)
{
        return fold_pieces(text, out, fold_piece);
}
