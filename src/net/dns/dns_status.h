/* What a DNS question came to: ipc_mx_answer.status. The resolver answers, the
 * others decide. */
#pragma once

enum dns_status { /* travels in IPC: add, never renumber */
        DNS_FOUND = 0,       /* `hosts` has where the mail goes */
        DNS_NO_NAME = 1,     /* NXDOMAIN: there is no such name */
        DNS_NO_ADDRESS = 2,  /* the name exists, and nothing for mail under it */
        DNS_NULL_MX = 3,     /* "MX 0 .": it takes no mail (RFC 7505) */
        DNS_UNREACHABLE = 4, /* no answer in time, or SERVFAIL: ask again later */
        DNS_BOGUS = 5,       /* DNSSEC says the answer is forged: ask again later */
};
