/* The end of a start: what only the start needed, a process gives back. */
#pragma once

struct loop;

/* Some seconds from now, once, resident_give_back(). To be called once a process, when it
 * has begun its work; without memory nothing is given back. */
void settle_later(struct loop *l);
