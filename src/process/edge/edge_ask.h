/* What clients ask that is no mail: VRFY, EXPN, ETRN. Each is answered. */
#pragma once

#include <stdbool.h>

#include "base/span.h"

struct edge_session;

void edge_ask_verify(struct edge_session *s, struct span argument, bool is_expn);
void edge_ask_etrn(struct edge_session *s, struct span argument);
