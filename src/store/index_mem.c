#include "store/index.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"

/* A skip list: nodes with a random number of levels, each level an ordered
 * list of the nodes that reach it. */
enum { LEVELS = 20, PENDING_MAX = 1 << 30 };

struct skip_node {
        struct span key, value; /* both lie behind next[] */
        unsigned levels;
        struct skip_node *next[];
};

struct skip_list {
        struct skip_node *first[LEVELS];
};

enum { PENDING_PUT, PENDING_REMOVE, PENDING_RANGE };

struct index_mem {
        struct index index;
        pthread_mutex_t mutex;
        struct skip_list list, flushed;
        struct buffer pending;
        size_t mark;
        int pending_error;
        bool is_kept;
        uint64_t random;
        unsigned flush_every, writes;
        void (*on_flush)(void *arg);
        void *on_flush_arg;
};

static struct index_mem *mem_of(struct index *i)
{
        return (struct index_mem *) i;
}

static int compare(struct span a, struct span b)
{
        const size_t n = a.len < b.len ? a.len : b.len;
        const int c = n ? memcmp(a.p, b.p, n) : 0;

        return c ? c : (a.len > b.len) - (a.len < b.len);
}

/* For each level, the link that leads to the first node >= key. Returns that
 * node of the lowest level; `*ret_before` is the last one < key. */
static struct skip_node *find(struct skip_list *l, struct span key,
                              struct skip_node **links[LEVELS], struct skip_node **ret_before)
{
        struct skip_node *before = NULL;

        for (unsigned level = LEVELS; level-- > 0;) {
                struct skip_node **link = before ? &before->next[level] : &l->first[level];

                while (*link && compare((*link)->key, key) < 0) {
                        before = *link;
                        link = &before->next[level];
                }
                links[level] = link;
        }
        if (ret_before)
                *ret_before = before;
        return *links[0];
}

static void unlink_node(struct skip_node *node, struct skip_node **links[LEVELS])
{
        for (unsigned level = 0; level < node->levels; level++)
                *links[level] = node->next[level];
        free(node);
}

static unsigned random_levels(struct index_mem *m)
{
        unsigned levels = 1;

        m->random = m->random * 6364136223846793005ull + 1442695040888963407ull;
        for (uint64_t bits = m->random >> 24; (bits & 3) == 0 && levels < LEVELS; bits >>= 2)
                levels++;
        return levels;
}

static int list_put(struct index_mem *m, struct skip_list *l, struct span key, struct span value)
{
        struct skip_node **links[LEVELS];
        struct skip_node *old = find(l, key, links, NULL);
        const unsigned levels = random_levels(m);
        const size_t head = sizeof(struct skip_node) + levels * sizeof(struct skip_node *);
        struct skip_node *node = malloc(head + key.len + value.len);
        char *octets = (char *) node + head;

        if (!node)
                return -ENOMEM;
        if (old && compare(old->key, key) == 0)
                unlink_node(old, links);
        if (key.len)
                memcpy(octets, key.p, key.len);
        if (value.len)
                memcpy(octets + key.len, value.p, value.len);
        node->key = span_make(octets, key.len);
        node->value = span_make(octets + key.len, value.len);
        node->levels = levels;
        for (unsigned level = 0; level < levels; level++) {
                node->next[level] = *links[level];
                *links[level] = node;
        }
        return 0;
}

static void list_remove_key(struct skip_list *l, struct span key)
{
        struct skip_node **links[LEVELS];
        struct skip_node *node = find(l, key, links, NULL);

        if (node && compare(node->key, key) == 0)
                unlink_node(node, links);
}

static void list_remove_range(struct skip_list *l, struct span from, struct span to)
{
        struct skip_node **links[LEVELS];
        struct skip_node *node;

        while ((node = find(l, from, links, NULL)) && compare(node->key, to) < 0)
                unlink_node(node, links);
}

static void list_done(struct skip_list *l)
{
        struct skip_node *node = l->first[0];

        while (node) {
                struct skip_node *next = node->next[0];

                free(node);
                node = next;
        }
        *l = (struct skip_list) {0};
}

static int list_copy(struct index_mem *m, struct skip_list *to, const struct skip_list *source)
{
        int r = 0;

        list_done(to);
        for (struct skip_node *node = source->first[0]; node && r == 0; node = node->next[0])
                r = list_put(m, to, node->key, node->value);
        return r;
}

static int get_from(struct skip_list *l, struct span key, struct buffer *ret_value)
{
        struct skip_node **links[LEVELS];
        struct skip_node *node = find(l, key, links, NULL);

        if (!node || compare(node->key, key) != 0)
                return -ENOENT;
        buffer_clear(ret_value);
        return buffer_append_span(ret_value, node->value);
}

static int mem_get(struct index *i, struct span key, bool may_block, struct buffer *ret_value)
{
        struct index_mem *m = mem_of(i);
        int r;

        (void) may_block;
        pthread_mutex_lock(&m->mutex);
        r = get_from(&m->list, key, ret_value);
        pthread_mutex_unlock(&m->mutex);
        return r;
}

static int mem_get_flushed(struct index *i, struct span key, struct buffer *ret_value)
{
        struct index_mem *m = mem_of(i);
        int r;

        pthread_mutex_lock(&m->mutex);
        r = get_from(&m->flushed, key, ret_value);
        pthread_mutex_unlock(&m->mutex);
        return r;
}

static void scan_forward(struct index_mem *m, const struct index_range *range,
                         index_visit_fn *visit, void *arg)
{
        struct skip_node **links[LEVELS];
        struct skip_node *node = find(&m->list, range->from, links, NULL);

        while (node && compare(node->key, range->to) < 0 && visit(arg, node->key, node->value))
                node = node->next[0];
}

static void scan_reverse(struct index_mem *m, const struct index_range *range,
                         index_visit_fn *visit, void *arg)
{
        struct skip_node **links[LEVELS];
        struct skip_node *node;

        find(&m->list, range->to, links, &node);
        while (node && compare(node->key, range->from) >= 0 && visit(arg, node->key, node->value))
                find(&m->list, node->key, links, &node);
}

static int mem_scan(struct index *i, const struct index_range *range, bool may_block,
                    index_visit_fn *visit, void *arg)
{
        struct index_mem *m = mem_of(i);

        (void) may_block;
        pthread_mutex_lock(&m->mutex);
        if (range->begun)
                range->begun(range->begun_arg);
        if (range->is_reverse)
                scan_reverse(m, range, visit, arg);
        else
                scan_forward(m, range, visit, arg);
        pthread_mutex_unlock(&m->mutex);
        return 0;
}

static int pend(struct index_mem *m, uint8_t what, struct span a, struct span b)
{
        int r = write_u8(&m->pending, what);

        if (r == 0)
                r = write_octets(&m->pending, a);
        if (r == 0)
                r = write_octets(&m->pending, b);
        if (r < 0)
                m->pending_error = r;
        return r;
}

static int mem_put(struct index *i, struct span key, struct span value)
{
        return pend(mem_of(i), PENDING_PUT, key, value);
}

static int mem_remove(struct index *i, struct span key)
{
        return pend(mem_of(i), PENDING_REMOVE, key, span_make(NULL, 0));
}

static int mem_remove_range(struct index *i, struct span from, struct span to)
{
        return pend(mem_of(i), PENDING_RANGE, from, to);
}

static void mem_mark(struct index *i)
{
        mem_of(i)->mark = mem_of(i)->pending.len;
}

static void mem_rollback(struct index *i)
{
        struct index_mem *m = mem_of(i);

        m->pending.len = m->mark;
        m->pending_error = 0;
}

static int write_pending(struct index_mem *m)
{
        struct reader reader = READER(buffer_span(&m->pending));
        int r = m->pending_error;

        while (r == 0 && reader.rest.len) {
                const uint8_t what = read_u8(&reader);
                const struct span a = read_octets(&reader, PENDING_MAX);
                const struct span b = read_octets(&reader, PENDING_MAX);

                if (what == PENDING_PUT)
                        r = list_put(m, &m->list, a, b);
                else if (what == PENDING_REMOVE)
                        list_remove_key(&m->list, a);
                else
                        list_remove_range(&m->list, a, b);
        }
        buffer_shrink(&m->pending, 64 * 1024);
        m->mark = 0;
        m->pending_error = 0;
        return r;
}

/* With the mutex held. */
static int flush_list(struct index_mem *m)
{
        int r = list_copy(m, &m->flushed, &m->list);

        if (r == 0 && m->on_flush)
                m->on_flush(m->on_flush_arg);
        return r;
}

static int mem_write(struct index *i)
{
        struct index_mem *m = mem_of(i);
        int r;

        pthread_mutex_lock(&m->mutex);
        r = write_pending(m);
        if (r == 0 && m->flush_every && ++m->writes % m->flush_every == 0)
                r = flush_list(m);
        pthread_mutex_unlock(&m->mutex);
        return r;
}

static int mem_flush(struct index *i)
{
        struct index_mem *m = mem_of(i);
        int r;

        pthread_mutex_lock(&m->mutex);
        r = flush_list(m);
        pthread_mutex_unlock(&m->mutex);
        return r;
}

static void mem_close(struct index *i)
{
        if (!mem_of(i)->is_kept)
                index_mem_destroy(i);
}

void index_mem_keep(struct index *i)
{
        mem_of(i)->is_kept = true;
}

void index_mem_destroy(struct index *i)
{
        struct index_mem *m = mem_of(i);

        list_done(&m->list);
        list_done(&m->flushed);
        buffer_done(&m->pending);
        pthread_mutex_destroy(&m->mutex);
        free(m);
}

static const struct index_driver mem_driver = {
        .get = mem_get,
        .scan = mem_scan,
        .put = mem_put,
        .remove = mem_remove,
        .remove_range = mem_remove_range,
        .mark = mem_mark,
        .rollback = mem_rollback,
        .write = mem_write,
        .flush = mem_flush,
        .get_flushed = mem_get_flushed,
        .close = mem_close,
};

struct index *index_mem_new(unsigned flush_every)
{
        struct index_mem *m = calloc(1, sizeof(struct index_mem));

        if (!m)
                return NULL;
        m->index.driver = &mem_driver;
        m->pending = BUFFER_INIT(PENDING_MAX);
        m->random = 1;
        m->flush_every = flush_every;
        pthread_mutex_init(&m->mutex, NULL);
        return &m->index;
}

void index_mem_on_flush(struct index *i, void (*flushed)(void *arg), void *arg)
{
        mem_of(i)->on_flush = flushed;
        mem_of(i)->on_flush_arg = arg;
}

struct index *index_mem_copy(struct index *i)
{
        struct index *copy = index_mem_new(mem_of(i)->flush_every);

        if (copy) {
                list_copy(mem_of(copy), &mem_of(copy)->list, &mem_of(i)->flushed);
                list_copy(mem_of(copy), &mem_of(copy)->flushed, &mem_of(i)->flushed);
        }
        return copy;
}

void index_mem_crash(struct index *i)
{
        struct index_mem *m = mem_of(i);

        buffer_clear(&m->pending);
        m->mark = 0;
        m->pending_error = 0;
        list_copy(m, &m->list, &m->flushed);
}
