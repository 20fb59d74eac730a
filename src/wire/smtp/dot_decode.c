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
typedef unsigned char half __attribute__((vector_size(BLOCK / 2)));

/* Adds marks of an LF that is not behind a CR, of what is behind a CR and no LF, and of a dot
 * that starts a line. */
static inline __attribute__((always_inline)) void mark_odd(const char *p, half *marks)
{
        half here, before;

        memcpy(&here, p, sizeof here);
        memcpy(&before, p - 1, sizeof before);
        *marks |= (half) ((here == '\n') ^ (before == '\r')) |
                  (half) ((here == '.') & (before == '\n'));
}

/* Where blocks end that begin at `at` and in which each LF stands behind a CR, each CR but a
 * last one in front of an LF, and no line starts with a dot. The octet before them counts, too.
 * Its callers differ in the registers that it may use. */
static inline __attribute__((always_inline)) size_t skip_plain(struct span in, size_t at,
                                                               bool is_any(const half *marks))
{
        for (; in.len - at >= BLOCK; at += BLOCK) {
                half odd = {0};

                mark_odd(in.p + at, &odd);
                mark_odd(in.p + at + sizeof odd, &odd);
                if (is_any(&odd))
                        break;
        }
        return at;
}

static inline bool is_any(const half *marks)
{
        __m128i halves[2];

        memcpy(halves, marks, sizeof halves);
        return _mm_movemask_epi8(_mm_or_si128(halves[0], halves[1])) != 0;
}

#define WIDE __attribute__((target("avx2")))

static inline WIDE bool is_any_wide(const half *marks)
{
        __m256i all;

        memcpy(&all, marks, sizeof all);
        return !_mm256_testz_si256(all, all);
}

static WIDE size_t plain_blocks_wide(struct span in, size_t at)
{
        return skip_plain(in, at, is_any_wide);
}

static size_t plain_blocks(struct span in, size_t at)
{
        return __builtin_cpu_supports("avx2") ? plain_blocks_wide(in, at)
                                              : skip_plain(in, at, is_any);
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
