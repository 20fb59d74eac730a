/* The submission of one message over SMTP to run_dir/submit. Blocks, with the
 * time limits of RFC 5321 section 4.5.3.2. Says on standard error what the
 * server refused. */
#pragma once

#include <stdbool.h>

#include "base/span.h"
#include "ctl/send_recipients.h"

struct send_smtp {
        const char *socket_path;
        struct span hostname;  /* for EHLO */
        struct span mail_from; /* empty: the null reverse-path */
        struct span message;   /* CRLF line ends, ends in one; dots not doubled */
        const char *notify;    /* NOTIFY= of RFC 3461 section 4.1, or NULL */
        const char *ret;       /* RET=, or NULL */
        struct span envid;     /* xtext, or empty */
        bool is_verbose;       /* the dialogue goes to standard error */
};

/* Submits to every recipient; those above what one transaction may have get
 * another. EX_OK; EX_TEMPFAIL (nobody answers, or a 4xx reply); EX_NOUSER,
 * EX_UNAVAILABLE (a 5xx reply to a recipient, or to the message): the first
 * that fits of these, while the other recipients have it. EX_PROTOCOL. */
int send_smtp_submit(const struct send_smtp *s, struct send_recipients *recipients);
