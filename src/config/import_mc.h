/* The hayauma.conf for a sendmail .mc file: what FEATURE, define, MASQUERADE_*,
 * EXPOSED_USER, MAILER, DAEMON_OPTIONS and lines such as "Dmexample.jp" say, as
 * options; and a comment for each thing that has no counterpart.
 *
 * Read as m4 would read it, as far as .mc files go: quotes `…' (also the
 * typographic ones that papers print), dnl, arguments. Nothing is executed.
 *
 * Pure. */
#pragma once

#include "base/buffer.h"
#include "base/span.h"

/* `name` is the file's, for the first line. 0; -ENOMEM; -EMSGSIZE. */
int import_mc(struct span text, struct span name, struct buffer *out);
