/* The messages that processes send each other: one table makes the structs,
 * both encoders and both decoders (message.h), so the two ends cannot differ.
 *
 * A row of IPC_MESSAGES is M(number, name); its fields are IPC_FIELDS_name.
 * A field is F(kind, name, size_max, item):
 *
 *   U8 U16 U32 U64   unsigned integers
 *   BOOL             0 or 1; anything else is refused
 *   OCTETS           at most size_max octets; borrowed from the frame
 *   ITEMS            at most size_max items of the kind `item`, whose fields
 *                    are IPC_FIELDS_item; see ipc_items in message.h
 *
 * Numbers are never reused; the two ends are always one binary, so there are
 * no optional fields: unknown, missing, doubled and overlong ones are refused.
 *
 * Sizes: a frame's payload is at most IPC_PAYLOAD_MAX octets. What may be
 * larger (configuration, certificates, snapshot, large bodies) goes as a
 * sealed memfd or file descriptor beside the frame: "+fd" below. */
#pragma once

enum {
        IPC_PAYLOAD_MAX = 1024 * 1024,
        IPC_BODY_PART_MAX = 64 * 1024, /* message octets in one frame */
        IPC_ADDRESS_MAX = 1024,        /* an address with every octet quoted */
        IPC_TEXT_MAX = 1024,           /* a reply or reason for people */
        IPC_RECIPIENTS_MAX = 1000,     /* RFC 5321 section 4.5.3.1.8 asks for 100 */
        IPC_RECORD_MAX = 160 * 1024,   /* a decision record */
        IPC_SASL_MAX = 9216,           /* what 12288 octets of base64 hold (RFC 4954 section 4) */
        IPC_DIGEST_MAX = 32 * 1024,    /* DIGEST_STORED_MAX */
        IPC_BLOB_PART_MAX = 256 * 1024, /* octets of a stored body in one frame */
        IPC_PLACES_MAX = 256,          /* STORE_PLACES_MAX */
        IPC_ROWS_MAX = 1000,           /* messages of a mailbox in one frame */
        IPC_ROW_OCTETS = 52,           /* of each */
        IPC_RANGES_MAX = 50000,        /* of UIDs */
        IPC_EXPUNGED_MAX = 10000,      /* ranges with their modseq in one frame */
        IPC_IMPORT_MESSAGE_MAX = 768 * 1024, /* larger ones go by mailbox.append */
        IPC_KEYWORDS_MAX = 32,         /* of a mailbox */
        IPC_APPENDS_MAX = 200,         /* messages of one MULTIAPPEND */
};

#define IPC_MESSAGES(M)                                                                            \
        /* supervisor to process; the order at start: start, then what it needs, then go */       \
        M(1, start)                                                                                \
        M(2, listener)                                                                             \
        M(3, peer)                                                                                 \
        M(4, snapshot)                                                                             \
        M(5, tls)                                                                                  \
        M(6, go)                                                                                   \
        M(7, reload)                                                                               \
        M(8, stop)                                                                                 \
        M(9, status_query)                                                                         \
        M(16, meters) /* to edge */                                                                \
        M(14, table) /* to compiler */                                                             \
        /* process to supervisor */                                                                \
        M(10, ready)                                                                               \
        M(11, status)                                                                              \
        M(12, reloaded)                                                                            \
        M(13, users_changed)                                                                       \
        M(17, socket_query) /* from relay */                                                       \
        M(18, socket_answer) /* to it */                                                           \
        M(15, compiled) /* from compiler */                                                        \
        /* edge to keeper, and its answers */                                                      \
        M(20, body)                                                                                \
        M(21, commit)                                                                              \
        M(22, committed)                                                                           \
        M(23, lend)                                                                                \
        M(24, lent)                                                                                \
        M(25, drop)                                                                                \
        M(26, refused)                                                                             \
        M(27, intake)                                                                              \
        M(28, retry)                                                                              \
        /* keeper to relay, and its answers */                                                     \
        M(30, job)                                                                                 \
        M(31, outcome)                                                                             \
        M(32, job_cancel)                                                                          \
        /* edge to relay, and its answers */                                                       \
        M(33, probe)                                                                               \
        M(34, probed)                                                                              \
        /* anyone to resolver, and its answers */                                                  \
        M(40, mx_query)                                                                            \
        M(41, mx_answer)                                                                           \
        M(42, dns_query)                                                                           \
        M(43, dns_answer)                                                                          \
        /* keeper to worker, and its answers */                                                    \
        M(50, dsn_order)                                                                           \
        M(51, dsn_text)                                                                            \
        /* control socket: command line to keeper or supervisor, and back */                       \
        M(60, control)                                                                             \
        M(61, control_input)                                                                       \
        M(62, control_row)                                                                         \
        M(63, control_octets)                                                                      \
        M(64, control_done)                                                                        \
        /* edge and access to directory, and its answers */                                        \
        M(70, auth_start)                                                                          \
        M(71, auth_step)                                                                           \
        M(72, auth_cancel)                                                                         \
        M(73, auth_result)                                                                         \
        M(74, quota_ask)                                                                           \
        M(75, quota_answer)                                                                        \
        /* edge to access: a client has logged in */                                               \
        M(80, handover)                                                                            \
        /* access to keeper: a mailbox, as it is and as it changes */                              \
        M(81, view_open)                                                                           \
        M(82, view_close)                                                                          \
        /* keeper to access */                                                                     \
        M(83, view_head)                                                                           \
        M(84, view_page)                                                                           \
        M(85, view_change)                                                                         \
        M(86, view_gone)                                                                           \
        /* access to keeper, and its answers */                                                    \
        M(87, folder_order)                                                                        \
        M(88, folder_rows)                                                                         \
        M(89, folder_done)                                                                         \
        M(90, change_order)                                                                        \
        M(91, change_done)                                                                         \
        M(92, append_order)                                                                        \
        M(93, blob_query)                                                                          \
        M(94, blob_octets)                                                                         \
        M(95, place_query)                                                                         \
        M(96, places)                                                                              \
        M(97, segment_query)                                                                       \
        M(98, segment_file)                                                                        \
        /* keeper to access */                                                                     \
        M(99, view_expunged)                                                                       \
        /* directory to relay: where we log in ourselves; then relay asks */                       \
        M(110, relay_hosts)                                                                        \
        M(111, relay_login_start)                                                                  \
        M(112, relay_login_step)                                                                   \
        M(113, relay_login_answer)

/* What you are. +fd: the configuration as text (config_encode), memfd.
 * The state folder follows as a descriptor in `peer` of kind PROCESS_STATE. */
#define IPC_FIELDS_start(F)                                                                        \
        F(U8, kind, 0, _)      /* enum process_kind */                                             \
        F(U8, number, 0, _)    /* which of its kind, from 0 */                                     \
        F(U64, generation, 0, _) /* counts restarts of this place, from 1 */                       \
        F(BOOL, is_privileged, 0, _) /* started by root: change uid, chroot */                     \
        F(U32, uid, 0, _)                                                                          \
        F(U32, gid, 0, _)

/* +fd: a listening socket. `address` as in the option listen, or "local:" (the
 * submission socket of local users in run_dir) or "control:". */
#define IPC_FIELDS_listener(F)                                                                     \
        F(OCTETS, address, 256, _)

/* +fd: our end of a channel to that process, replacing an earlier one to it;
 * or, for kind PROCESS_STATE, the state folder opened O_PATH|O_DIRECTORY. */
#define IPC_FIELDS_peer(F)                                                                         \
        F(U8, kind, 0, _)                                                                          \
        F(U8, number, 0, _)                                                                        \
        F(U64, generation, 0, _)

/* +fd: sealed memfd, see config/snapshot.h. */
#define IPC_FIELDS_snapshot(F)                                                                     \
        F(U64, generation, 0, _)

/* +fd: memfd with the certificate chain and the private key, both PEM. The first
 * of a row has TLS_DEFAULT and replaces all that came before; the others add to
 * it. */
#define IPC_FIELDS_tls(F)                                                                          \
        F(U8, what, 0, _) /* enum tls_what */
enum tls_what {
        TLS_DEFAULT = 0,
        TLS_MORE = 1,        /* another certificate, chosen by the name in it */
        TLS_CLIENT_CA = 2,   /* authorities for certificates of clients */
        TLS_TICKET_KEYS = 3, /* not PEM: see net/tls/tls.h */
        TLS_SERVER_CA = 4,   /* to relay, alone: authorities for other servers */
};

/* +fd: memfd of policy/meters.h, formatted, shared by all who get it. Before go. */
#define IPC_FIELDS_meters(F) F(U8, reserved, 0, _)

#define IPC_FIELDS_go(F) F(U8, reserved, 0, _)
#define IPC_FIELDS_ready(F) F(U8, reserved, 0, _)

/* +fd: the new configuration; tls and snapshot frames came before it. */
#define IPC_FIELDS_reload(F) F(U64, generation, 0, _)
#define IPC_FIELDS_reloaded(F) F(U64, generation, 0, _)

#define IPC_FIELDS_stop(F) F(U32, drain_ms, 0, _)
#define IPC_FIELDS_users_changed(F) F(U8, reserved, 0, _)

/* A next hop is a Unix socket (config/sockets.h): the relay has no file system, the
 * supervisor connects for it. */
#define IPC_FIELDS_socket_query(F)                                                                 \
        F(U64, query, 0, _)                                                                        \
        F(OCTETS, path, 256, _)
/* +fd where error is 0: the connected socket. */
#define IPC_FIELDS_socket_answer(F)                                                                \
        F(U64, query, 0, _)                                                                        \
        F(U32, error, 0, _) /* a positive errno */

/* supervisor to compiler, after start (+fd configuration), one each, then go.
 * +fd: the table's text, read only. */
#define IPC_FIELDS_table(F)                                                                        \
        F(U8, table, 0, _)      /* enum snapshot_table */                                          \
        F(U32, owner, 0, _)     /* whose file it is; TABLE_OWNER_NONE: others may write it */      \
        F(OCTETS, name, 256, _) /* in messages: "users:17: …" */
/* The compiler's one answer. +fd: the sealed snapshot where status is 0. */
#define IPC_FIELDS_compiled(F)                                                                     \
        F(U32, status, 0, _)       /* 0 or a positive errno */                                     \
        F(OCTETS, text, 64 * 1024, _) /* what is wrong, a line each, with file:line */

#define IPC_FIELDS_status_query(F) F(U64, query, 0, _)
#define IPC_FIELDS_status(F)                                                                       \
        F(U64, query, 0, _)                                                                        \
        F(ITEMS, metrics, 200, metric)                                                             \
        F(ITEMS, limited, 100, limited)
/* A peer that ran into a limit lately. */
#define IPC_FIELDS_limited(F)                                                                      \
        F(OCTETS, who, 320, _)  /* "[192.0.2.1]", or a sender */                                   \
        F(OCTETS, rule, 64, _)  /* "limits.messages_per_minute" */                                 \
        F(OCTETS, origin, 300, _)                                                                  \
        F(U64, count, 0, _)     /* how often */                                                    \
        F(U64, last_us, 0, _)
#define IPC_FIELDS_metric(F)                                                                       \
        F(OCTETS, name, 64, _)                                                                     \
        F(U64, value, 0, _)

/* A part of a message body that comes before its commit, in order. Also
 * keeper to relay, behind a job. */
#define IPC_FIELDS_body(F)                                                                         \
        F(U64, message_id, 0, _)                                                                   \
        F(OCTETS, octets, IPC_BODY_PART_MAX, _)

/* Make this message durable. The body is what `body` frames brought, then
 * `octets`; or, where a file was lent for it, that file, `octets` empty. */
#define IPC_FIELDS_commit(F)                                                                       \
        F(U64, message_id, 0, _) /* made by edge; a resubmitted commit has the same */             \
        F(U64, arrived_us, 0, _)                                                                   \
        F(U32, flags, 0, _)      /* enum envelope_flag */                                          \
        F(OCTETS, mail_from, IPC_ADDRESS_MAX, _) /* without <>, empty for the null path */         \
        F(OCTETS, envid, 100, _)                                                                   \
        F(OCTETS, header_message_id, 1000, _) /* RFC5322.Message-ID, a key of `why` */             \
        F(U64, hold_until_us, 0, _)    /* not delivered before (RFC 4865); 0: at once */           \
        F(U64, deliver_by_us, 0, _)    /* since 1970 (RFC 2852); 0: no such time */                \
        F(OCTETS, held_for, IPC_TEXT_MAX, _) /* why it stays in the queue till released */         \
        F(U32, local_prefix_len, 0, _) /* first octets of the body: for mailboxes only */          \
        F(U64, body_len, 0, _)   /* of the whole, prefix included */                               \
        F(ITEMS, recipients, IPC_RECIPIENTS_MAX, recipient)                                        \
        F(OCTETS, record, IPC_RECORD_MAX, _) /* decision_encode() */                               \
        F(OCTETS, digest, IPC_DIGEST_MAX, _) /* stored behind the body; empty: there is none */    \
        F(OCTETS, octets, IPC_BODY_PART_MAX, _)
#define IPC_FIELDS_recipient(F)                                                                    \
        F(U32, index, 0, _)    /* of the recipient in the decision record */                       \
        F(U8, kind, 0, _)      /* enum route_kind */                                               \
        F(U8, notify, 0, _)    /* enum notify_flag, RFC 3461 section 4.1 */                        \
        F(OCTETS, rcpt_to, IPC_ADDRESS_MAX, _)                                                     \
        F(OCTETS, orcpt, 500, _)                                                                   \
        F(OCTETS, account, IPC_ADDRESS_MAX, _)  /* ROUTE_LOCAL: whose mailbox, canonical */        \
        F(OCTETS, mailbox, 256, _)              /* ROUTE_LOCAL: "INBOX" where nothing says else */ \
        F(OCTETS, next_hop, 512, _)             /* ROUTE_RELAY: "smtp:[192.0.2.1]:25" */

enum commit_status {
        COMMIT_DURABLE = 0,   /* every recipient not named in results: accepted */
        COMMIT_TEMPORARY = 1, /* nothing was kept: 451, the client tries again */
        COMMIT_FULL = 2,      /* nothing was kept: 452, no room */
        COMMIT_REFUSED = 3,   /* nothing was kept, and never will be: 554 */
};

/* The answer. status of enum commit_status; text for the SMTP reply where it
 * is not COMMIT_DURABLE. Results only where recipients differ. */
#define IPC_FIELDS_committed(F)                                                                    \
        F(U64, message_id, 0, _)                                                                   \
        F(U8, status, 0, _)                                                                        \
        F(ITEMS, results, IPC_RECIPIENTS_MAX, result)
#define IPC_FIELDS_result(F)                                                                       \
        F(U32, index, 0, _)                                                                        \
        F(U16, code, 0, _)                                                                         \
        F(OCTETS, enhanced, 16, _)                                                                 \
        F(OCTETS, text, IPC_TEXT_MAX, _)

/* A file for a body above 256 KiB, and the answer (+fd, O_WRONLY, when status
 * is 0, else a positive errno). */
#define IPC_FIELDS_lend(F) F(U64, message_id, 0, _) F(U64, size_hint, 0, _)
#define IPC_FIELDS_lent(F) F(U64, message_id, 0, _) F(U32, status, 0, _)

/* Forget what came for this message: the client went away. */
#define IPC_FIELDS_drop(F) F(U64, message_id, 0, _)

/* The decision record of a refusal: kept lazily, never answered. */
#define IPC_FIELDS_refused(F)                                                                      \
        F(U64, message_id, 0, _)                                                                   \
        F(OCTETS, record, IPC_RECORD_MAX, _)

/* keeper to edges: whether new mail may come in, and why not. */
#define IPC_FIELDS_intake(F)                                                                       \
        F(BOOL, is_open, 0, _)                                                                     \
        F(OCTETS, reason, IPC_TEXT_MAX, _)

/* edge to keeper: try now what waits for this domain (ETRN, RFC 1985). Never
 * answered. */
#define IPC_FIELDS_retry(F)                                                                        \
        F(OCTETS, domain, 255, _) /* lower case, A-labels */                                       \
        F(BOOL, with_subdomains, 0, _)

/* Deliver to these recipients of one message behind one next hop. `body`
 * frames for the same message follow until body_len octets have come; or +fd:
 * a file to read [body_offset, body_offset + body_len) from. */
#define IPC_FIELDS_job(F)                                                                          \
        F(U64, job, 0, _)                                                                          \
        F(U64, message_id, 0, _)                                                                   \
        F(U32, flags, 0, _)                                                                        \
        F(OCTETS, next_hop, 512, _)                                                                \
        F(OCTETS, destination, 512, _) /* whose hosts follow: connections are shared by it; */     \
        F(U32, hosts_ttl_s, 0, _)      /* empty: the relay finds out where next_hop leads */       \
        F(BOOL, are_hosts_secure, 0, _)                                                            \
        F(ITEMS, hosts, 64, mx_host)                                                               \
        F(OCTETS, mail_from, IPC_ADDRESS_MAX, _)                                                   \
        F(OCTETS, envid, 100, _)                                                                   \
        F(U64, deliver_by_us, 0, _) /* as in commit; may be past where ENVELOPE_BY_NOTIFY is */    \
        F(ITEMS, recipients, IPC_RECIPIENTS_MAX, target)                                           \
        F(U64, body_offset, 0, _)                                                                  \
        F(U64, body_len, 0, _)                                                                     \
        F(OCTETS, octets, IPC_BODY_PART_MAX, _) /* the body's first part, all of it if short */
#define IPC_FIELDS_target(F)                                                                       \
        F(U32, index, 0, _)                                                                        \
        F(U8, notify, 0, _)                                                                        \
        F(OCTETS, rcpt_to, IPC_ADDRESS_MAX, _)                                                     \
        F(OCTETS, orcpt, 500, _)

/* What became of a job's recipients; every recipient is answered exactly once
 * over one or several frames. code 0: no reply was had (text says why). */
#define IPC_FIELDS_outcome(F)                                                                      \
        F(U64, job, 0, _)                                                                          \
        F(U64, message_id, 0, _)                                                                   \
        F(OCTETS, host, 300, _) /* "mx.example.jp [192.0.2.1]:25", empty before a connection */    \
        F(BOOL, is_host_failure, 0, _) /* nothing about this message: the host is in trouble */    \
        F(BOOL, sends_dsn, 0, _) /* the host took over who is to be notified (RFC 3461) */         \
        F(BOOL, keeps_time, 0, _) /* the host knows DELIVERBY (RFC 2852) */                        \
        F(OCTETS, detail, 1000, _) /* of the session, for the record: "tls=TLSv1.3 cipher=…" */    \
        F(ITEMS, results, IPC_RECIPIENTS_MAX, result)

#define IPC_FIELDS_job_cancel(F) F(U64, job, 0, _)

/* Where a domain's mail goes (RFC 5321 section 5.1), or a host's addresses. */
#define IPC_FIELDS_mx_query(F)                                                                     \
        F(U64, query, 0, _)                                                                        \
        F(OCTETS, name, 255, _) /* A-labels */                                                     \
        F(BOOL, is_host, 0, _)  /* no MX look-up: "[name]" */                                      \
        F(U16, tlsa_port, 0, _) /* TLSA records are wanted of this port; 0: none are */
#define IPC_FIELDS_mx_answer(F)                                                                    \
        F(U64, query, 0, _)                                                                        \
        F(U8, status, 0, _) /* enum dns_status */                                                  \
        F(BOOL, is_secure, 0, _)                                                                   \
        F(U32, ttl_s, 0, _)                                                                        \
        F(ITEMS, hosts, 64, mx_host)
#define IPC_FIELDS_mx_host(F)                                                                      \
        F(U16, preference, 0, _)                                                                   \
        F(BOOL, is_secure, 0, _)                                                                   \
        F(OCTETS, name, 255, _)                                                                    \
        F(OCTETS, ipv4, 64, _)  /* 4 octets an address */                                          \
        F(OCTETS, ipv6, 256, _) /* 16 octets an address */                                         \
        F(U8, tlsa_state, 0, _) /* enum mx_tlsa */                                                 \
        F(OCTETS, tlsa, 4096, _)

/* One question as DNS has it, and its answer. What is longer than an item may
 * be is left out. */
#define IPC_FIELDS_dns_query(F)                                                                    \
        F(U64, query, 0, _)                                                                        \
        F(OCTETS, name, 255, _) /* A-labels */                                                     \
        F(U16, type, 0, _)
#define IPC_FIELDS_dns_answer(F)                                                                   \
        F(U64, query, 0, _)                                                                        \
        F(U8, status, 0, _) /* enum dns_status */                                                  \
        F(BOOL, is_secure, 0, _)                                                                   \
        F(U32, ttl_s, 0, _)                                                                        \
        F(ITEMS, records, 64, dns_record)
#define IPC_FIELDS_dns_record(F) F(OCTETS, rdata, 1024, _)

/* Would this next hop take the recipient? MAIL and RCPT are said there, and no
 * message. Answered once; code 0: it could not be asked, text says why. */
#define IPC_FIELDS_probe(F)                                                                        \
        F(U64, query, 0, _)                                                                        \
        F(U32, timeout_ms, 0, _)                                                                   \
        F(OCTETS, next_hop, 512, _)                                                                \
        F(OCTETS, rcpt_to, IPC_ADDRESS_MAX, _)
#define IPC_FIELDS_probed(F)                                                                       \
        F(U64, query, 0, _)                                                                        \
        F(U16, code, 0, _)                                                                         \
        F(OCTETS, enhanced, 16, _)                                                                 \
        F(OCTETS, text, IPC_TEXT_MAX, _)                                                           \
        F(OCTETS, host, 300, _)

/* Write a delivery status notification (RFC 3464). +fd where the original's
 * octets exceed one frame. */
#define IPC_FIELDS_dsn_order(F)                                                                    \
        F(U64, order, 0, _)                                                                        \
        F(U64, message_id, 0, _)                                                                   \
        F(U64, arrived_us, 0, _)                                                                   \
        F(U64, retry_until_us, 0, _) /* delayed: when we give up; 0 otherwise */                   \
        F(U32, flags, 0, _)                                                                        \
        F(U8, action, 0, _) /* enum dsn_action */                                                  \
        F(OCTETS, mail_from, IPC_ADDRESS_MAX, _)                                                   \
        F(OCTETS, envid, 100, _)                                                                   \
        F(ITEMS, recipients, 100, dsn_recipient)                                                   \
        F(OCTETS, original, IPC_BODY_PART_MAX, _) /* its header, and body as RET asks, cut */
#define IPC_FIELDS_dsn_recipient(F)                                                                \
        F(OCTETS, rcpt_to, IPC_ADDRESS_MAX, _)                                                     \
        F(OCTETS, orcpt, 500, _)                                                                   \
        F(OCTETS, host, 300, _)                                                                    \
        F(U16, code, 0, _)                                                                         \
        F(OCTETS, enhanced, 16, _)                                                                 \
        F(OCTETS, text, IPC_TEXT_MAX, _)
#define IPC_FIELDS_dsn_text(F)                                                                     \
        F(U64, order, 0, _)                                                                        \
        F(U32, flags, 0, _) /* enum envelope_flag: what the text needs of its way */               \
        F(OCTETS, octets, 160 * 1024, _) /* the whole message, CRLF */

/* `hayauma queue list …`: the verb is "queue.list". */
#define IPC_FIELDS_control(F)                                                                      \
        F(OCTETS, verb, 64, _)                                                                     \
        F(ITEMS, arguments, 100, argument)
#define IPC_FIELDS_argument(F)                                                                     \
        F(OCTETS, name, 64, _)                                                                     \
        F(OCTETS, value, 4096, _)
/* Octets the command reads (messages to import); an empty one ends them. */
#define IPC_FIELDS_control_input(F) F(OCTETS, octets, IPC_BODY_PART_MAX, _)
/* Of mailbox.import the octets are items, one behind the other. */
#define IPC_FIELDS_import_message(F)                                                               \
        F(U32, uid, 0, _) /* 0: the next */                                                        \
        F(U32, flags, 0, _)                                                                        \
        F(U64, arrived_us, 0, _)                                                                   \
        F(OCTETS, keywords, 2200, _) /* each with a NUL behind it */                               \
        F(OCTETS, octets, IPC_IMPORT_MESSAGE_MAX, _)                                               \
        F(OCTETS, digest, IPC_DIGEST_MAX, _) /* of id 0; empty: none */
/* One row of a listing, a JSON object; the command line formats it. */
#define IPC_FIELDS_control_row(F) F(OCTETS, json, 128 * 1024, _)
/* Raw octets: a part of a message, or one whole decision record (`why`). Empty:
 * the command has arrived, and its answer may take a while. */
#define IPC_FIELDS_control_octets(F) F(OCTETS, octets, IPC_RECORD_MAX, _)
/* The end: an exit status of sysexits.h and, when not 0, what to tell. */
#define IPC_FIELDS_control_done(F)                                                                 \
        F(U8, status, 0, _)                                                                        \
        F(OCTETS, text, IPC_TEXT_MAX, _)

/* A login begins (auth/sasl.h). `login` is the asker's number for it. Every
 * start and step gets one auth_result; those under way when the channel ends
 * get none. Octets are blobs of SASL, already out of base64. */
#define IPC_FIELDS_auth_start(F)                                                                   \
        F(U64, login, 0, _)                                                                        \
        F(OCTETS, mechanism, 24, _)                                                                \
        F(OCTETS, service, 24, _)      /* for the log: "submission", "imap" */                     \
        F(OCTETS, client_address, 16, _) /* IPv4 mapped */                                         \
        F(BOOL, has_initial, 0, _)                                                                 \
        F(OCTETS, octets, IPC_SASL_MAX, _) /* the initial response */                              \
        F(OCTETS, exporter, 32, _)     /* tls-exporter (RFC 9266), where -PLUS is offered */       \
        F(OCTETS, end_point, 64, _)    /* tls-server-end-point (RFC 5929), likewise */             \
        F(OCTETS, certificate_name, 320, _) /* whom a checked client certificate names */
#define IPC_FIELDS_auth_step(F)                                                                    \
        F(U64, login, 0, _)                                                                        \
        F(OCTETS, octets, IPC_SASL_MAX, _)
/* The client gave up or is gone; no answer. */
#define IPC_FIELDS_auth_cancel(F) F(U64, login, 0, _)

enum auth_status {
        AUTH_CHALLENGE = 0, /* `octets`; a step follows */
        AUTH_GRANTED = 1,   /* `account`; this and all below end the login */
        AUTH_REFUSED = 2,   /* no such account or not its secret: nobody says which */
        AUTH_MALFORMED = 3, /* no message of that mechanism */
        AUTH_UNKNOWN = 4,   /* no such mechanism */
        AUTH_LATER = 5,     /* too many failures: not looked at */
        AUTH_TROUBLE = 6,   /* could not be decided now */
};
#define IPC_FIELDS_auth_result(F)                                                                  \
        F(U64, login, 0, _)                                                                        \
        F(U8, status, 0, _)                                                                        \
        F(OCTETS, octets, IPC_SASL_MAX, _)                                                         \
        F(OCTETS, account, 320, _) /* canonical address */                                         \
        F(U64, quota, 0, _)        /* octets its mailboxes may hold; 0: no limit */

/* The hosts that a login is known for, all of them; whenever that changes. */
#define IPC_FIELDS_relay_hosts(F) F(ITEMS, hosts, 1000, relay_host)
#define IPC_FIELDS_relay_host(F)                                                                   \
        F(OCTETS, name, 255, _) /* of the next hop, without brackets */                            \
        F(U16, port, 0, _)      /* 0: all */

/* We log in to another server (auth/sasl_client.h); octets are out of base64.
 * Every start and step gets one answer; auth_cancel ends the exchange. */
#define IPC_FIELDS_relay_login_start(F)                                                            \
        F(U64, login, 0, _)                                                                        \
        F(OCTETS, host, 255, _)                                                                    \
        F(U16, port, 0, _)                                                                         \
        F(OCTETS, mechanisms, 512, _) /* that it offers, blanks between them */                    \
        F(OCTETS, exporter, 32, _)    /* tls-exporter (RFC 9266), or empty */
#define IPC_FIELDS_relay_login_step(F)                                                             \
        F(U64, login, 0, _)                                                                        \
        F(OCTETS, octets, IPC_SASL_MAX, _)
#define IPC_FIELDS_relay_login_answer(F)                                                           \
        F(U64, login, 0, _)                                                                        \
        F(OCTETS, mechanism, 24, _) /* of the first answer */                                      \
        F(BOOL, has_octets, 0, _)   /* false: there is no initial response */                      \
        F(BOOL, is_done, 0, _)      /* the server has proved what it has to */                     \
        F(OCTETS, octets, IPC_SASL_MAX, _)                                                         \
        F(OCTETS, trouble, 200, _)  /* not empty: it is over, and why */

/* May this account send to so many recipients more? They are counted if so. */
#define IPC_FIELDS_quota_ask(F)                                                                    \
        F(U64, query, 0, _)                                                                        \
        F(OCTETS, account, 320, _)                                                                 \
        F(U32, recipients, 0, _)
#define IPC_FIELDS_quota_answer(F)                                                                 \
        F(U64, query, 0, _)                                                                        \
        F(BOOL, is_granted, 0, _)                                                                  \
        F(BOOL, is_news, 0, _) /* the first refusal of this hour or day: postmaster is told */     \
        F(BOOL, is_of_day, 0, _) /* recipients_per_day refuses it, not recipients_per_hour */      \
        F(OCTETS, text, IPC_TEXT_MAX, _) /* what the client is told where not */

/* A client has logged in: whoever serves its account goes on with it. +fd: the
 * client's socket, or, where edge keeps TLS, one end of a pair that edge joins
 * with it. `octets` came from the client behind its login. */
#define IPC_FIELDS_handover(F)                                                                     \
        F(U8, protocol, 0, _)    /* enum listen_protocol */                                        \
        F(BOOL, is_secured, 0, _)                                                                  \
        F(BOOL, is_utf8, 0, _)   /* POP3: said before login (RFC 6856) */                          \
        F(OCTETS, tag, 128, _)   /* IMAP: of the command that logged in */                         \
        F(OCTETS, account, 320, _)                                                                 \
        F(U64, quota, 0, _)      /* octets its mailboxes may hold; 0: no limit */                  \
        F(OCTETS, client, 64, _) /* for the log: "[192.0.2.1]" */                                  \
        F(U16, client_port, 0, _)                                                                  \
        F(OCTETS, octets, IPC_BODY_PART_MAX, _)

/* A mailbox, once as it is and then each change, until view_close. `view` is
 * chosen by access and never used again.
 *
 * view_head and pages come first; `is_last` ends them. Changes may come in
 * between: a page may be newer than a change that was sent before it, so what
 * has the higher modseq counts, and what is gone is gone. */
#define IPC_FIELDS_view_open(F)                                                                    \
        F(U64, view, 0, _)                                                                         \
        F(OCTETS, account, 320, _)                                                                 \
        F(U64, mailbox_id, 0, _)
#define IPC_FIELDS_view_close(F) F(U64, view, 0, _)
#define IPC_FIELDS_view_head(F)                                                                    \
        F(U64, view, 0, _)                                                                         \
        F(U32, status, 0, _) /* a positive errno: there is no such view */                         \
        F(U32, uid_validity, 0, _)                                                                 \
        F(U32, uid_next, 0, _)                                                                     \
        F(U64, highest_modseq, 0, _)                                                               \
        F(ITEMS, keywords, IPC_KEYWORDS_MAX, keyword)
#define IPC_FIELDS_keyword(F) F(OCTETS, name, 64, _)
/* Behind view_head, where it is known: the UIDs that went (store/mailbox.h,
 * account_expunged); in one or several frames. */
#define IPC_FIELDS_view_expunged(F)                                                                \
        F(U64, view, 0, _)                                                                         \
        F(U64, since, 0, _)                                                                        \
        F(ITEMS, ranges, IPC_EXPUNGED_MAX, expunged)
#define IPC_FIELDS_expunged(F) F(U64, modseq, 0, _) F(U32, first, 0, _) F(U32, last, 0, _)
#define IPC_FIELDS_view_page(F)                                                                    \
        F(U64, view, 0, _)                                                                         \
        F(BOOL, is_last, 0, _)                                                                     \
        F(OCTETS, rows, IPC_ROWS_MAX * IPC_ROW_OCTETS, _) /* message_row.h */
/* What one commit changed, in one or several frames. */
#define IPC_FIELDS_view_change(F)                                                                  \
        F(U64, view, 0, _)                                                                         \
        F(BOOL, is_last, 0, _)                                                                     \
        F(U32, uid_next, 0, _)                                                                     \
        F(U64, highest_modseq, 0, _)                                                               \
        F(ITEMS, keywords, IPC_KEYWORDS_MAX, keyword)                                              \
        F(OCTETS, rows, IPC_ROWS_MAX * IPC_ROW_OCTETS, _)                                          \
        F(ITEMS, gone, IPC_RANGES_MAX, uid_span)
#define IPC_FIELDS_uid_span(F) F(U32, first, 0, _) F(U32, last, 0, _)
/* The view has ended: the mailbox was deleted, or there was too much to tell
 * and it must be opened anew. */
#define IPC_FIELDS_view_gone(F) F(U64, view, 0, _) F(BOOL, is_deleted, 0, _)

enum folder_verb {
        FOLDER_LIST = 1, /* every mailbox and every name subscribed to */
        FOLDER_STATUS,   /* the row of `mailbox`; INBOX comes into being */
        FOLDER_CREATE,
        FOLDER_DELETE,
        FOLDER_RENAME,
        FOLDER_SUBSCRIBE,
        FOLDER_UNSUBSCRIBE,
};
#define IPC_FIELDS_folder_order(F)                                                                 \
        F(U64, order, 0, _)                                                                        \
        F(U8, verb, 0, _)                                                                          \
        F(OCTETS, account, 320, _)                                                                 \
        F(OCTETS, mailbox, 1024, _)                                                                \
        F(OCTETS, new_name, 1024, _)                                                               \
        F(U32, special_use, 0, _)                                                                  \
        F(BOOL, wants_deleted_size, 0, _) /* of LIST, STATUS */
/* Before folder_done, as many as it takes. */
#define IPC_FIELDS_folder_rows(F)                                                                  \
        F(U64, order, 0, _)                                                                        \
        F(ITEMS, rows, 500, folder_row)
#define IPC_FIELDS_folder_row(F)                                                                   \
        F(OCTETS, name, 255, _)                                                                    \
        F(BOOL, is_missing, 0, _) /* only subscribed to */                                         \
        F(BOOL, is_subscribed, 0, _)                                                               \
        F(U32, special_use, 0, _)                                                                  \
        F(U64, mailbox_id, 0, _)                                                                   \
        F(U32, uid_validity, 0, _)                                                                 \
        F(U32, uid_next, 0, _)                                                                     \
        F(U32, message_count, 0, _)                                                                \
        F(U32, unseen_count, 0, _)                                                                 \
        F(U32, deleted_count, 0, _)                                                                \
        F(U64, highest_modseq, 0, _)                                                               \
        F(U64, size, 0, _)                                                                         \
        F(U64, deleted_size, 0, _) /* 0 where it was not asked for */
#define IPC_FIELDS_folder_done(F)                                                                  \
        F(U64, order, 0, _)                                                                        \
        F(U32, status, 0, _) /* 0 or a positive errno */                                           \
        F(U64, mailbox_id, 0, _)

/* Messages change (store/mailbox.h says what the fields mean). */
#define IPC_FIELDS_change_order(F)                                                                 \
        F(U64, order, 0, _)                                                                        \
        F(U8, kind, 0, _) /* enum account_change_kind */                                           \
        F(OCTETS, account, 320, _)                                                                 \
        F(U64, mailbox_id, 0, _)                                                                   \
        F(ITEMS, uids, IPC_RANGES_MAX, uid_span)                                                   \
        F(U8, mode, 0, _) /* enum account_flags_mode */                                            \
        F(U32, flags, 0, _)                                                                        \
        F(ITEMS, keywords, IPC_KEYWORDS_MAX, keyword)                                              \
        F(BOOL, has_unchanged_since, 0, _)                                                         \
        F(U64, unchanged_since, 0, _)                                                              \
        F(BOOL, only_deleted, 0, _)                                                                \
        F(U64, quota, 0, _)     /* COPY: as in append_order */                                     \
        F(U64, size, 0, _)      /* COPY: octets it adds */                                         \
        F(OCTETS, to, 1024, _)
/* After the view_change of every open view it concerns. */
#define IPC_FIELDS_change_done(F)                                                                  \
        F(U64, order, 0, _)                                                                        \
        F(U32, status, 0, _) /* 0 or a positive errno */                                           \
        F(U32, uid_validity, 0, _)                                                                 \
        F(ITEMS, source, IPC_RANGES_MAX, uid_span)                                                 \
        F(ITEMS, uids, IPC_RANGES_MAX, uid_span)

/* Messages whose bodies came before, as an edge's do (body, lend), those in memory perhaps
 * with a digest behind `size` octets; the answer is change_done. All or none: EOVERFLOW
 * where the account's mailboxes would hold more than `quota` octets (0: no limit). */
#define IPC_FIELDS_append_order(F)                                                                 \
        F(U64, order, 0, _)                                                                        \
        F(OCTETS, account, 320, _)                                                                 \
        F(OCTETS, mailbox, 1024, _)                                                                \
        F(U64, quota, 0, _)                                                                        \
        F(ITEMS, messages, IPC_APPENDS_MAX, append_message)
#define IPC_FIELDS_append_message(F)                                                               \
        F(U64, message_id, 0, _)                                                                   \
        F(U64, size, 0, _)                                                                         \
        F(BOOL, is_lent, 0, _)                                                                     \
        F(U32, flags, 0, _)                                                                        \
        F(U64, arrived_us, 0, _)                                                                   \
        F(OCTETS, keywords, 2200, _) /* each with a NUL behind it */

/* A stored body, or its part: octets; or +fd where `wants_file` and the body
 * is a file of its own. */
#define IPC_FIELDS_blob_query(F)                                                                   \
        F(U64, query, 0, _)                                                                        \
        F(U64, blob_id, 0, _)                                                                      \
        F(U64, offset, 0, _)                                                                       \
        F(U32, len, 0, _)                                                                          \
        F(BOOL, wants_file, 0, _)
#define IPC_FIELDS_blob_octets(F)                                                                  \
        F(U64, query, 0, _)                                                                        \
        F(U32, status, 0, _) /* 0 or a positive errno */                                           \
        F(U64, size, 0, _)   /* of the whole */                                                    \
        F(OCTETS, octets, IPC_BLOB_PART_MAX, _)

/* Where stored bodies lie, in the order asked for; `segment` 0: ask for the octets.
 * What is read there is the body if its checksum is right (store/store.h). */
#define IPC_FIELDS_place_query(F)                                                                  \
        F(U64, query, 0, _)                                                                        \
        F(ITEMS, blobs, IPC_PLACES_MAX, blob)
#define IPC_FIELDS_blob(F) F(U64, blob_id, 0, _)
#define IPC_FIELDS_places(F)                                                                       \
        F(U64, query, 0, _)                                                                        \
        F(U32, status, 0, _) /* 0 or a positive errno */                                           \
        F(ITEMS, places, IPC_PLACES_MAX, place)
#define IPC_FIELDS_place(F)                                                                        \
        F(U64, blob_id, 0, _)                                                                      \
        F(U64, segment, 0, _)                                                                      \
        F(U64, offset, 0, _)                                                                       \
        F(U64, size, 0, _)                                                                         \
        F(U64, checksum, 0, _)
/* +fd: a segment of mail, read-only. */
#define IPC_FIELDS_segment_query(F)                                                                \
        F(U64, query, 0, _)                                                                        \
        F(U64, segment, 0, _)
#define IPC_FIELDS_segment_file(F)                                                                 \
        F(U64, query, 0, _)                                                                        \
        F(U32, status, 0, _)

/* The kinds of items that messages carry. */
#define IPC_ITEM_KINDS(I)                                                                          \
        I(metric)                                                                                  \
        I(recipient)                                                                               \
        I(result)                                                                                  \
        I(target)                                                                                  \
        I(mx_host)                                                                                 \
        I(dns_record)                                                                              \
        I(limited)                                                                                 \
        I(dsn_recipient)                                                                           \
        I(argument)                                                                                \
        I(keyword)                                                                                 \
        I(uid_span)                                                                                \
        I(expunged)                                                                                \
        I(folder_row)                                                                              \
        I(append_message)                                                                          \
        I(blob)                                                                                    \
        I(place)                                                                                   \
        I(import_message)                                                                          \
        I(relay_host)
