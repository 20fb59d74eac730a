/* What a process has in memory and, while it rests, does not need there. */
#pragma once

/* Gives back what is mapped and not needed just now: free memory of malloc(), and the pages
 * of programs and libraries that nobody wrote to (code, constants, tables of the linker,
 * most of which only the start needed). Those come back, 64 KiB at once and without the
 * disk, where they are touched again: some 100 µs for all of them. Any thread, while
 * others run; meant for once in a rest, not for every moment without work. */
void resident_give_back(void);
