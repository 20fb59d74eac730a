/* The configuration, parsed and checked: one struct that every process reads.
 *
 * Each field is set by exactly one row of the option table (options.c), from
 * which parser, defaults, manual page and `check --effective` come. A field
 * has the name of its option, with the section in front. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/span.h"

enum role { ROLE_GATEWAY, ROLE_RELAY, ROLE_MAILBOX, ROLE_BACKUP_MX, ROLE_FALLBACK };

/* A list of texts; empty is {NULL, 0}. */
struct config_list {
        struct span *items;
        size_t count;
};

/* An IPv4 or IPv6 network: IPv4 as ::ffff:a.b.c.d, prefix 96 and up. */
struct config_network {
        unsigned char address[16];
        unsigned prefix;
};
struct config_networks {
        struct config_network *items;
        size_t count;
};

/* One entry of `listen`: "smtp://127.0.0.1:2525". */
enum listen_protocol {
        LISTEN_SMTP, LISTEN_SUBMISSION, LISTEN_SUBMISSIONS, LISTEN_LMTP, LISTEN_IMAP, LISTEN_IMAPS,
        LISTEN_POP3, LISTEN_POP3S, LISTEN_HTTP,
        LISTEN_LOCAL,   /* run_dir/submit: submission by local users; always there in edges */
        LISTEN_CONTROL, /* run_dir/keeper, run_dir/supervisor: the command line */
};
struct config_listen {
        enum listen_protocol protocol;
        struct span text; /* as written */
        struct span host; /* "*", an address without brackets, or a path */
        uint16_t port;
        bool is_unix;
};
struct config_listens {
        struct config_listen *items;
        size_t count;
};

/* One section dnsbl "zone": a list of client addresses, kept in DNS (RFC 5782). */
struct config_dnsbl {
        struct span text; /* the section as one line, as it travels between processes */
        struct span zone;
        struct config_networks answers; /* what counts; empty: 127.0.0.0/8 */
        struct span message;            /* empty: the usual one */
        bool is_allow;                  /* whoever is on it is asked by no other list */
        bool is_tempfail;               /* on_outage */
        unsigned line;                  /* in the file; 0: unknown */
};
struct config_dnsbls {
        struct config_dnsbl *items;
        size_t count;
};

struct config {
        /* who we are */
        struct span hostname;
        enum role role;
        struct span state_dir, run_dir, user;
        struct {
                unsigned edge, login, relay, access, worker;
        } processes;
        struct config_list domains, relay_domains;
        struct config_list relay_mail_from;
        struct config_list relay_certificates; /* fingerprints in lower case without ":", names,
                                                * "issuer:name", "*" */
        struct config_list trusted_users;
        struct config_networks relay_networks, proxy_networks, xclient_networks;
        struct span smart_host, fallback_mx, local_relay;
        struct config_list lmtp_sockets;
        struct config_list tls_policy; /* rows, see config/tls_policy.h */
        struct config_dnsbls dnsbl;
        bool accept_unresolvable_domains;
        struct {
                bool recipients;
                uint64_t good_ms, bad_ms, timeout_ms;
        } probe;
        struct config_listens listen;
        struct {
                struct span user;
                uint64_t timeout_ms;
                bool forward;
        } agent;
        struct {
                struct span mailertable, access, aliases, virtusertable, genericstable;
        } tables;
        struct {
                struct span as;
                struct config_list domains, exposed_users;
                bool entire_domain, limited, envelope, always_add_domain;
        } masquerade;
        struct {
                struct config_list servers;
                struct span trust_anchor;
                unsigned port; /* where MX hosts listen: 25; labs use another */
                bool ipv4_first; /* of a host that has both families */
        } dns;
        struct {
                struct span certificate, key, ca;
                struct config_list more_certificates; /* each PEM with its key, chosen by SNI */
                struct span client_ca; /* of certificates that clients log in with */
        } tls;
        struct {
                struct config_list mechanisms;
                struct config_networks plaintext_without_tls;
                uint64_t pop3_login_delay_ms;
                bool apop;
                struct span pam_service; /* empty: PAM is not asked */
                bool on_smtp;           /* offered on port 25 too */
                bool sender_must_match; /* MAIL FROM is an address of the login */
                uint64_t recipients_per_hour, recipients_per_day; /* of one account */
                struct span relay_logins; /* file: what we log in to other servers with */
        } auth;
        struct {
                struct span file;
                bool auto_create, over_quota_returns;
        } users;
        struct {
                uint64_t message_size;  /* octets; 0 = no limit, here and below */
                unsigned recipients;    /* of one message */
                unsigned line_length;   /* command line, octets */
                unsigned connections, connections_per_client;
                unsigned messages_per_connection;
                unsigned errors;        /* bad commands before we hang up */
                unsigned commands;      /* the same of any that lead to no mail */
                unsigned received_hops; /* RFC 5321 section 6.3 */
                uint64_t command_timeout_ms, data_timeout_ms;
                uint64_t header_size;
                unsigned header_fields;
                unsigned messages_per_minute, errors_per_minute; /* of one client */
                unsigned recipients_per_minute;  /* the same */
                unsigned sender_messages_per_minute, sender_recipients_per_minute;
                unsigned data_rate;     /* octets a second at least, in a message */
                uint64_t tls_timeout_ms, connection_time_ms;
                uint64_t body_memory;   /* of one edge */
        } limits;
        struct {
                bool vrfy, expn, etrn, nul, strict_turns;
                bool binary_mime;
                uint64_t future_release_ms, greet_delay_ms, deliver_by_min_ms;
        } smtp;
        struct {
                uint64_t lifetime_ms, warn_after_ms, retry_min_ms, retry_max_ms;
                unsigned concurrency_per_destination;
                unsigned recipients_per_transaction;
                bool notices_in_japanese;
        } queue;
        struct config_list source_addresses; /* that connections to other hosts come from */
        bool downgrade_signed;
        uint64_t trace_days, trace_size;
        uint64_t expunge_keep_ms, expunge_keep_size; /* 0: off; 0: no bound */
        uint64_t pop_before_smtp_ms; /* 0: off */
        uint64_t drain_ms;
        struct span log_level;

        struct config_private *private; /* where values came from; memory */
};

/* Parses the file at `path`. 0, or negative with, in `error` (appended), one
 * line "hayauma.conf:12: …" for each thing that is wrong, with what to do. */
int config_read(const char *path, struct config **ret_config, struct buffer *error);

/* The same from text already read; `name` stands in messages. Neither may run
 * in two threads at once: libconfuse has one lexer for the process. */
int config_parse(struct span text, const char *name, struct config **ret_config,
                 struct buffer *error);

struct config *config_free(struct config *c);

/* Where an option's value came from: "hayauma.conf:12", "role mailbox" or
 * "default". `option` as in the manual: "limits.message_size". */
const char *config_origin(const struct config *c, const char *option);

/* The whole for another process: every option, as text, with its origin.
 * config_decode() reads it back to an equal struct, and refuses (-EBADMSG)
 * whatever config_encode() of the same program would not write. */
int config_encode(const struct config *c, struct buffer *b);
int config_decode(struct span encoded, struct config **ret_config);

/* `hayauma check --effective`: a line an option, "name = value   # origin". */
int config_print_effective(const struct config *c, struct buffer *b);

/* The same for a program: `visit` is called for each option in the order of the
 * manual. `is_list`: any number of texts; else one, or none where it is not
 * set. 0, -ENOMEM. */
typedef void config_visit_fn(void *arg, const char *name, const struct config_list *texts,
                             bool is_list, const char *origin);
int config_visit(const struct config *c, config_visit_fn *visit, void *arg);

/* Calls `visit` for each option whose value differs and takes effect only when
 * the server is started again; `origin` is that of `next`. 0, -ENOMEM. */
int config_visit_restart(const struct config *running, const struct config *next,
                         config_visit_fn *visit, void *arg);

/* Is this address (16 octets, IPv4 mapped) in one of the networks? */
bool config_networks_contain(const struct config_networks *n, const unsigned char address[16]);
