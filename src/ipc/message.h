/* Structs, encoders and decoders of the messages in schema.h.
 *
 * For every message: `struct ipc_commit`, `enum ipc_type` IPC_commit. Encoding
 * appends to a buffer; decoding borrows from the frame, allocates nothing, and
 * refuses whatever is not exactly what the schema says.
 *
 * Items: the sender builds them with ipc_add_recipient() and its like;
 * the receiver, whose decoder has already checked each, walks them:
 *
 *   struct reader items = ipc_items_read(commit->recipients);
 *   struct ipc_recipient recipient;
 *   while (ipc_next_recipient(&items, &recipient)) … */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/codec.h"
#include "base/span.h"
#include "ipc/schema.h"

/* Items in their encoded form; {0} is none. Built in a buffer that the sender
 * keeps until the message is sent. */
struct ipc_items {
        uint32_t count;
        struct span octets;
};

#define IPC_TYPE_U8(name) uint8_t name;
#define IPC_TYPE_U16(name) uint16_t name;
#define IPC_TYPE_U32(name) uint32_t name;
#define IPC_TYPE_U64(name) uint64_t name;
#define IPC_TYPE_BOOL(name) bool name;
#define IPC_TYPE_OCTETS(name) struct span name;
#define IPC_TYPE_ITEMS(name) struct ipc_items name;
#define IPC_STRUCT_FIELD(kind, name, size_max, item) IPC_TYPE_##kind(name)

#define IPC_STRUCT_ITEM(name)                                                                      \
        struct ipc_##name {                                                                        \
                IPC_FIELDS_##name(IPC_STRUCT_FIELD)                                                \
        };
#define IPC_STRUCT(number, name) IPC_STRUCT_ITEM(name)
IPC_ITEM_KINDS(IPC_STRUCT_ITEM)
IPC_MESSAGES(IPC_STRUCT)

enum ipc_type {
#define IPC_ENUM(number, name) IPC_##name = (number),
        IPC_MESSAGES(IPC_ENUM)
#undef IPC_ENUM
                IPC_TYPE_END = 128, /* above every number */
};

/* One decoded message. */
union ipc_message {
#define IPC_MEMBER(number, name) struct ipc_##name name;
        IPC_MESSAGES(IPC_MEMBER)
#undef IPC_MEMBER
};

/* Appends the payload to `b`. 0; -EMSGSIZE (a field over its limit, or the
 * buffer full: nothing was appended); -ENOMEM. */
#define IPC_ENCODE(number, name)                                                                   \
        int ipc_encode_##name(struct buffer *b, const struct ipc_##name *m);
IPC_MESSAGES(IPC_ENCODE)
#undef IPC_ENCODE

/* The same for a message whose kind is known at run time only. */
int ipc_encode(struct buffer *b, unsigned type, const union ipc_message *m);

/* 0, or -EBADMSG: unknown type, or not exactly its fields. */
int ipc_decode(unsigned type, struct span payload, union ipc_message *ret_m);

/* Appends one item to `b` and counts it in `*items`, whose octets are set to
 * the whole of `b` (start with an empty buffer and {0}). As ipc_encode. */
#define IPC_ADD_ITEM(name)                                                                         \
        int ipc_add_##name(struct buffer *b, struct ipc_items *items, const struct ipc_##name *m);
IPC_ITEM_KINDS(IPC_ADD_ITEM)
#undef IPC_ADD_ITEM

/* The next item; false at the end. Only for items of a decoded message. */
#define IPC_NEXT_ITEM(name) bool ipc_next_##name(struct reader *items, struct ipc_##name *ret_m);
IPC_ITEM_KINDS(IPC_NEXT_ITEM)
#undef IPC_NEXT_ITEM

static inline struct reader ipc_items_read(struct ipc_items items)
{
        return READER(items.octets);
}
