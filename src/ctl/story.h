/* The decision records of messages put together and told: parts of one message
 * id belong together, in the order of time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

struct story;

/* NULL without memory. */
struct story *story_new(void);
struct story *story_free(struct story *s);

/* Adds one record; copied. 0, -EBADMSG (not a record), -EMSGSIZE (more than
 * STORY_BYTES_MAX in all), -ENOMEM. */
#define STORY_BYTES_MAX ((size_t) 256 * 1024 * 1024)
int story_add(struct story *s, struct span record);

/* The ids of the messages, each once, in the order they came, at most `room`.
 * Returns how many. */
size_t story_ids(const struct story *s, uint64_t *ret_ids, size_t room);

/* Forgets all. */
void story_clear(struct story *s);

/* Prints every message, oldest first. Where `about` is an address that a
 * recipient of a message had, only the parts of such recipients are told. As JSON: one
 * object a message. */
void story_print(struct story *s, struct span about);
void story_print_json(struct story *s);
