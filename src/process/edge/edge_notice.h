/* Notices to postmaster: messages of our own that an edge submits to itself, as a
 * local program would, over a pair of sockets: they are judged, recorded and
 * committed like any other.
 *
 *   greeting ──► EHLO ──250──► MAIL, RCPT, BDAT, QUIT ──► closed
 *
 * One that cannot be submitted is named in the log, and not tried again. */
#pragma once

#include "base/span.h"

struct edge;

/* `subject` is ASCII, `text` UTF-8 with lines that end in CRLF. */
void edge_notice_send(struct edge *e, struct span subject, struct span text);

/* An account has used up its quota of recipients; `why` is what it was told. */
void edge_notice_quota(struct edge *e, struct span account, struct span why);
