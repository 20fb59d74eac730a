#include "ipc/message.h"

#include <errno.h>

/* Payload: for each field in the schema's order one octet, its place from 1,
 * then the value. The place costs one octet and turns a decoder that has lost
 * its way into a refusal at the next field. */

/* Items: u32 count, then the encoded items as octets. An item: octets that
 * hold its fields. */

static int put_items(struct buffer *b, struct ipc_items items, size_t count_max)
{
        int r;

        if (items.count > count_max)
                return -EMSGSIZE;
        r = write_u32(b, items.count);
        return r < 0 ? r : write_octets(b, items.octets);
}

static int put_octets(struct buffer *b, struct span s, size_t size_max)
{
        return s.len > size_max ? -EMSGSIZE : write_octets(b, s);
}

#define PUT_U8(name, size_max) write_u8(b, m->name)
#define PUT_U16(name, size_max) write_u16(b, m->name)
#define PUT_U32(name, size_max) write_u32(b, m->name)
#define PUT_U64(name, size_max) write_u64(b, m->name)
#define PUT_BOOL(name, size_max) write_u8(b, m->name)
#define PUT_OCTETS(name, size_max) put_octets(b, m->name, size_max)
#define PUT_ITEMS(name, size_max) put_items(b, m->name, size_max)
#define PUT(kind, name, size_max, item)                                                            \
        if (r == 0)                                                                                \
                r = write_u8(b, ++place);                                                          \
        if (r == 0)                                                                                \
                r = PUT_##kind(name, size_max);

#define DEFINE_PUT(name)                                                                           \
        static int put_##name(struct buffer *b, const struct ipc_##name *m)                        \
        {                                                                                          \
                const size_t len = b->len;                                                         \
                uint8_t place = 0;                                                                 \
                int r = 0;                                                                         \
                IPC_FIELDS_##name(PUT) if (r < 0) b->len = len;                                    \
                return r;                                                                          \
        }
#define DEFINE_PUT_MESSAGE(number, name) DEFINE_PUT(name)
IPC_ITEM_KINDS(DEFINE_PUT)
IPC_MESSAGES(DEFINE_PUT_MESSAGE)

#define DEFINE_ENCODE(number, name)                                                                \
        int ipc_encode_##name(struct buffer *b, const struct ipc_##name *m)                        \
        {                                                                                          \
                return put_##name(b, m);                                                           \
        }
IPC_MESSAGES(DEFINE_ENCODE)

#define DEFINE_ADD(name)                                                                           \
        int ipc_add_##name(struct buffer *b, struct ipc_items *items, const struct ipc_##name *m)  \
        {                                                                                          \
                const size_t len = b->len;                                                         \
                int r = write_u32(b, 0);                                                           \
                if (r == 0)                                                                        \
                        r = put_##name(b, m);                                                      \
                if (r < 0) {                                                                       \
                        b->len = len;                                                              \
                        return r;                                                                  \
                }                                                                                  \
                const size_t size = b->len - len - 4;                                              \
                for (size_t i = 0; i < 4; i++)                                                     \
                        b->data[b->start + len + i] = (char) (size >> (8 * i));                    \
                items->count++;                                                                    \
                items->octets = buffer_span(b);                                                    \
                return 0;                                                                          \
        }
IPC_ITEM_KINDS(DEFINE_ADD)

static bool get_bool(struct reader *in)
{
        const uint8_t v = read_u8(in);

        if (v > 1)
                in->failed = true;
        return v == 1;
}

/* Every item must decode, and there must be as many as were announced. */
static struct ipc_items get_items(struct reader *in, size_t count_max,
                                  bool (*is_item)(struct reader *items))
{
        struct ipc_items items;
        struct reader each;

        items.count = read_u32(in);
        items.octets = read_octets(in, IPC_PAYLOAD_MAX);
        each = READER(items.octets);
        if (items.count > count_max)
                in->failed = true;
        for (uint32_t i = 0; i < items.count && !in->failed; i++)
                if (!is_item(&each))
                        in->failed = true;
        if (each.rest.len)
                in->failed = true;
        return items;
}

#define GET_U8(name, size_max, item) m->name = read_u8(in)
#define GET_U16(name, size_max, item) m->name = read_u16(in)
#define GET_U32(name, size_max, item) m->name = read_u32(in)
#define GET_U64(name, size_max, item) m->name = read_u64(in)
#define GET_BOOL(name, size_max, item) m->name = get_bool(in)
#define GET_OCTETS(name, size_max, item) m->name = read_octets(in, size_max)
#define GET_ITEMS(name, size_max, item) m->name = get_items(in, size_max, is_##item)
#define GET(kind, name, size_max, item)                                                            \
        if (read_u8(in) != ++place)                                                                \
                in->failed = true;                                                                 \
        GET_##kind(name, size_max, item);

#define DEFINE_GET(name)                                                                           \
        static bool get_##name(struct reader *in, struct ipc_##name *m)                            \
        {                                                                                          \
                uint8_t place = 0;                                                                 \
                IPC_FIELDS_##name(GET) return read_is_complete(in);                                \
        }
#define DEFINE_NEXT(name)                                                                          \
        DEFINE_GET(name)                                                                           \
        bool ipc_next_##name(struct reader *items, struct ipc_##name *ret_m)                       \
        {                                                                                          \
                struct reader one;                                                                 \
                if (items->failed || items->rest.len == 0)                                         \
                        return false;                                                              \
                one = READER(read_octets(items, IPC_PAYLOAD_MAX));                                 \
                return !items->failed && get_##name(&one, ret_m);                                  \
        }                                                                                          \
        /* Not used for items that are in no message. */                                           \
        __attribute__((unused)) static bool is_##name(struct reader *items)                        \
        {                                                                                          \
                struct ipc_##name unused;                                                          \
                return ipc_next_##name(items, &unused);                                            \
        }
#define DEFINE_GET_MESSAGE(number, name) DEFINE_GET(name)
IPC_ITEM_KINDS(DEFINE_NEXT)
IPC_MESSAGES(DEFINE_GET_MESSAGE)

int ipc_encode(struct buffer *b, unsigned type, const union ipc_message *m)
{
        switch (type) {
#define ENCODE(number, name)                                                                       \
        case number:                                                                               \
                return put_##name(b, &m->name);
                IPC_MESSAGES(ENCODE)
        default:
                return -EBADMSG;
        }
}

int ipc_decode(unsigned type, struct span payload, union ipc_message *ret_m)
{
        struct reader in = READER(payload);
        bool is_good = false;

        if (payload.len > IPC_PAYLOAD_MAX)
                return -EBADMSG;
        switch (type) {
#define DECODE(number, name)                                                                       \
        case number:                                                                               \
                is_good = get_##name(&in, &ret_m->name);                                           \
                break;
                IPC_MESSAGES(DECODE)
        default:
                break;
        }
        return is_good ? 0 : -EBADMSG;
}
