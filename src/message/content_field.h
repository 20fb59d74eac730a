/* Values of Content-Type, Content-Disposition and their like: RFC 2045 section
 * 5.1, RFC 2183, with the comments and folds of RFC 5322.
 *
 * Pure; results live in the arena. Reads what senders really write: missing
 * quotes, empty parameters, a lone type are taken for what they plainly mean. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/span.h"

enum { CONTENT_PARAMETERS_MAX = 64 };

struct content_parameter {
        struct span name;  /* lower case, an RFC 2231 section or "*" still on it */
        struct span value; /* quotes and escapes taken off */
};

struct content_field {
        struct span value;   /* "text/plain", "attachment": lower case, no blanks */
        struct span type;    /* before the "/", or all of it */
        struct span subtype; /* behind the "/"; empty: there was none */
        struct content_parameter *parameters;
        size_t parameter_count;
};

/* 0; -EBADMSG (no value stands there at all); -ENOMEM. More parameters than
 * CONTENT_PARAMETERS_MAX are left out. */
int content_field_parse(struct span raw, struct arena *arena, struct content_field *ret);

/* A parameter by its plain name (lower case), RFC 2231 sections not joined. */
bool content_field_parameter(const struct content_field *f, struct span name,
                             struct span *ret_value);
