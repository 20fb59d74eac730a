#include "ipc/message.h"

#include <errno.h>

/* Payload: for each field in the schema's order one octet, its place from 1,
 * then the value. The place costs one octet and turns a decoder that has lost
 * its way into a refusal at the next field. */

/* Items: u32 count, then the encoded items as octets. An item: octets that
 * hold its fields. */

/* First it is seen how much room all fields take, and whether each is within its limit; then
 * all are written where there is that room. */

#define SIZE_U8(name) sizeof m->name
#define SIZE_U16(name) sizeof m->name
#define SIZE_U32(name) sizeof m->name
#define SIZE_U64(name) sizeof m->name
#define SIZE_BOOL(name) sizeof m->name
#define SIZE_OCTETS(name) 4 + m->name.len
#define SIZE_ITEMS(name) 4 + 4 + m->name.octets.len
#define FITS_U8(name, size_max) true
#define FITS_U16(name, size_max) true
#define FITS_U32(name, size_max) true
#define FITS_U64(name, size_max) true
#define FITS_BOOL(name, size_max) true
#define FITS_OCTETS(name, size_max) m->name.len <= (size_max)
#define FITS_ITEMS(name, size_max)                                                                 \
        m->name.count <= (size_max) && m->name.octets.len <= IPC_PAYLOAD_MAX
#define ADD_SIZE(kind, name, size_max, item)                                                       \
        fits = fits && FITS_##kind(name, size_max);                                                \
        size += 1 + SIZE_##kind(name);

static inline char *put_u8(char *to, uint8_t v)
{
        *to = (char) v;
        return to + 1;
}

static inline char *put_octets(char *to, struct span s)
{
        codec_put_u32(to, (uint32_t) s.len);
        if (s.len)
                memcpy(to + 4, s.p, s.len);
        return to + 4 + s.len;
}

static inline char *put_items(char *to, struct ipc_items items)
{
        codec_put_u32(to, items.count);
        return put_octets(to + 4, items.octets);
}

#define PUT_U8(name) put_u8(to, m->name)
#define PUT_U16(name) (codec_put_u16(to, m->name), to + 2)
#define PUT_U32(name) (codec_put_u32(to, m->name), to + 4)
#define PUT_U64(name) (codec_put_u64(to, m->name), to + 8)
#define PUT_BOOL(name) put_u8(to, m->name)
#define PUT_OCTETS(name) put_octets(to, m->name)
#define PUT_ITEMS(name) put_items(to, m->name)
#define PUT(kind, name, size_max, item)                                                            \
        to = put_u8(to, ++place);                                                                  \
        to = PUT_##kind(name);

/* `*ret_size` octets, or -EMSGSIZE. */
#define DEFINE_PUT(name)                                                                           \
        static int measure_##name(const struct ipc_##name *m, size_t *ret_size)                    \
        {                                                                                          \
                size_t size = 0;                                                                   \
                bool fits = true;                                                                  \
                IPC_FIELDS_##name(ADD_SIZE) *ret_size = size;                                      \
                return fits ? 0 : -EMSGSIZE;                                                       \
        }                                                                                          \
        static void put_##name(char *to, const struct ipc_##name *m)                               \
        {                                                                                          \
                uint8_t place = 0;                                                                 \
                IPC_FIELDS_##name(PUT)                                                             \
        }
#define DEFINE_PUT_MESSAGE(number, name) DEFINE_PUT(name)
IPC_ITEM_KINDS(DEFINE_PUT)
IPC_MESSAGES(DEFINE_PUT_MESSAGE)

#define DEFINE_ENCODE(number, name)                                                                \
        int ipc_encode_##name(struct buffer *b, const struct ipc_##name *m)                        \
        {                                                                                          \
                size_t size;                                                                       \
                char *to;                                                                          \
                int r = measure_##name(m, &size);                                                  \
                if (r == 0)                                                                        \
                        r = buffer_reserve(b, size, &to);                                          \
                if (r < 0)                                                                         \
                        return r;                                                                  \
                put_##name(to, m);                                                                 \
                buffer_commit(b, size);                                                            \
                return 0;                                                                          \
        }
IPC_MESSAGES(DEFINE_ENCODE)

#define DEFINE_ADD(name)                                                                           \
        int ipc_add_##name(struct buffer *b, struct ipc_items *items, const struct ipc_##name *m)  \
        {                                                                                          \
                size_t size;                                                                       \
                char *to;                                                                          \
                int r = measure_##name(m, &size);                                                  \
                if (r == 0)                                                                        \
                        r = buffer_reserve(b, 4 + size, &to);                                      \
                if (r < 0)                                                                         \
                        return r;                                                                  \
                codec_put_u32(to, (uint32_t) size);                                                \
                put_##name(to + 4, m);                                                             \
                buffer_commit(b, 4 + size);                                                        \
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
                return ipc_encode_##name(b, &m->name);
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
