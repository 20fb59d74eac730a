#include "queue/entry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/codec.h"
#include "base/hash.h"

enum { FORMAT = 1, HELD = 1, DELAY_TOLD = 2, DELAY_OWED = 4, WAITS_FOR_HOST = 8,
       HAS_HOP_HASH = 16, HAS_DELIVER_BY = 32, MARKS = 63, RECIPIENTS_MAX = 1000,
       UPDATED_MAX = 4 * QUEUE_ENTRY_MAX };

static void put_id(char *out, uint64_t message_id, uint16_t group)
{
        key_put_u64(out, message_id);
        out[8] = (char) (group >> 8);
        out[9] = (char) group;
}

struct span queue_key(char state, uint64_t message_id, uint16_t group, char out[QUEUE_KEY_LEN])
{
        out[0] = state;
        put_id(out + 1, message_id, group);
        return span_make(out, QUEUE_KEY_LEN);
}

struct span queue_entry_key(const struct queue_entry *e, char out[QUEUE_KEY_LEN])
{
        return queue_key(e->due_us ? 'e' : 'f', e->message_id, e->group, out);
}

struct span queue_entry_due_key(const struct queue_entry *e, char out[QUEUE_DUE_KEY_LEN])
{
        out[0] = 'd';
        key_put_u64(out + 1, e->due_us);
        put_id(out + 9, e->message_id, e->group);
        return span_make(out, QUEUE_DUE_KEY_LEN);
}

uint64_t queue_hop_hash(struct span destination)
{
        return hash_span(destination, 0); /* stored: the same in every process */
}

struct span queue_entry_hop_key(const struct queue_entry *e, char out[QUEUE_HOP_KEY_LEN])
{
        out[0] = 'n';
        key_put_u64(out + 1, e->hop_hash ? e->hop_hash : queue_hop_hash(e->next_hop));
        put_id(out + 9, e->message_id, e->group);
        return span_make(out, QUEUE_HOP_KEY_LEN);
}

static int parse_key(struct span key, char kind, uint64_t *ret_first, uint64_t *ret_message_id,
                     uint16_t *ret_group)
{
        if (key.len != QUEUE_DUE_KEY_LEN || key.p[0] != kind)
                return -EINVAL;
        *ret_first = key_get_u64(key.p + 1);
        *ret_message_id = key_get_u64(key.p + 9);
        *ret_group = (uint16_t) ((unsigned char) key.p[17] << 8 | (unsigned char) key.p[18]);
        return 0;
}

int queue_hop_key_parse(struct span key, uint64_t *ret_hash, uint64_t *ret_message_id,
                        uint16_t *ret_group)
{
        return parse_key(key, 'n', ret_hash, ret_message_id, ret_group);
}

int queue_due_key_parse(struct span key, uint64_t *ret_due_us, uint64_t *ret_message_id,
                        uint16_t *ret_group)
{
        return parse_key(key, 'd', ret_due_us, ret_message_id, ret_group);
}

/* ---- the stored form --------------------------------------------------- */

enum {
        HEAD_SIZE = 1 + 2 + 1 + 3 * 4 + 5 * 8 + 4, /* all but the optional and the texts */
        RECIPIENT_HEAD_SIZE = 4 + 1 + 1 + 2,
        ENHANCED_MAX = 16,
        HOST_MAX = 300,
};

static bool has_hop_hash(const struct queue_entry *e)
{
        return e->waits_for_host && e->hop_hash;
}

static size_t text_size(struct span s, size_t len_max)
{
        return 4 + (s.len < len_max ? s.len : len_max);
}

static size_t encoded_size(const struct queue_entry *e)
{
        size_t size = HEAD_SIZE + (e->deliver_by_us ? 8U : 0U) + (has_hop_hash(e) ? 8U : 0U) +
                      4 * 4 + e->mail_from.len + e->envid.len + e->header_message_id.len +
                      e->next_hop.len;

        for (size_t i = 0; i < e->recipient_count; i++) {
                const struct queue_recipient *q = &e->recipients[i];

                size += RECIPIENT_HEAD_SIZE + 3 * 4 + q->rcpt_to.len + q->orcpt.len +
                        q->account.len + text_size(q->enhanced, ENHANCED_MAX) +
                        text_size(q->text, QUEUE_REPLY_MAX) + text_size(q->host, HOST_MAX);
        }
        return size;
}

static void put_u8(char **at, unsigned v)
{
        *(*at)++ = (char) v;
}

static void put_u16(char **at, unsigned v)
{
        put_u8(at, v);
        put_u8(at, v >> 8);
}

static void put_u32(char **at, uint32_t v)
{
        codec_put_u32(*at, v);
        *at += 4;
}

static void put_u64(char **at, uint64_t v)
{
        codec_put_u64(*at, v);
        *at += 8;
}

/* The text stands where it was put from then on. */
static void put_text(char **at, struct span *text)
{
        char *const to = *at + 4;

        put_u32(at, (uint32_t) text->len);
        if (text->len)
                memcpy(to, text->p, text->len);
        *at += text->len;
        text->p = to;
}

static void put_recipient(char **at, struct queue_recipient *q)
{
        struct span *const texts[] = {&q->rcpt_to, &q->orcpt, &q->account,
                                      &q->enhanced, &q->text, &q->host};

        q->enhanced = span_first(q->enhanced, ENHANCED_MAX);
        q->text = span_first(q->text, QUEUE_REPLY_MAX);
        q->host = span_first(q->host, HOST_MAX);
        put_u32(at, q->index);
        put_u8(at, q->state);
        put_u8(at, q->notify);
        put_u16(at, q->code);
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
                put_text(at, texts[i]);
}

/* Writes `e` to `at`, and has its texts point there. */
static void encode(struct queue_entry *e, char *at)
{
        const unsigned marks = (e->is_held ? HELD : 0) | (e->delay_told ? DELAY_TOLD : 0) |
                               (e->delay_owed ? DELAY_OWED : 0) |
                               (e->waits_for_host ? WAITS_FOR_HOST : 0) |
                               (e->deliver_by_us ? HAS_DELIVER_BY : 0) |
                               (has_hop_hash(e) ? HAS_HOP_HASH : 0);

        put_u8(&at, FORMAT);
        put_u16(&at, e->group);
        put_u8(&at, marks);
        put_u32(&at, e->flags);
        put_u32(&at, e->attempts);
        put_u32(&at, e->local_prefix_len);
        put_u64(&at, e->message_id);
        put_u64(&at, e->arrived_us);
        put_u64(&at, e->due_us);
        put_u64(&at, e->blob_id);
        put_u64(&at, e->body_len);
        if (e->deliver_by_us)
                put_u64(&at, e->deliver_by_us);
        put_text(&at, &e->mail_from);
        put_text(&at, &e->envid);
        put_text(&at, &e->header_message_id);
        put_text(&at, &e->next_hop);
        if (has_hop_hash(e))
                put_u64(&at, e->hop_hash);
        put_u32(&at, (uint32_t) e->recipient_count);
        for (size_t i = 0; i < e->recipient_count; i++)
                put_recipient(&at, &e->recipients[i]);
        assert(at == e->encoded.p + e->encoded.len);
}

static void decode_recipient(struct reader *in, struct queue_recipient *q)
{
        q->index = read_u32(in);
        q->state = read_u8(in);
        q->notify = read_u8(in);
        q->code = read_u16(in);
        q->rcpt_to = read_octets(in, QUEUE_ENTRY_MAX);
        q->orcpt = read_octets(in, QUEUE_ENTRY_MAX);
        q->account = read_octets(in, QUEUE_ENTRY_MAX);
        q->enhanced = read_octets(in, ENHANCED_MAX);
        q->text = read_octets(in, QUEUE_REPLY_MAX);
        q->host = read_octets(in, HOST_MAX);
        if (q->state < RECIPIENT_WAITING || q->state > RECIPIENT_EXPANDED)
                in->failed = true;
}

static void decode_head(struct reader *in, struct queue_entry *e)
{
        unsigned marks;

        if (read_u8(in) != FORMAT)
                in->failed = true;
        e->group = read_u16(in);
        marks = read_u8(in);
        e->is_held = marks & HELD;
        e->delay_told = marks & DELAY_TOLD;
        e->delay_owed = marks & DELAY_OWED;
        e->waits_for_host = marks & WAITS_FOR_HOST;
        e->flags = read_u32(in);
        e->attempts = read_u32(in);
        e->local_prefix_len = read_u32(in);
        e->message_id = read_u64(in);
        e->arrived_us = read_u64(in);
        e->due_us = read_u64(in);
        e->blob_id = read_u64(in);
        e->body_len = read_u64(in);
        e->deliver_by_us = marks & HAS_DELIVER_BY ? read_u64(in) : 0;
        e->mail_from = read_octets(in, QUEUE_ENTRY_MAX);
        e->envid = read_octets(in, QUEUE_ENTRY_MAX);
        e->header_message_id = read_octets(in, QUEUE_ENTRY_MAX);
        e->next_hop = read_octets(in, QUEUE_ENTRY_MAX);
        if (marks & HAS_HOP_HASH)
                e->hop_hash = read_u64(in);
        e->recipient_count = read_u32(in);
        if (e->recipient_count > RECIPIENTS_MAX || e->local_prefix_len > e->body_len ||
            marks > MARKS)
                in->failed = true;
}

/* With room for so much behind it, which is not filled: nothing else is either. */
static struct queue_entry *entry_new(size_t recipient_count, size_t encoded_len)
{
        const size_t array_size = recipient_count * sizeof(struct queue_recipient);
        struct queue_entry *e = malloc(sizeof *e + array_size + encoded_len);

        if (!e)
                return NULL;
        e->recipients = (struct queue_recipient *) (e + 1);
        e->encoded = span_make((const char *) (e + 1) + array_size, encoded_len);
        return e;
}

/* Where the octets of a new entry go. */
static char *octets_of(struct queue_entry *e)
{
        return (char *) (e->recipients + e->recipient_count);
}

int queue_entry_decode(struct span encoded, struct queue_entry **ret_e)
{
        struct queue_entry head = {0}, *e;
        struct reader in = READER(encoded);

        /* Now it is known how many recipients there are, and so how much memory it takes. */
        decode_head(&in, &head);
        if (in.failed)
                return -EBADMSG;
        e = entry_new(head.recipient_count, encoded.len);
        if (!e)
                return -ENOMEM;
        head.recipients = e->recipients;
        head.encoded = e->encoded;
        *e = head;
        memcpy(octets_of(e), encoded.p, encoded.len);
        in = READER(e->encoded);
        decode_head(&in, e);
        for (size_t i = 0; i < e->recipient_count; i++)
                decode_recipient(&in, &e->recipients[i]);
        if (!read_is_complete(&in)) {
                free(e);
                return -EBADMSG;
        }
        *ret_e = e;
        return 0;
}

int queue_entry_update(const struct queue_entry *changed, struct queue_entry **ret_e)
{
        const size_t size = encoded_size(changed);
        struct queue_entry *e;

        if (size > UPDATED_MAX || changed->recipient_count > RECIPIENTS_MAX)
                return -EMSGSIZE;
        e = entry_new(changed->recipient_count, size);
        if (!e)
                return -ENOMEM;
        *e = (struct queue_entry) {
                .message_id = changed->message_id, .group = changed->group,
                .is_held = changed->is_held, .delay_told = changed->delay_told,
                .delay_owed = changed->delay_owed, .waits_for_host = changed->waits_for_host,
                .hop_hash = has_hop_hash(changed) ? changed->hop_hash : 0,
                .flags = changed->flags, .attempts = changed->attempts,
                .arrived_us = changed->arrived_us, .deliver_by_us = changed->deliver_by_us,
                .due_us = changed->due_us, .blob_id = changed->blob_id,
                .body_len = changed->body_len, .local_prefix_len = changed->local_prefix_len,
                .mail_from = changed->mail_from, .envid = changed->envid,
                .header_message_id = changed->header_message_id, .next_hop = changed->next_hop,
                .recipients = e->recipients, .recipient_count = changed->recipient_count,
                .encoded = e->encoded,
        };
        for (size_t i = 0; i < changed->recipient_count; i++)
                e->recipients[i] = changed->recipients[i];
        encode(e, octets_of(e));
        *ret_e = e;
        return 0;
}

struct queue_entry *queue_entry_free(struct queue_entry *e)
{
        free(e);
        return NULL;
}

bool queue_entry_owes(const struct queue_entry *e)
{
        for (size_t i = 0; i < e->recipient_count; i++)
                if (e->recipients[i].state != RECIPIENT_WAITING &&
                    e->recipients[i].state != RECIPIENT_DONE)
                        return true;
        return e->delay_owed;
}

size_t queue_entry_count(const struct queue_entry *e, enum recipient_state state)
{
        size_t count = 0;

        for (size_t i = 0; i < e->recipient_count; i++)
                count += e->recipients[i].state == state;
        return count;
}
