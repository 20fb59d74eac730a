#include "queue/entry.h"

#include <errno.h>
#include <stdlib.h>

#include "base/codec.h"
#include "base/hash.h"

enum { FORMAT = 1, HELD = 1, DELAY_TOLD = 2, DELAY_OWED = 4, WAITS_FOR_HOST = 8,
       HAS_HOP_HASH = 16, HAS_DELIVER_BY = 32, MARKS = 63, RECIPIENTS_MAX = 1000 };

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

static int encode_recipient(const struct queue_recipient *q, struct buffer *b)
{
        int r = write_u32(b, q->index);

        if (r == 0)
                r = write_u8(b, q->state);
        if (r == 0)
                r = write_u8(b, q->notify);
        if (r == 0)
                r = write_u16(b, q->code);
        if (r == 0)
                r = write_octets(b, q->rcpt_to);
        if (r == 0)
                r = write_octets(b, q->orcpt);
        if (r == 0)
                r = write_octets(b, q->account);
        if (r == 0)
                r = write_octets(b, span_first(q->enhanced, 16));
        if (r == 0)
                r = write_octets(b, span_first(q->text, QUEUE_REPLY_MAX));
        if (r == 0)
                r = write_octets(b, span_first(q->host, 300));
        return r;
}

static int encode_envelope(const struct queue_entry *e, struct buffer *b)
{
        int r = write_octets(b, e->mail_from);

        if (r == 0)
                r = write_octets(b, e->envid);
        if (r == 0)
                r = write_octets(b, e->header_message_id);
        if (r == 0)
                r = write_octets(b, e->next_hop);
        if (r == 0 && e->waits_for_host && e->hop_hash)
                r = write_u64(b, e->hop_hash);
        if (r == 0)
                r = write_u32(b, (uint32_t) e->recipient_count);
        return r;
}

int queue_entry_encode(const struct queue_entry *e, struct buffer *b)
{
        const unsigned marks = (e->is_held ? HELD : 0) | (e->delay_told ? DELAY_TOLD : 0) |
                               (e->delay_owed ? DELAY_OWED : 0) |
                               (e->waits_for_host ? WAITS_FOR_HOST : 0) |
                               (e->deliver_by_us ? HAS_DELIVER_BY : 0) |
                               (e->waits_for_host && e->hop_hash ? HAS_HOP_HASH : 0);
        const size_t len = b->len;
        const uint64_t numbers[] = {e->message_id, e->arrived_us, e->due_us, e->blob_id,
                                    e->body_len};
        int r = write_u8(b, FORMAT);

        if (r == 0)
                r = write_u16(b, e->group);
        if (r == 0)
                r = write_u8(b, (uint8_t) marks);
        if (r == 0)
                r = write_u32(b, e->flags);
        if (r == 0)
                r = write_u32(b, e->attempts);
        if (r == 0)
                r = write_u32(b, e->local_prefix_len);
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && r == 0; i++)
                r = write_u64(b, numbers[i]);
        if (r == 0 && e->deliver_by_us)
                r = write_u64(b, e->deliver_by_us);
        if (r == 0)
                r = encode_envelope(e, b);
        for (size_t i = 0; i < e->recipient_count && r == 0; i++)
                r = encode_recipient(&e->recipients[i], b);
        if (r < 0)
                b->len = len;
        return r;
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
        q->enhanced = read_octets(in, 16);
        q->text = read_octets(in, QUEUE_REPLY_MAX);
        q->host = read_octets(in, 300);
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

/* The spans of `e` then point into the copy. */
static void move_spans(struct queue_entry *e, const char *old_place, const char *new_place)
{
        struct span *const spans[] = {&e->mail_from, &e->envid, &e->header_message_id,
                                      &e->next_hop};

        for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++)
                spans[i]->p = new_place + (spans[i]->p - old_place);
}

int queue_entry_decode(struct span encoded, struct queue_entry **ret_e)
{
        struct queue_entry head = {0}, *e;
        struct reader in = READER(encoded);
        size_t array_size;
        char *copy;

        /* Now it is known how many recipients there are, and so how much memory it takes. */
        decode_head(&in, &head);
        if (in.failed)
                return -EBADMSG;
        array_size = head.recipient_count * sizeof(struct queue_recipient);
        e = malloc(sizeof *e + array_size + encoded.len);
        if (!e)
                return -ENOMEM;
        *e = head;
        e->recipients = (struct queue_recipient *) (e + 1);
        copy = (char *) (e + 1) + array_size;
        memcpy(copy, encoded.p, encoded.len);
        move_spans(e, encoded.p, copy);
        e->encoded = span_make(copy, encoded.len);
        in = READER(span_skip(e->encoded, encoded.len - in.rest.len));
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
        struct buffer b = BUFFER_INIT(QUEUE_ENTRY_MAX * 4);
        int r = queue_entry_encode(changed, &b);

        if (r == 0)
                r = queue_entry_decode(buffer_span(&b), ret_e);
        buffer_done(&b);
        return r;
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
