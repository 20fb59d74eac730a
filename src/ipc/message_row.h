/* Messages of a mailbox as they go from keeper to access: many at a time, so
 * each is IPC_ROW_OCTETS octets without names of fields. Whoever reads them makes
 * sure that their length is a multiple of that. */
#pragma once

#include "base/codec.h"
#include "ipc/schema.h"

struct ipc_message_row {
        uint32_t uid;
        uint32_t flags;    /* enum message_flag */
        uint32_t keywords; /* bits by the keywords of the view */
        uint64_t modseq, arrived_us, saved_us, size, blob_id;
};

/* `out` has room for IPC_ROW_OCTETS. */
static inline void ipc_put_message_row(char *out, const struct ipc_message_row *r)
{
        codec_put_u32(out, r->uid);
        codec_put_u32(out + 4, r->flags);
        codec_put_u32(out + 8, r->keywords);
        codec_put_u64(out + 12, r->modseq);
        codec_put_u64(out + 20, r->arrived_us);
        codec_put_u64(out + 28, r->saved_us);
        codec_put_u64(out + 36, r->size);
        codec_put_u64(out + 44, r->blob_id);
}

static inline struct ipc_message_row ipc_get_message_row(const char *in)
{
        return (struct ipc_message_row) {
                .uid = codec_get_u32(in), .flags = codec_get_u32(in + 4),
                .keywords = codec_get_u32(in + 8), .modseq = codec_get_u64(in + 12),
                .arrived_us = codec_get_u64(in + 20), .saved_us = codec_get_u64(in + 28),
                .size = codec_get_u64(in + 36), .blob_id = codec_get_u64(in + 44),
        };
}
