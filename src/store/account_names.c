#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "base/clock.h"
#include "store/account.h"

static struct mailbox_status status_of(const struct mailbox *b)
{
        return (struct mailbox_status) {
                .mailbox_id = b->id,
                .name = span_make(b->name, b->name_len),
                .uid_validity = b->uid_validity,
                .uid_next = b->uid_next,
                .message_count = b->message_count,
                .unseen_count = b->unseen_count,
                .deleted_count = b->deleted_count,
                .special_use = b->special_use,
                .highest_modseq = b->highest_modseq,
                .size = b->size,
        };
}

struct mailbox *account_find_name(const struct account *a, struct span name)
{
        for (size_t i = 0; i < a->box_count; i++)
                if (span_equal(span_make(a->boxes[i].name, a->boxes[i].name_len), name))
                        return &a->boxes[i];
        return NULL;
}

size_t account_mailboxes(const struct account *a, struct mailbox_status *ret, size_t room)
{
        for (size_t i = 0; i < a->box_count && i < room; i++)
                ret[i] = status_of(&a->boxes[i]);
        return a->box_count;
}

uint64_t account_size(const struct account *a)
{
        uint64_t size = 0;

        for (size_t i = 0; i < a->box_count; i++)
                size += a->boxes[i].size;
        return size;
}

int account_mailbox(const struct account *a, struct span name, struct mailbox_status *ret)
{
        char octets[ACCOUNT_NAME_MAX];
        const struct mailbox *b = NULL;

        if (account_normalize(name, octets, &name) == 0)
                b = account_find_name(a, name);
        if (!b)
                return -ENOENT;
        *ret = status_of(b);
        return 0;
}

int account_mailbox_by_id(const struct account *a, uint64_t id, struct mailbox_status *ret)
{
        const struct mailbox *b = account_find_id(a, id);

        if (!b)
                return -ENOENT;
        *ret = status_of(b);
        return 0;
}

/* ---- names ------------------------------------------------------------------ */

/* The length of the UTF-8 sequence at `p`, 0 when it is none (RFC 3629: no
 * surrogates, no overlong forms, nothing above U+10FFFF). */
static size_t utf8_len(const unsigned char *p, size_t room)
{
        static const struct {
                unsigned char first_min, first_max, second_min, second_max;
                size_t len;
        } forms[] = {
                {0x00, 0x7f, 0x00, 0x00, 1}, {0xc2, 0xdf, 0x80, 0xbf, 2},
                {0xe0, 0xe0, 0xa0, 0xbf, 3}, {0xe1, 0xec, 0x80, 0xbf, 3},
                {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
                {0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4},
                {0xf4, 0xf4, 0x80, 0x8f, 4},
        };

        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
                if (p[0] < forms[i].first_min || p[0] > forms[i].first_max)
                        continue;
                if (forms[i].len > room)
                        return 0;
                if (forms[i].len > 1 &&
                    (p[1] < forms[i].second_min || p[1] > forms[i].second_max))
                        return 0;
                for (size_t k = 2; k < forms[i].len; k++)
                        if (p[k] < 0x80 || p[k] > 0xbf)
                                return 0;
                return forms[i].len;
        }
        return 0;
}

static bool is_control(const unsigned char *p, size_t len)
{
        if (len == 1)
                return p[0] < 0x20 || p[0] == 0x7f;
        return len == 2 && p[0] == 0xc2 && p[1] < 0xa0; /* C1 */
}

int account_normalize(struct span name, char *out, struct span *ret_name)
{
        const unsigned char *p = (const unsigned char *) name.p;
        bool is_level_empty = true;

        if (name.len == 0 || name.len > ACCOUNT_NAME_MAX)
                return -EINVAL;
        for (size_t i = 0, len; i < name.len; i += len) {
                len = utf8_len(p + i, name.len - i);
                if (len == 0 || is_control(p + i, len) || (p[i] == '/' && is_level_empty))
                        return -EINVAL;
                is_level_empty = p[i] == '/';
        }
        if (is_level_empty)
                return -EINVAL;
        memcpy(out, name.p, name.len);
        /* RFC 9051 section 5.1: INBOX in any case is the same; we say so of the
         * first level, so that nobody gets an INBOX/a beside an Inbox/a. */
        if (name.len >= 5 && strncasecmp(name.p, "inbox", 5) == 0 &&
            (name.len == 5 || name.p[5] == '/'))
                memcpy(out, "INBOX", 5);
        *ret_name = span_make(out, name.len);
        return 0;
}

/* RFC 9051 section 2.3.1.1: a mailbox that is deleted and made again has
 * another one. Ids are never reused, times go on: both together do. */
static uint32_t new_uid_validity(uint64_t mailbox_id)
{
        const uint32_t seconds = (uint32_t) (clock_now_us() / 1000000);
        const uint32_t validity = seconds + (uint32_t) mailbox_id;

        return validity ? validity : 1;
}

struct mailbox *account_new_box(struct account *a, struct span name, struct store_batch *batch)
{
        char *copy = malloc(name.len);
        struct mailbox *b = copy ? account_add_box(a, a->next_mailbox_id) : NULL;

        if (!b) {
                free(copy);
                return NULL;
        }
        a->next_mailbox_id++;
        memcpy(copy, name.p, name.len);
        b->name = copy;
        b->name_len = name.len;
        b->uid_validity = new_uid_validity(b->id);
        account_put_header(a, batch);
        account_put_name(b, batch);
        account_put_box(a, b, batch);
        return b;
}

int account_check_name(struct span name)
{
        char octets[ACCOUNT_NAME_MAX];

        return account_normalize(name, octets, &name);
}

int account_create_mailbox(struct account *a, struct span name, struct store_batch *batch)
{
        char octets[ACCOUNT_NAME_MAX];
        int r = account_normalize(name, octets, &name);

        if (r < 0)
                return r;
        if (account_find_name(a, name))
                return -EEXIST;
        return account_new_box(a, name, batch) ? 0 : -ENOMEM;
}

/* Is `name` below `level`, as "a/b" is below "a"? */
static bool is_below(struct span name, struct span level)
{
        return name.len > level.len && name.p[level.len] == '/' &&
               memcmp(name.p, level.p, level.len) == 0;
}

static int set_name(struct mailbox *b, struct span head, struct span tail,
                    struct store_batch *batch)
{
        char *name = malloc(head.len + tail.len);

        if (!name)
                return -ENOMEM;
        memcpy(name, head.p, head.len);
        if (tail.len)
                memcpy(name + head.len, tail.p, tail.len);
        free(b->name);
        b->name = name;
        b->name_len = head.len + tail.len;
        account_put_name(b, batch);
        return 0;
}

/* Nothing may change when one of the names below would not fit or is taken. */
static int check_rename(const struct account *a, struct span from, struct span to)
{
        char name[ACCOUNT_NAME_MAX];

        if (is_below(to, from))
                return -EINVAL;
        if (account_find_name(a, to))
                return -EEXIST;
        for (size_t i = 0; i < a->box_count; i++) {
                const struct span old = span_make(a->boxes[i].name, a->boxes[i].name_len);
                const struct span tail = span_skip(old, from.len);

                if (!is_below(old, from))
                        continue;
                if (to.len + tail.len > sizeof name)
                        return -EINVAL;
                memcpy(name, to.p, to.len);
                memcpy(name + to.len, tail.p, tail.len);
                if (account_find_name(a, span_make(name, to.len + tail.len)))
                        return -EEXIST;
        }
        return 0;
}

int account_rename_mailbox(struct account *a, struct span from, struct span to,
                           struct store_batch *batch)
{
        char from_octets[ACCOUNT_NAME_MAX], to_octets[ACCOUNT_NAME_MAX];
        int r = account_normalize(to, to_octets, &to);
        struct mailbox *b;

        if (r < 0)
                return r;
        if (account_normalize(from, from_octets, &from) < 0)
                return -ENOENT;
        b = account_find_name(a, from);
        if (!b)
                return -ENOENT;
        r = check_rename(a, from, to);
        if (r < 0)
                return r;
        r = set_name(b, to, span_make(NULL, 0), batch);
        /* RFC 9051 section 6.3.6: what is below INBOX stays where it is. */
        if (span_equal(from, SPAN_LITERAL("INBOX")))
                return r;
        for (size_t i = 0; i < a->box_count && r == 0; i++) {
                const struct span old = span_make(a->boxes[i].name, a->boxes[i].name_len);

                if (is_below(old, from))
                        r = set_name(&a->boxes[i], to, span_skip(old, from.len), batch);
        }
        return r;
}

int account_delete_mailbox(struct account *a, struct span name, struct store_batch *batch)
{
        char octets[ACCOUNT_NAME_MAX], key[ACCOUNT_KEY_MAX];
        struct mailbox *b = NULL;

        if (account_normalize(name, octets, &name) == 0)
                b = account_find_name(a, name);
        if (!b)
                return -ENOENT;
        if (span_equal(name, SPAN_LITERAL("INBOX")))
                return -EINVAL; /* RFC 9051 section 6.3.5 */
        if (!account_add_purged(a, b->id, name))
                return -ENOMEM;
        store_delete(batch, account_key(key, 'n', b->id));
        if (b->special_use)
                store_delete(batch, account_key(key, 'i', b->id));
        if (b->keywords)
                store_delete(batch, account_key(key, 'k', b->id));
        store_delete(batch, account_key(key, 'm', b->id));
        store_put(batch, account_key(key, 'l', b->id), name);
        account_drop_gone(b, batch);
        account_note_deleted(a, b);
        account_remove_box(a, b);
        return 0;
}
