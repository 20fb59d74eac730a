/* What is written about options, from their table: the section OPTIONS of
 * hayauma.conf(5), and the sample file that names every option. */
#pragma once

#include "base/buffer.h"

/* The section's text for scdoc. 0 or as buffer_append(). */
int manual_write_options(struct buffer *b);

/* A configuration that sets nothing: each option in a comment, with its default
 * and what it is. 0 or as buffer_append(). */
int manual_write_sample(struct buffer *b);
