#include "process/access/access_body.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "message/digest.h"
#include "process/access/access.h"
#include "process/access/access_ahead.h"
#include "process/access/access_session.h"

enum {
        IN_MEMORY_MAX = 64 * 1024 * 1024,  /* a larger one must be a file */
        BODY_BYTES_MAX = 512 * 1024 * 1024, /* of all sessions */
};

void access_body_drop(struct access_session *s, struct access_body *b)
{
        if (!b->blob_id)
                return;
        if (b->is_mapped) {
                munmap((void *) (uintptr_t) b->octets.p, b->octets.len);
        } else if (b->octets.p && !b->is_borrowed) {
                s->access->body_bytes -= b->size;
                free((void *) (uintptr_t) b->octets.p);
        }
        b->blob_id = 0;
        b->octets = (struct span) {0};
        b->is_mapped = b->is_borrowed = b->is_digest = false;
}

void access_body_trim(struct access_session *s, struct access_body *b)
{
        if (!b->blob_id)
                b->ahead = access_ahead_free(s, b->ahead);
}

void access_body_done(struct access_session *s, struct access_body *b)
{
        access_body_drop(s, b);
        b->ahead = access_ahead_free(s, b->ahead);
}

void access_body_given(struct access_session *s, struct access_body *b, int result)
{
        void (*const got)(struct access_session *session, int r) = b->got;

        if (result < 0)
                access_body_drop(s, b);
        else if (!b->is_digest && !b->is_mapped && b->octets.len > b->message_size)
                b->octets.len = (size_t) b->message_size;
        s->access->counters.bodies += result == 0 && !b->is_digest;
        s->access->counters.digests += result == 0 && b->is_digest;
        s->access->counters.body_octets += b->octets.len;
        got(s, result);
}

static int map(struct access_body *b, int fd, uint64_t size)
{
        void *p;

        if (size == 0 || size > SIZE_MAX / 2)
                return -EBADMSG;
        p = mmap(NULL, (size_t) size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;
        b->octets = span_make(p, (size_t) size);
        b->is_mapped = true;
        return 0;
}

/* A part came; all parts together are the body. */
static int take(struct access_session *s, struct access_body *b, const struct ipc_blob_octets *m)
{
        char *room = (char *) (uintptr_t) b->octets.p;

        if (m->size == 0 || m->size > IN_MEMORY_MAX)
                return m->size ? -EFBIG : -ENOENT;
        if (!room) {
                if (s->access->body_bytes + m->size > BODY_BYTES_MAX)
                        return -EBUSY;
                room = malloc((size_t) m->size);
                if (!room)
                        return -ENOMEM;
                b->size = m->size;
                s->access->body_bytes += m->size;
                b->octets = span_make(room, 0);
        }
        if (m->size != b->size || m->octets.len == 0 ||
            m->octets.len > b->size - b->octets.len)
                return -EBADMSG;
        memcpy(room + b->octets.len, m->octets.p, m->octets.len);
        b->octets.len += m->octets.len;
        return 0;
}

/* What lies behind the message. False: that is no digest. */
static bool take_digest(struct access_session *s, struct access_body *b,
                        const struct ipc_blob_octets *m)
{
        char *room;

        if (m->status || m->size <= b->message_size ||
            m->octets.len != m->size - b->message_size ||
            digest_check(m->octets, b->blob_id) < 0)
                return false;
        room = malloc(m->octets.len);
        if (!room)
                return false;
        memcpy(room, m->octets.p, m->octets.len);
        b->octets = span_make(room, m->octets.len);
        b->size = m->octets.len;
        s->access->body_bytes += b->size;
        b->is_digest = true;
        return true;
}

static void answered(void *arg, unsigned type, const union ipc_message *m, int *fd)
{
        struct access_session *s = arg;
        struct access_body *b = s->body;
        int r = m && type == IPC_blob_octets ? 0 : -EPIPE;

        s->order = NULL;
        if (b->wants_digest && r == 0) {
                b->wants_digest = false;
                if (take_digest(s, b, &m->blob_octets))
                        access_body_given(s, b, 0);
                else
                        access_body_ask(s, b);
                return;
        }
        if (r == 0 && m->blob_octets.status)
                r = m->blob_octets.status < 4096 ? -(int) m->blob_octets.status : -EIO;
        if (r == 0 && *fd >= 0)
                r = map(b, *fd, m->blob_octets.size);
        else if (r == 0)
                r = take(s, b, &m->blob_octets);
        if (r == 0 && !b->is_mapped && b->octets.len < b->size) {
                access_body_ask(s, b);
                return;
        }
        access_body_given(s, b, r);
}

void access_body_ask(struct access_session *s, struct access_body *b)
{
        struct access_keeper *k = &s->access->keeper;
        const uint64_t number = access_keeper_number(k);
        const union ipc_message m = {.blob_query = {
                .query = number, .blob_id = b->blob_id,
                .offset = b->wants_digest ? b->message_size : b->octets.len,
                .len = IPC_BLOB_PART_MAX, .wants_file = b->is_large && b->octets.len == 0}};

        s->body = b;
        s->order = access_keeper_ask(k, IPC_blob_query, &m, number, answered, s);
        if (!s->order)
                access_body_given(s, b, -EPIPE);
}

static void get(struct access_session *s, struct access_body *b, uint64_t size,
                const struct access_row *row)
{
        const uint64_t blob_id = row->blob_id;
        void (*const got)(struct access_session *session, int result) = b->got;

        if (blob_id && b->blob_id == blob_id && (!b->is_digest || b->wants_digest)) {
                got(s, 0);
                return;
        }
        access_body_drop(s, b);
        b->blob_id = blob_id;
        b->message_size = size;
        b->is_large = size > IPC_BLOB_PART_MAX;
        b->wants_digest = b->wants_digest && !b->is_large; /* files have none */
        if (!blob_id)
                got(s, -ENOENT);
        else if (b->is_large)
                access_body_ask(s, b);
        else
                access_ahead_get(s, &b->ahead, row, b);
}

void access_body_get(struct access_session *s, struct access_body *b, uint64_t size,
                     const struct access_row *row,
                     void (*got)(struct access_session *s, int result))
{
        b->got = got;
        b->wants_digest = false;
        get(s, b, size, row);
}

void access_body_get_digest(struct access_session *s, struct access_body *b, uint64_t size,
                            const struct access_row *row,
                            void (*got)(struct access_session *s, int result))
{
        b->got = got;
        b->wants_digest = true;
        get(s, b, size, row);
}
