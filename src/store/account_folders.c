#include <errno.h>
#include <stdlib.h>

#include "store/account.h"
#include "store/batch.h"

/* ---- subscriptions ---------------------------------------------------------- */

static size_t find_subscription(const struct account *a, struct span name)
{
        for (size_t i = 0; i < a->subscription_count; i++)
                if (span_equal(span_from_string(a->subscriptions[i]), name))
                        return i;
        return SIZE_MAX;
}

int account_read_subscription(struct account *a, struct span name)
{
        char *copy;

        if (name.len == 0 || name.len > ACCOUNT_NAME_MAX || span_find(name, '\0') != SIZE_MAX)
                return -EBADMSG;
        if (a->subscription_count == a->subscription_room) {
                const size_t room = a->subscription_room ? a->subscription_room * 2 : 4;
                char **grown = realloc(a->subscriptions, room * sizeof(char *));

                if (!grown)
                        return -ENOMEM;
                a->subscriptions = grown;
                a->subscription_room = room;
        }
        copy = strndup(name.p, name.len);
        if (!copy)
                return -ENOMEM;
        a->subscriptions[a->subscription_count++] = copy;
        return 0;
}

void account_free_subscriptions(struct account *a)
{
        for (size_t i = 0; i < a->subscription_count; i++)
                free(a->subscriptions[i]);
        free(a->subscriptions);
}

int account_subscribe(struct account *a, struct span name, bool is_subscribed,
                      struct store_batch *batch)
{
        char octets[ACCOUNT_NAME_MAX], key[1 + ACCOUNT_NAME_MAX];
        int r = account_normalize(name, octets, &name);
        size_t at;

        if (r < 0)
                return r;
        at = find_subscription(a, name);
        if ((at != SIZE_MAX) == is_subscribed)
                return 0;
        if (is_subscribed && a->subscription_count >= ACCOUNT_SUBSCRIPTIONS_MAX)
                return -EDQUOT;
        key[0] = 'j';
        memcpy(key + 1, name.p, name.len);
        if (is_subscribed) {
                r = account_read_subscription(a, name);
                if (r == 0)
                        store_put(batch, span_make(key, 1 + name.len), span_make(NULL, 0));
                return r;
        }
        store_delete(batch, span_make(key, 1 + name.len));
        free(a->subscriptions[at]);
        a->subscriptions[at] = a->subscriptions[--a->subscription_count];
        return 0;
}

bool account_is_subscribed(const struct account *a, struct span name)
{
        return find_subscription(a, name) != SIZE_MAX;
}

size_t account_subscriptions(const struct account *a, struct span *ret, size_t room)
{
        for (size_t i = 0; i < a->subscription_count && i < room; i++)
                ret[i] = span_from_string(a->subscriptions[i]);
        return a->subscription_count;
}

/* ---- deleted mailboxes -------------------------------------------------------- */

struct purged *account_add_purged(struct account *a, uint64_t id, struct span name)
{
        struct purged *grown = reallocarray(a->purged, a->purged_count + 1, sizeof *grown);
        struct purged *p;

        if (!grown)
                return NULL;
        a->purged = grown;
        p = &a->purged[a->purged_count++];
        *p = (struct purged) {.id = id};
        if (name.len && name.len <= sizeof p->name) {
                memcpy(p->name, name.p, name.len);
                p->name_len = name.len;
        }
        return p;
}

/* ---- special uses ----------------------------------------------------------- */

int account_set_special_use(struct account *a, struct span name, uint32_t special_use,
                            struct store_batch *batch)
{
        char octets[ACCOUNT_NAME_MAX], key[ACCOUNT_KEY_MAX], value[4];
        struct mailbox *b = NULL;

        if (account_normalize(name, octets, &name) == 0)
                b = account_find_name(a, name);
        if (!b)
                return -ENOENT;
        if (b->special_use == special_use)
                return 0;
        b->special_use = special_use;
        key_put_u32(value, special_use);
        if (special_use)
                store_put(batch, account_key(key, 'i', b->id), span_make(value, sizeof value));
        else
                store_delete(batch, account_key(key, 'i', b->id));
        return 0;
}

/* ---- keywords --------------------------------------------------------------- */

static int add_keyword(struct mailbox *b, struct span name)
{
        struct account_keywords *k = b->keywords;

        if (name.len == 0 || name.len > MAILBOX_KEYWORD_LENGTH_MAX)
                return -EINVAL;
        if (!k)
                k = b->keywords = calloc(1, sizeof(struct account_keywords));
        if (!k)
                return -ENOMEM;
        if (k->count == MAILBOX_KEYWORDS_MAX)
                return -EDQUOT;
        memcpy(k->octets[k->count], name.p, name.len);
        k->names[k->count] = span_make(k->octets[k->count], name.len);
        k->count++;
        return 0;
}

int account_read_keywords(struct mailbox *b, struct span value)
{
        struct reader r = READER(value);

        while (r.rest.len && !r.failed)
                if (add_keyword(b, read_octets(&r, MAILBOX_KEYWORD_LENGTH_MAX)) < 0)
                        return -EBADMSG;
        return r.failed ? -EBADMSG : 0;
}

static void put_keywords(const struct mailbox *b, struct store_batch *batch)
{
        struct buffer value = BUFFER_INIT(sizeof(struct account_keywords) + 1024);
        char key[ACCOUNT_KEY_MAX];

        for (unsigned i = 0; i < b->keywords->count; i++)
                if (write_octets(&value, b->keywords->names[i]) < 0) /* all of them fit */
                        batch->error = -ENOMEM;
        store_put(batch, account_key(key, 'k', b->id), buffer_span(&value));
        buffer_done(&value);
}

/* RFC 9051 section 2.3.2: keywords are the same in any case. */
static unsigned find_keyword(const struct mailbox *b, struct span name)
{
        unsigned i = 0;

        while (b->keywords && i < b->keywords->count &&
               !span_equal_nocase(b->keywords->names[i], name))
                i++;
        return b->keywords ? i : 0;
}

int account_keyword_bits(struct mailbox *b, const struct span *names, size_t count,
                         struct store_batch *batch, uint32_t *ret_bits)
{
        uint32_t bits = 0;
        bool is_new = false;
        int r = 0;

        for (size_t i = 0; i < count && r == 0; i++) {
                const unsigned bit = find_keyword(b, names[i]);

                if (!b->keywords || bit == b->keywords->count) {
                        r = add_keyword(b, names[i]);
                        is_new = is_new || r == 0;
                }
                if (r == 0)
                        bits |= UINT32_C(1) << bit;
        }
        if (is_new)
                put_keywords(b, batch);
        if (r == 0)
                *ret_bits = bits;
        return r;
}

uint32_t account_translate_keywords(struct mailbox *to, const struct mailbox *from, uint32_t bits,
                                    struct store_batch *batch)
{
        uint32_t translated = 0;

        if (to == from || !from->keywords)
                return bits;
        for (unsigned i = 0; i < from->keywords->count; i++) {
                uint32_t bit = 0;

                if ((bits & UINT32_C(1) << i) &&
                    account_keyword_bits(to, &from->keywords->names[i], 1, batch, &bit) == 0)
                        translated |= bit;
        }
        return translated;
}

unsigned account_keywords(const struct account *a, uint64_t mailbox_id, struct span *ret)
{
        const struct mailbox *b = account_find_id(a, mailbox_id);

        if (!b || !b->keywords)
                return 0;
        memcpy(ret, b->keywords->names, b->keywords->count * sizeof ret[0]);
        return b->keywords->count;
}
