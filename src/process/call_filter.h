/* seccomp: the system calls a process may make.
 *
 *   listed           allowed
 *   forbidden        kills: exec, open by path, ptrace, sockets of other kinds,
 *                    memory to execute, new processes; there is no honest way
 *                    for one of ours to get there
 *   anything else    "no such call" (ENOSYS) and one log line a call, so that a
 *                    library update does not stop the mail; it kills where the
 *                    environment has HAYAUMA_SECCOMP_KILL=1, so that tests see it
 *
 * In processes with threads of libraries, which may block every signal, the
 * log line is the kernel's (audit): a blocked SIGSYS would kill. */
#pragma once

enum call_group {
        CALLS_THREADS = 1 << 0,    /* start threads */
        CALLS_READ_FILES = 1 << 1, /* open for reading */
        CALLS_FILES = 1 << 2,      /* make, write, rename, remove files */
        CALLS_ACCEPT = 1 << 3,     /* take callers from listening sockets */
        CALLS_TCP = 1 << 4,        /* make and connect IPv4 and IPv6 TCP sockets */
        CALLS_UDP = 1 << 5,        /* the same for UDP */
        CALLS_PAIR = 1 << 6,       /* make pairs of Unix stream sockets */
};

/* Filters all threads of the process, for good. `groups`: a set of the above.
 * `name` is the process in the log line, "edge/0". 0 or a negative errno. */
int call_filter_apply(unsigned groups, const char *name);
