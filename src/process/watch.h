/* Files that are read again when they change: `changed` is called once none of
 * them was touched for a second, so that a file being written is not read half.
 * Costs nothing while nothing happens (inotify on their folders). */
#pragma once

#include <stddef.h>

#include "base/span.h"
#include "net/loop.h"

enum { WATCH_FILES_MAX = 64 };

struct watch;

int watch_new(struct loop *l, void (*changed)(void *arg), void *arg, struct watch **ret_w);
struct watch *watch_free(struct watch *w);

/* From now on these files, which need not exist, in folders that do. */
void watch_set(struct watch *w, const struct span *paths, size_t count);
