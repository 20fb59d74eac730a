#include "policy/decision.h"

#include <errno.h>
#include <stddef.h>

/* A record: the octets 'D' and 1 (the format), u64 message id, then steps.
 *
 * A step: u16 what is there (bits below), u16 kind, u64 time, then u32
 * recipient, u16 code and the strings that are there, in the order of the
 * struct, each u16 length and octets. What has its default value (about the
 * message, no code, empty) is never written, so a record has one form only and
 * a step costs 12 octets and what it says. */
enum {
        FORMAT_MARK = 'D',
        FORMAT_NUMBER = 1,

        STEP_HEAD = 2 + 2 + 8, /* what each step has */
        STRING_COUNT = 8, /* bits 0 to 7 */
        STRINGS = (1 << STRING_COUNT) - 1,
        HAS_RECIPIENT = 1 << 8,
        HAS_CODE = 1 << 9,
        HAS_ALL = (1 << 10) - 1,
};

/* Where the strings of a step are, in the order of their bits. */
#define STRING_AT(name) offsetof(struct decision_step, name)
static const size_t string_at[STRING_COUNT] = {
        STRING_AT(rule), STRING_AT(origin), STRING_AT(rcpt_to), STRING_AT(enhanced),
        STRING_AT(text), STRING_AT(next),   STRING_AT(host),    STRING_AT(detail),
};

static const struct span *step_string(const struct decision_step *step, int i)
{
        return (const struct span *) (const void *) ((const char *) step + string_at[i]);
}

static void set_step_string(struct decision_step *step, int i, struct span s)
{
        *(struct span *) (void *) ((char *) step + string_at[i]) = s;
}

int decision_begin(struct buffer *b, uint64_t message_id)
{
        int r;

        buffer_clear(b);
        r = write_u8(b, FORMAT_MARK);
        if (r == 0)
                r = write_u8(b, FORMAT_NUMBER);
        if (r == 0)
                r = write_u64(b, message_id);
        if (r < 0)
                buffer_clear(b);
        return r;
}

static char *put_u16(char *to, unsigned v)
{
        to[0] = (char) v;
        to[1] = (char) (v >> 8);
        return to + 2;
}

int decision_add(struct buffer *b, const struct decision_step *step)
{
        size_t size = STEP_HEAD;
        unsigned mask = 0;
        char *at;
        int r;

        for (int i = 0; i < STRING_COUNT; i++) {
                const size_t len = step_string(step, i)->len;

                if (len > DECISION_STRING_MAX)
                        return -EMSGSIZE;
                if (len)
                        mask |= 1U << i;
                size += len ? 2 + len : 0;
        }
        if (step->recipient != DECISION_MESSAGE) {
                mask |= HAS_RECIPIENT;
                size += 4;
        }
        if (step->code) {
                mask |= HAS_CODE;
                size += 2;
        }

        r = buffer_reserve(b, size, &at);
        if (r < 0)
                return r;
        put_u16(at, mask);
        put_u16(at + 2, step->kind);
        codec_put_u64(at + 4, step->at_us);
        at += STEP_HEAD;
        if (mask & HAS_RECIPIENT) {
                codec_put_u32(at, step->recipient);
                at += 4;
        }
        if (mask & HAS_CODE)
                at = put_u16(at, step->code);
        for (unsigned left = mask & STRINGS; left; left &= left - 1) {
                const struct span s = *step_string(step, __builtin_ctz(left));

                at = put_u16(at, (unsigned) s.len);
                memcpy(at, s.p, s.len);
                at += s.len;
        }
        buffer_commit(b, size);
        return 0;
}

int decision_open(struct span record, uint64_t *ret_message_id, struct reader *ret_reader)
{
        struct reader r = READER(record);
        const uint8_t mark = read_u8(&r), number = read_u8(&r);
        const uint64_t message_id = read_u64(&r);

        if (r.failed || mark != FORMAT_MARK || number != FORMAT_NUMBER)
                return -EBADMSG;
        *ret_message_id = message_id;
        *ret_reader = r;
        return 0;
}

bool decision_next(struct reader *r, struct decision_step *ret_step)
{
        struct decision_step step = {.recipient = DECISION_MESSAGE};
        unsigned mask;

        if (r->failed || r->rest.len == 0)
                return false;
        mask = read_u16(r);
        step.kind = read_u16(r);
        step.at_us = read_u64(r);
        if (mask & HAS_RECIPIENT) {
                step.recipient = read_u32(r);
                r->failed |= step.recipient == DECISION_MESSAGE;
        }
        if (mask & HAS_CODE) {
                step.code = read_u16(r);
                r->failed |= step.code == 0;
        }
        for (unsigned left = mask & STRINGS; left; left &= left - 1) {
                const size_t len = read_u16(r);

                r->failed |= len == 0 || len > DECISION_STRING_MAX;
                set_step_string(&step, __builtin_ctz(left), read_raw(r, len));
        }
        r->failed |= (mask & ~(unsigned) HAS_ALL) != 0;
        if (r->failed)
                return false;
        *ret_step = step;
        return true;
}

const char *decision_kind_name(unsigned kind)
{
        static const char *const names[] = {
                [DECISION_RECEIVED] = "received",   [DECISION_ACCEPTED] = "accepted",
                [DECISION_REFUSED] = "refused",     [DECISION_RULE] = "rule",
                [DECISION_ROUTED] = "routed",       [DECISION_COMMITTED] = "committed",
                [DECISION_ATTEMPT] = "attempt",     [DECISION_DEFERRED] = "deferred",
                [DECISION_RELAYED] = "relayed",     [DECISION_STORED] = "stored",
                [DECISION_BOUNCED] = "bounced",     [DECISION_DROPPED] = "dropped",
                [DECISION_HELD] = "held",           [DECISION_DISCARDED] = "discarded",
                [DECISION_NOTIFIED] = "notified",
        };

        if (kind >= sizeof names / sizeof names[0] || !names[kind])
                return "unknown";
        return names[kind];
}
