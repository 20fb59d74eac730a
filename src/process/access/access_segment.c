#include "process/access/access_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "process/access/access.h"

struct segment {
        struct table_node by_number;
        struct list_node node;
        uint64_t number, read_at_ms;
        int fd;
};

static struct segment *find(const struct access_segments *all, uint64_t number)
{
        struct table_node *n = table_first(&all->by_number, number);

        for (; n; n = table_next(n)) {
                struct segment *s = TABLE_OBJECT(n, struct segment, by_number);

                if (s->number == number)
                        return s;
        }
        return NULL;
}

static void drop(struct access_segments *all, struct segment *s)
{
        table_remove(&all->by_number, &s->by_number);
        list_remove(&s->node);
        all->count--;
        close(s->fd);
        free(s);
}

static void close_idle(void *arg)
{
        struct access *a = arg;
        struct access_segments *all = &a->segments;
        const uint64_t now_ms = loop_now_ms(a->process->loop);

        while (!list_is_empty(&all->all)) {
                struct segment *s = LIST_OBJECT(all->all.next, struct segment, node);

                if (now_ms - s->read_at_ms < ACCESS_SEGMENT_IDLE_MS) {
                        timer_set(all->closing, ACCESS_SEGMENT_IDLE_MS / 2);
                        return;
                }
                drop(all, s);
        }
}

int access_segments_init(struct access *a)
{
        a->segments = (struct access_segments) {.by_number = TABLE_INIT};
        list_init(&a->segments.all);
        return timer_new(a->process->loop, close_idle, a, &a->segments.closing);
}

void access_segments_done(struct access *a)
{
        while (!list_is_empty(&a->segments.all))
                drop(&a->segments, LIST_OBJECT(a->segments.all.next, struct segment, node));
        table_done(&a->segments.by_number);
        a->segments.closing = timer_free(a->segments.closing);
}

bool access_segment_is_open(const struct access *a, uint64_t number)
{
        return find(&a->segments, number) != NULL;
}

/* Without memory it stays closed, and octets come from the keeper. */
void access_segment_opened(struct access *a, uint64_t number, int *fd)
{
        struct access_segments *all = &a->segments;
        struct segment *s = find(all, number) ? NULL : calloc(1, sizeof *s);

        if (!s)
                return;
        *s = (struct segment) {.number = number, .fd = *fd,
                               .read_at_ms = loop_now_ms(a->process->loop)};
        if (table_add(&all->by_number, &s->by_number, number) < 0) {
                free(s);
                return;
        }
        *fd = -1;
        list_append(&all->all, &s->node);
        if (++all->count > ACCESS_SEGMENTS_MAX)
                drop(all, LIST_OBJECT(all->all.next, struct segment, node));
        if (!timer_is_set(all->closing))
                timer_set(all->closing, ACCESS_SEGMENT_IDLE_MS / 2);
}

int64_t access_segment_read(struct access *a, uint64_t number, uint64_t offset, char *to,
                            size_t len)
{
        struct access_segments *all = &a->segments;
        struct segment *s = find(all, number);
        struct iovec part = {to, len};
        ssize_t n = -1;

        if (!s)
                return -ENOENT;
        s->read_at_ms = loop_now_ms(a->process->loop);
        list_remove(&s->node);
        list_append(&all->all, &s->node);
        if (!all->cannot_ask_cache) {
                n = preadv2(s->fd, &part, 1, (off_t) offset, RWF_NOWAIT);
                all->cannot_ask_cache = n < 0 && (errno == EOPNOTSUPP || errno == ENOSYS);
                if (n < 0 && errno == EAGAIN)
                        n = 0;
                if (n >= 0 && (size_t) n < len)
                        (void) posix_fadvise(s->fd, (off_t) offset + n, (off_t) len - n,
                                             POSIX_FADV_WILLNEED);
                if (n == 0)
                        return -EAGAIN;
        }
        if (all->cannot_ask_cache)
                n = pread(s->fd, to, len, (off_t) offset);
        return n < 0 ? -errno : n;
}
