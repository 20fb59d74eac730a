#include "wire/smtp/dot_decode.h"

#include <assert.h>
#include <stdint.h>

#ifdef __SSE2__
#include <immintrin.h>
#endif

/*  LINE_START --"."--> DOT --CR--> DOT_CR --LF--> END
 *  LINE_START, TEXT --CR--> CR --LF--> LINE_START
 *  any other octet --> TEXT; a CR or LF among them is a bad line end
 *
 * LINE_START is 0, the state just after DATA: the CRLF that ended the command
 * starts the first line (section 4.1.1.4). */
enum { LINE_START, DOT, DOT_CR, TEXT, CR, END };

/* A bare LF within a line that has no bare CR. */
static void check_line(struct dot_decoder *d, const char *line, size_t len)
{
        if (len && memchr(line, '\n', len))
                d->bad_line_end = true;
}

enum { BLOCK = 64 };

#ifdef __SSE2__
static __m128i load(const char *p)
{
        return _mm_loadu_si128((const __m128i *) (const void *) p);
}

/* Of sixteen octets, as is_plain_block(): not zero where one must be looked at by itself. */
static __m128i odd16(const char *p)
{
        const __m128i here = load(p), before = load(p - 1);
        const __m128i lf = _mm_set1_epi8('\n');
        const __m128i lone = _mm_xor_si128(_mm_cmpeq_epi8(here, lf),
                                           _mm_cmpeq_epi8(before, _mm_set1_epi8('\r')));
        const __m128i dot = _mm_and_si128(_mm_cmpeq_epi8(here, _mm_set1_epi8('.')),
                                          _mm_cmpeq_epi8(before, lf));

        return _mm_or_si128(lone, dot);
}

/* Whether in a block each LF stands behind a CR, each CR but a last one in front of an LF,
 * and no line starts with a dot. The octet before the block counts, too. */
static bool is_plain_block(const char *p)
{
        const __m128i odd = _mm_or_si128(_mm_or_si128(odd16(p), odd16(p + 16)),
                                         _mm_or_si128(odd16(p + 32), odd16(p + 48)));

        return _mm_movemask_epi8(odd) == 0;
}

/* The same with registers twice as wide, where there are some. */
#define WIDE __attribute__((target("avx2")))

static inline WIDE __m256i odd32(const char *p)
{
        const __m256i here = _mm256_loadu_si256((const __m256i *) (const void *) p);
        const __m256i before = _mm256_loadu_si256((const __m256i *) (const void *) (p - 1));
        const __m256i lf = _mm256_set1_epi8('\n');
        const __m256i lone = _mm256_xor_si256(_mm256_cmpeq_epi8(here, lf),
                                              _mm256_cmpeq_epi8(before, _mm256_set1_epi8('\r')));
        const __m256i dot = _mm256_and_si256(_mm256_cmpeq_epi8(here, _mm256_set1_epi8('.')),
                                             _mm256_cmpeq_epi8(before, lf));

        return _mm256_or_si256(lone, dot);
}

static WIDE size_t plain_blocks_wide(struct span in, size_t at)
{
        for (; in.len - at >= BLOCK; at += BLOCK) {
                const char *p = in.p + at;
                const __m256i odd = _mm256_or_si256(odd32(p), odd32(p + BLOCK / 2));

                if (!_mm256_testz_si256(odd, odd))
                        break;
        }
        return at;
}

/* Where plain blocks end that begin at `at`. */
static size_t plain_blocks(struct span in, size_t at)
{
        if (__builtin_cpu_supports("avx2"))
                return plain_blocks_wide(in, at);
        while (in.len - at >= BLOCK && is_plain_block(in.p + at))
                at += BLOCK;
        return at;
}
#else
static size_t plain_blocks(struct span in, size_t at)
{
        (void) in;
        return at;
}
#endif

/* From LINE_START, its CRLF being in `in`: text in which no line has to be looked at by
 * itself, from `at` on. Returns where it ends: in front of a CR that ends it. */
static size_t skip_blocks(struct dot_decoder *d, struct span in, size_t at)
{
        const size_t from = at;

        at = plain_blocks(in, at);
        if (at == from)
                return at;
        d->state = in.p[at - 1] == '\n' ? LINE_START : TEXT;
        return in.p[at - 1] == '\r' ? at - 1 : at;
}

/* From LINE_START or TEXT: whole lines up to one that starts with a dot, or up
 * to the last octet but for a CR that may yet get its LF. Returns the octets
 * of text, `*ret_used` counts that CR too. */
static size_t scan_lines(struct dot_decoder *d, struct span in, size_t *ret_used)
{
        size_t at = 0;

        while (at < in.len) {
                const char *line, *cr;

                if (d->state == LINE_START && at > 0)
                        at = skip_blocks(d, in, at);
                line = in.p + at;
                if (at == in.len || (d->state == LINE_START && *line == '.'))
                        break;
                cr = memchr(line, '\r', in.len - at);
                if (!cr) {
                        check_line(d, line, in.len - at);
                        d->state = TEXT;
                        at = in.len;
                        break;
                }
                check_line(d, line, (size_t) (cr - line));
                at = (size_t) (cr - in.p) + 1;
                if (at == in.len) {
                        d->state = CR;
                        *ret_used = at;
                        return at - 1;
                }
                if (in.p[at] == '\n') {
                        at++;
                        d->state = LINE_START;
                } else {
                        d->bad_line_end = true;
                        d->state = TEXT;
                }
        }
        *ret_used = at;
        return at;
}

/* One octet in a state where each one matters: the text it stands for. */
static struct span step(struct dot_decoder *d, char c)
{
        static const struct span line_end = SPAN("\r\n");
        const struct span nothing = {NULL, 0};

        if (d->state == LINE_START) {
                d->state = DOT; /* c is the dot: not text, but stuffing or the end */
        } else if (d->state == DOT && c == '\r') {
                d->state = DOT_CR;
        } else if (d->state == DOT_CR && c == '\n') {
                d->state = END;
        } else if (d->state == CR && c == '\n') {
                d->state = LINE_START;
                return line_end;
        } else {
                d->bad_line_end = true;
                d->state = c == '\r' ? CR : TEXT;
        }
        return nothing;
}

bool dot_decode(struct dot_decoder *d, struct span in, size_t *ret_in_used, struct span *ret_text)
{
        struct span text = {NULL, 0};
        size_t used = 0;

        assert(d->state != END);

        while (used < in.len && text.len == 0 && d->state != END) {
                const char c = in.p[used];

                /* A stuffed dot is left behind: the line goes on as text. */
                if (d->state == DOT && c != '\r')
                        d->state = TEXT;
                if (d->state == TEXT || (d->state == LINE_START && c != '.')) {
                        size_t n;

                        text.p = in.p + used;
                        text.len = scan_lines(d, span_skip(in, used), &n);
                        used += n;
                } else {
                        text = step(d, c);
                        used++;
                }
        }
        *ret_in_used = used;
        *ret_text = d->bad_line_end ? (struct span) {NULL, 0} : text;
        return d->state == END;
}
