#include "ctl/send_recipients.h"

#include <errno.h>
#include <stdlib.h>

#include "message/address.h"

void send_recipients_done(struct send_recipients *r)
{
        arena_done(&r->arena);
        free(r->items);
        *r = (struct send_recipients) {0};
}

/* ---- cutting the list --------------------------------------------------- */

/* Octets of the thing that starts at `s`: a quoted string, a domain literal, a
 * comment with those in it, or one octet. An open one runs to the end. */
static size_t token_len(struct span s)
{
        const char open = s.p[0];
        const char close = open == '"' ? '"' : open == '[' ? ']' : open == '(' ? ')' : '\0';
        size_t depth = 1, i = 1;

        if (!close)
                return 1;
        for (; i < s.len && depth; i++) {
                if (s.p[i] == '\\')
                        i++;
                else if (s.p[i] == close)
                        depth--;
                else if (s.p[i] == '(' && open == '(')
                        depth++;
        }
        return i < s.len ? i : s.len;
}

/* One element being collected: `plain` is what stands outside of angle
 * brackets without comments and blanks, `angle` what stood in them. */
struct element {
        char *plain, *angle;
        size_t plain_len, angle_len;
        bool has_angle, in_angle;
        bool has_gap;    /* a blank was seen behind plain text */
        bool has_words;  /* plain text of several words: a display name, or nothing good */
};

static void element_clear(struct element *e)
{
        *e = (struct element) {.plain = e->plain, .angle = e->angle};
}

/* Blanks may stand around "@" and "."; between other words they make a name. */
static void add_plain(struct element *e, struct span token)
{
        const char last = e->plain_len ? e->plain[e->plain_len - 1] : '@';

        if (e->has_gap && last != '@' && last != '.' && token.p[0] != '@' && token.p[0] != '.')
                e->has_words = true;
        e->has_gap = false;
        memcpy(e->plain + e->plain_len, token.p, token.len);
        e->plain_len += token.len;
}

static void add_token(struct element *e, struct span token)
{
        const char c = token.p[0];

        if (c == '(')
                e->has_gap = true;
        else if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
                e->has_gap = true;
        else if (c == '<' && !e->in_angle)
                e->in_angle = e->has_angle = true;
        else if (c == '>' && e->in_angle)
                e->in_angle = false;
        else if (e->in_angle) {
                memcpy(e->angle + e->angle_len, token.p, token.len);
                e->angle_len += token.len;
        } else
                add_plain(e, token);
}

/* ---- adding ------------------------------------------------------------- */

static int qualify(struct send_recipients *r, struct span text, struct span *ret)
{
        struct address a;
        struct span formatted;

        if (address_parse(text, true, &a) < 0)
                return -EINVAL;
        if (!a.domain.len)
                a.domain = r->hostname;
        formatted = address_format(&a, &r->arena);
        if (!formatted.p)
                return -ENOMEM;
        *ret = formatted;
        return 0;
}

static int add_address(struct send_recipients *r, struct span text)
{
        struct span address;
        int result = qualify(r, text, &address);

        if (result < 0) {
                r->bad = arena_copy(&r->arena, text);
                return result;
        }
        for (size_t i = 0; i < r->count; i++)
                if (span_equal(r->items[i].address, address))
                        return 0;
        if (r->count == SEND_RECIPIENTS_MAX)
                return -E2BIG;
        if (r->count == r->room) {
                const size_t room = r->room ? r->room * 2 : 16;
                struct send_recipient *items = reallocarray(r->items, room, sizeof *items);

                if (!items)
                        return -ENOMEM;
                r->items = items;
                r->room = room;
        }
        r->items[r->count++] = (struct send_recipient) {.address = address};
        return 0;
}

/* The end of an element: adds its address, if it has one. */
static int end_element(struct send_recipients *r, struct element *e)
{
        const struct span plain = span_make(e->plain, e->plain_len);
        int result = 0;

        if (e->in_angle || (e->has_words && !e->has_angle)) {
                r->bad = arena_copy(&r->arena, plain.len ? plain : SPAN_LITERAL("<"));
                result = -EINVAL;
        } else if (e->has_angle) {
                if (e->angle_len)
                        result = add_address(r, span_make(e->angle, e->angle_len));
        } else if (plain.len) {
                result = add_address(r, plain);
        }
        element_clear(e);
        return result;
}

static int add_list(struct send_recipients *r, struct span text, struct element *e)
{
        bool in_group = false;
        int result = 0;

        while (text.len && result == 0) {
                const struct span token = span_first(text, token_len(text));
                const char c = token.p[0];

                text = span_skip(text, token.len);
                if (c == ',' && !e->in_angle) {
                        result = end_element(r, e);
                } else if (c == ':' && !e->in_angle && !in_group) {
                        in_group = true;
                        element_clear(e); /* the group's name */
                } else if (c == ';' && !e->in_angle && in_group) {
                        in_group = false;
                        result = end_element(r, e);
                } else {
                        add_token(e, token);
                }
        }
        return result == 0 ? end_element(r, e) : result;
}

int send_recipients_add(struct send_recipients *r, struct span text)
{
        struct element e = {.plain = malloc(text.len + 1), .angle = malloc(text.len + 1)};
        const int result = e.plain && e.angle ? add_list(r, text, &e) : -ENOMEM;

        free(e.plain);
        free(e.angle);
        return result;
}

int send_recipients_qualify(struct send_recipients *r, struct span text, struct span *ret)
{
        struct send_recipients one = SEND_RECIPIENTS_INIT(r->hostname);
        int result = send_recipients_add(&one, text);

        if (result == 0 && one.count > 1)
                result = -EINVAL;
        if (result == 0 && one.count == 0)
                *ret = (struct span) {"", 0};
        if (result == 0 && one.count == 1) {
                *ret = arena_copy(&r->arena, one.items[0].address);
                result = ret->p ? 0 : -ENOMEM;
        }
        send_recipients_done(&one);
        return result;
}
