#include "wire/imap/imap_gone.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 16 };

static struct imap_gone *gone_new(uint64_t since, const struct imap_gone_range *ranges,
                                  size_t count, size_t room)
{
        struct imap_gone *g = malloc(sizeof *g + room * sizeof g->ranges[0]);

        if (!g)
                return NULL;
        *g = (struct imap_gone) {.references = 1, .since = since, .count = count, .room = room};
        if (count)
                memcpy(g->ranges, ranges, count * sizeof ranges[0]);
        return g;
}

struct imap_gone *imap_gone_new(uint64_t since, const struct imap_gone_range *ranges, size_t count)
{

        return gone_new(since, ranges, count, count + ROOM_MIN);
}

struct imap_gone *imap_gone_ref(struct imap_gone *g)
{
        if (g)
                g->references++;
        return g;
}

struct imap_gone *imap_gone_unref(struct imap_gone *g)
{
        if (!g)
                return NULL;
        assert(g->references);
        if (--g->references == 0)
                free(g);
        return NULL;
}

/* The older half goes when there are too many. */
static struct imap_gone *grow(const struct imap_gone *g)
{
        const size_t drop = g->count >= IMAP_GONE_MAX ? g->count / 2 : 0;
        uint64_t since = g->since;

        for (size_t i = 0; i < drop; i++)
                if (g->ranges[i].modseq > since)
                        since = g->ranges[i].modseq;

        return gone_new(since, g->ranges + drop, g->count - drop, (g->count - drop) * 2 + ROOM_MIN);
}

void imap_gone_add(struct imap_gone **at, const struct imap_gone_range *range)
{
        struct imap_gone *g = *at;

        if (g && g->count == g->room) {
                struct imap_gone *grown = grow(g);

                imap_gone_unref(g);
                g = *at = grown;
        }
        if (g)
                g->ranges[g->count++] = *range;
}
