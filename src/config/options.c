#include "config/options.h"

#include <stdint.h>
#include <string.h>

#define FIELD(name) offsetof(struct config, name)
#define ROLES(...) .role_value = {__VA_ARGS__}

#define NUMBER_MAX 1000000000

const struct option_section option_sections[] = {
        { "processes", "How many processes of a kind run" },
        { "tables", "Files of tables, in sendmail's text formats; see docs/tables.md" },
        { "agent", "Programs and files that aliases name" },
        { "masquerade", "How senders are shown, in mail that our users and networks send" },
        { "probe", "Whether the next hop knows a recipient" },
        { "dns", "How names are looked up" },
        { "tls", "The certificate we show" },
        { "auth", "How clients log in, and what they may then do" },
        { "users", "Who has a mailbox here" },
        { "limits", "What one client or one message may spend; 0 is no limit" },
        { "smtp", "What is offered to clients, and what is asked of them" },
        { "queue", "How long and how hard delivery is tried" },
};
const size_t option_section_count = sizeof option_sections / sizeof option_sections[0];

const struct option options[] = {
        {
                .name = "hostname",
                .type = OPTION_HOSTNAME,
                .change = OPTION_RELOAD,
                .offset = FIELD(hostname),
                .default_text = "none: it must be set",
                .brief = "The full name of this machine, as others know it",
                .text = "Said in the greeting, in EHLO and in the trace fields of every message. "
                        "It "
                        "should resolve to this machine's address, and the address back to it: "
                        "many "
                        "receivers refuse mail from a host whose name does not.",
                .example = "\"mx1.example.jp\"",
        },
        {
                .name = "role",
                .type = OPTION_ROLE,
                .change = OPTION_RELOAD,
                .offset = FIELD(role),
                .value = "mailbox",
                .brief = "What this machine is for",
                .text = "One of gateway (between the Internet and the mail servers of a site), "
                        "relay "
                        "(passes mail on inside a site), mailbox (keeps mail for its users), "
                        "backup-mx (takes mail while the first MX is away) and fallback (takes "
                        "what "
                        "other servers could not deliver at once).\n"
                        "A role only sets defaults; any of them can be overridden.",
                .example = "\"mailbox\"",
        },
        {
                .name = "state_dir",
                .type = OPTION_PATH,
                .change = OPTION_RESTART,
                .offset = FIELD(state_dir),
                .value = "/var/lib/hayauma",
                .brief = "The folder of everything that must survive: queue, mail, traces, index",
                .text = "One server owns it and locks it. It should be on a local disk.",
                .example = "\"/var/lib/hayauma\"",
        },
        {
                .name = "run_dir",
                .type = OPTION_PATH,
                .change = OPTION_RESTART,
                .offset = FIELD(run_dir),
                .value = "/run/hayauma",
                .brief = "The folder of the sockets that the command line speaks to",
                .text = "Made at start. Its path may have at most 90 octets, since the path of a "
                        "Unix socket is short.",
                .example = "\"/run/hayauma\"",
        },
        {
                .name = "user",
                .type = OPTION_USER,
                .change = OPTION_RESTART,
                .offset = FIELD(user),
                .value = "hayauma",
                .brief = "The name in front of the accounts our processes run as",
                .text = "Started by root, a process runs as this name with its kind behind it: "
                        "hayauma-edge, hayauma-keeper, hayauma-relay. Members of the group of this "
                        "name may use the control commands. Started by an ordinary user, all "
                        "processes run as that user.",
                .example = "\"hayauma\"",
        },
        {
                .name = "processes.edge",
                .type = OPTION_NUMBER,
                .change = OPTION_RESTART,
                .offset = FIELD(processes.edge),
                .min = 1,
                .max = 32,
                .default_text = "the number of cores, at most 8",
                .brief = "Processes that speak to clients",
                .text = "More than one a core costs memory and gains nothing.",
                .example = "4",
        },
        {
                .name = "processes.login",
                .type = OPTION_NUMBER,
                .change = OPTION_RESTART,
                .offset = FIELD(processes.login),
                .min = 0,
                .max = 32,
                .default_text = "half the number of cores, at least 1 and at most 4; none where "
                                "nothing of listen is IMAP or POP3",
                .brief = "Edges of their own for the logins of IMAP and POP3",
                .text = "They stand behind those of processes.edge, which take mail: a flood of "
                        "logins leaves mail alone. TLS of those who read ends in them. 0: those of "
                        "processes.edge take the logins, too.",
                .example = "2",
        },
        {
                .name = "processes.relay",
                .type = OPTION_NUMBER,
                .change = OPTION_RESTART,
                .offset = FIELD(processes.relay),
                .min = 1,
                .max = 64,
                .default_text = "half the number of cores, at least 1 and at most 4",
                .brief = "Processes that speak to the servers mail is sent to",
                .text = "All mail to one destination leaves through the same one, so that its "
                        "connections are used again.",
                .example = "2",
        },
        {
                .name = "processes.access",
                .type = OPTION_NUMBER,
                .change = OPTION_RESTART,
                .offset = FIELD(processes.access),
                .min = 1,
                .max = 64,
                .default_text = "the number of cores, at most 8",
                .brief = "Processes that serve stored mail after login",
                .text = "An account is always served by the same one.",
                .example = "4",
        },
        {
                .name = "processes.worker",
                .type = OPTION_NUMBER,
                .change = OPTION_RESTART,
                .offset = FIELD(processes.worker),
                .min = 1,
                .max = 64,
                .default_text = "the number of cores, at most 8",
                .brief = "Processes that compute over message text, such as delivery reports",
                .text = "They hold no data of their own and may open no file.",
                .example = "2",
        },
        {
                .name = "domains",
                .type = OPTION_DOMAINS,
                .change = OPTION_RELOAD,
                .offset = FIELD(domains),
                .brief = "Domains whose mail is delivered here",
                .text = "postmaster of each is always accepted. Another alphabet is written in its "
                        "ASCII form (xn--...).",
                .example = "{ \"example.jp\", \"example.com\" }",
        },
        {
                .name = "relay_domains",
                .type = OPTION_PATTERNS,
                .change = OPTION_RELOAD,
                .offset = FIELD(relay_domains),
                .brief = "Domains whose mail is accepted from anyone and passed on",
                .text = "A dot in front stands for all subdomains. Where the mail goes is said by "
                        "local_relay, or by the MX records of the domain.",
                .example = "{ \"example.jp\", \".example.jp\" }",
        },
        {
                .name = "relay_networks",
                .type = OPTION_NETWORKS,
                .change = OPTION_RELOAD,
                .offset = FIELD(relay_networks),
                .value = "127.0.0.0/8 ::1/128",
                .brief = "Networks whose clients may send mail to anywhere without login",
                .text = "Name only networks whose every machine you trust: one that is broken into "
                        "sends spam in your name.",
                .example = "{ \"127.0.0.0/8\", \"::1\", \"192.0.2.0/24\" }",
        },
        {
                .name = "relay_mail_from",
                .type = OPTION_PATTERNS,
                .change = OPTION_RELOAD,
                .offset = FIELD(relay_mail_from),
                .default_text = "none: any sender",
                .brief = "Which senders' domains may relay without login",
                .text = "With it, a client of relay_networks, or one that the access table lets "
                        "relay, must also name a sender of these domains. A leading dot means all "
                        "subdomains. Anybody can claim a sender, so this narrows what a network "
                        "may do and opens nothing.",
                .example = "{ \"example.jp\", \".example.jp\" }",
        },
        {
                .name = "relay_certificates",
                .type = OPTION_CERTIFICATES,
                .change = OPTION_RELOAD,
                .offset = FIELD(relay_certificates),
                .brief = "Certificates whose owners may relay without login",
                .text = "Under TLS a client may show a certificate. One whose SHA-256 stands here "
                        "may relay, whoever signed it; so may one that an authority of "
                        "tls.client_ca vouches for and that has this host name or mail address, "
                        "or whose issuer's common name is that behind issuer:. \"*\" is each that "
                        "tls.client_ca vouches for.",
                .example = "{ \"mx2.example.jp\", \"issuer:Our branch CA\" }",
        },
        {
                .name = "trusted_users",
                .type = OPTION_NAMES,
                .change = OPTION_RELOAD,
                .offset = FIELD(trusted_users),
                .value = "root daemon uucp",
                .brief = "Users of this machine who may send as somebody else",
                .text = "A message that any other user submits with \"sendmail -f\" and an "
                        "address that is not his own is marked with X-Authentication-Warning.",
                .example = "{ \"root\", \"www-data\" }",
        },
        {
                .name = "proxy_networks",
                .type = OPTION_NETWORKS,
                .change = OPTION_RELOAD,
                .offset = FIELD(proxy_networks),
                .brief = "Networks of front ends that begin each connection with the PROXY "
                         "protocol",
                .text = "Version 1 or 2: a line or block in front of all else says who the "
                        "client is. A connection from there without it is closed.",
                .example = "{ \"192.0.2.10\" }",
        },
        {
                .name = "xclient_networks",
                .type = OPTION_NETWORKS,
                .change = OPTION_RELOAD,
                .offset = FIELD(xclient_networks),
                .brief = "Networks of front ends that may name the client with the command XCLIENT",
                .text = "As Postfix has it. Others are not offered the command.",
                .example = "{ \"192.0.2.10\" }",
        },
        {
                .name = "smart_host",
                .type = OPTION_NEXT_HOP,
                .change = OPTION_RELOAD,
                .offset = FIELD(smart_host),
                .brief = "The server that all mail for elsewhere is handed to",
                .text = "Without it, mail goes where the MX records of its domain say.",
                .example = "\"[gateway.example.jp]\"",
        },
        {
                .name = "fallback_mx",
                .type = OPTION_NEXT_HOP,
                .change = OPTION_RELOAD,
                .offset = FIELD(fallback_mx),
                .brief = "The server that takes what no MX of a domain would take at the first try",
                .text = "It keeps this machine's queue short. That server has the role fallback.",
                .example = "\"[fallback.example.jp]\"",
        },
        {
                .name = "source_addresses",
                .type = OPTION_SERVERS,
                .change = OPTION_RELOAD,
                .offset = FIELD(source_addresses),
                .default_text = "none: the system chooses",
                .brief = "Addresses of this host that connections to other mail servers come from",
                .text = "The first of the family that is needed is used. On a host with several "
                        "addresses it is the one whose name in DNS is hostname.",
                .example = "{ \"192.0.2.25\", \"2001:db8::25\" }",
        },
        {
                .name = "tls_policy",
                .type = OPTION_TLS_POLICIES,
                .change = OPTION_RELOAD,
                .offset = FIELD(tls_policy),
                .default_text = "none: as for \"* dane\"",
                .brief = "How sure we must be of a server before mail goes there",
                .text = "A row is a destination and a level. The destination is a domain, or the "
                        "host of a next hop, with a port or without; .example.net is every name "
                        "below it, * everything. The row that says most about a destination "
                        "counts.\n"
                        "Levels: none (no TLS), may (where it is offered, with any certificate), "
                        "encrypt (TLS or nothing), verify (an authority of tls.ca vouches for the "
                        "name of the destination, or one behind match=), fingerprint (SHA-256 of "
                        "the certificate or of its public key stands behind it), dane (as TLSA "
                        "records in validated DNS say; without such records as may), dane-only "
                        "(without such records nothing is sent). Mail that may not go to a host "
                        "waits in the queue, and hayauma why says the reason.",
                .example = "{ \"bank.example verify\", \".example.net encrypt\", \"* dane\" }",
        },
        {
                .name = "downgrade_signed",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(downgrade_signed),
                .value = "no",
                .brief = "Whether signed mail is re-encoded for hosts that take no 8-bit text",
                .text = "Mail with 8-bit text or binary parts gets a transfer encoding where the "
                        "next host takes it only so. That breaks a DKIM signature, and what "
                        "is within multipart/signed: such mail goes back to its sender "
                        "instead, with status 5.6.1. To a mailbox here only lines go: binary "
                        "parts become base64, and a message that is signed is refused with 5.6.1.",
                .example = "yes",
        },
        {
                .name = "local_relay",
                .type = OPTION_NEXT_HOP,
                .change = OPTION_RELOAD,
                .offset = FIELD(local_relay),
                .brief = "The server that mail for relay_domains is handed to",
                .text = "Without it, that mail goes where the MX records of its domain say. "
                        "lmtp:unix:/path is the socket of an LMTP server on this machine.",
                .example = "\"[mail.example.jp]\"",
        },
        {
                .name = "lmtp_sockets",
                .type = OPTION_PATHS,
                .change = OPTION_RELOAD,
                .offset = FIELD(lmtp_sockets),
                .default_text = "none",
                .brief = "Sockets of LMTP servers on this machine that a mailertable may name",
                .text = "A row of the mailertable with lmtp:unix:/path works only for a path that "
                        "stands here; for local_relay and smart_host it need not. hayauma run "
                        "connects to it, under the user it was started by.",
                .example = "{ \"/run/dovecot/lmtp\" }",
        },
#include "config/options_policy.inc"
        {
                .name = "listen",
                .type = OPTION_LISTENS,
                .change = OPTION_RELOAD,
                .offset = FIELD(listen),
                .value = "smtp://*:25",
                ROLES([ROLE_MAILBOX] = "smtp://*:25 submission://*:587 submissions://*:465 "
                                       "lmtp://127.0.0.1:24 imap://*:143 imaps://*:993 "
                                       "pop3://*:110 pop3s://*:995"),
                .brief = "Where we accept connections, and what is spoken there",
                .text = "protocol://host:port, with protocol one of smtp, submission, submissions, "
                        "lmtp, imap, imaps, pop3, pop3s; http is a name that this version "
                        "knows, but does not serve. The host is * (all addresses), an "
                        "IPv4 address, or an IPv6 address in brackets; [::] is IPv6 only. Without "
                        "a port it is the usual one. lmtp://unix:/path is a Unix socket.\n"
                        "submissions, imaps and pop3s begin with TLS and need tls.certificate; the "
                        "default leaves them out as long as there is none.",
                .example = "{ \"smtp://*:25\", \"submission://*:587\", \"lmtp://127.0.0.1:24\" }",
        },
        {
                .name = "tables.mailertable",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tables.mailertable),
                .brief = "Next hops by domain",
                .text = "A line each: the domain, blanks, the next hop.",
                .example = "\"/etc/hayauma/mailertable\"",
        },
        {
                .name = "tables.access",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tables.access),
                .brief = "Who is accepted or refused, by address, domain and network",
                .text = "A line each: the key, blanks, OK, RELAY, REJECT or a reply.",
                .example = "\"/etc/hayauma/access\"",
        },
        {
                .name = "tables.aliases",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tables.aliases),
                .brief = "Other recipients for a local name",
                .text = "A line each: the name, a colon, recipients with commas between them.",
                .example = "\"/etc/aliases\"",
        },
        {
                .name = "tables.virtusertable",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tables.virtusertable),
                .brief = "Recipients by whole address or by domain",
                .text = "A line each: user@domain or @domain, blanks, the recipient.",
                .example = "\"/etc/hayauma/virtusertable\"",
        },
        {
                .name = "tables.genericstable",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tables.genericstable),
                .brief = "Addresses that senders are rewritten to",
                .text = "A line each: the address, blanks, the address that takes its place.",
                .example = "\"/etc/hayauma/genericstable\"",
        },
        {
                .name = "masquerade.as",
                .type = OPTION_HOSTNAME,
                .change = OPTION_RELOAD,
                .offset = FIELD(masquerade.as),
                .brief = "The domain that is shown instead",
                .text = "In From, Sender, Reply-To and their Resent- forms. Without it nothing is "
                        "masqueraded.",
                .example = "\"example.jp\"",
        },
        {
                .name = "masquerade.domains",
                .type = OPTION_DOMAINS,
                .change = OPTION_RELOAD,
                .offset = FIELD(masquerade.domains),
                .brief = "Domains that are masqueraded, beside our own",
                .text = "Our own are hostname and domains.",
                .example = "{ \"mail.example.jp\" }",
        },
        {
                .name = "masquerade.entire_domain",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(masquerade.entire_domain),
                .value = "no",
                .brief = "Masquerade every name below masquerade.domains too",
                .text = "Each machine of a site then sends under the same domain.",
                .example = "yes",
        },
        {
                .name = "masquerade.limited",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(masquerade.limited),
                .value = "no",
                .brief = "Masquerade only masquerade.domains",
                .text = "Our own domains are then left as they are unless they stand there.",
                .example = "yes",
        },
        {
                .name = "masquerade.envelope",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(masquerade.envelope),
                .value = "no",
                .brief = "Masquerade the envelope sender too",
                .text = "Reports about undeliverable mail then go to the masqueraded address.",
                .example = "yes",
        },
        {
                .name = "masquerade.exposed_users",
                .type = OPTION_NAMES,
                .change = OPTION_RELOAD,
                .offset = FIELD(masquerade.exposed_users),
                .brief = "Names that are never masqueraded",
                .text = "For accounts that every machine has, and whose mail is about that "
                        "machine.",
                .example = "{ \"root\" }",
        },
        {
                .name = "masquerade.always_add_domain",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(masquerade.always_add_domain),
                .value = "no",
                .brief = "Give header addresses without a domain ours",
                .text = "That is masquerade.as, or else the first of domains.",
                .example = "yes",
        },
        {
                .name = "dns.servers",
                .type = OPTION_SERVERS,
                .change = OPTION_RESTART,
                .offset = FIELD(dns.servers),
                .default_text = "none: names are resolved from the root servers",
                .brief = "Name servers to ask",
                .text = "Addresses, with @port where it is not 53. Answers are validated with "
                        "DNSSEC "
                        "here, whatever these servers say about them.",
                .example = "{ \"127.0.0.1@5353\" }",
        },
        {
                .name = "dns.trust_anchor",
                .type = OPTION_PATH,
                .change = OPTION_RESTART,
                .offset = FIELD(dns.trust_anchor),
                .default_text = "the key of the root that came with the resolver",
                .brief = "A file with the DNSSEC key that trust begins at",
                .text = "Needed only where the root is not the Internet's, as in a lab.",
                .example = "\"/usr/share/dns/root.key\"",
        },
        {
                .name = "dns.port",
                .type = OPTION_NUMBER,
                .change = OPTION_RELOAD,
                .offset = FIELD(dns.port),
                .value = "25",
                .min = 1,
                .max = 65535,
                .brief = "The port where the hosts that MX records name are spoken to",
                .text = "25 everywhere but in labs and tests.",
                .example = "2525",
        },
        {
                .name = "dns.ipv4_first",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(dns.ipv4_first),
                .value = "no",
                .brief = "Whether a host's IPv4 addresses are tried before its IPv6 addresses",
                .text = "Either way the families take turns, so that one that does not work costs "
                        "seconds.",
                .example = "yes",
        },
        {
                .name = "tls.certificate",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tls.certificate),
                .brief = "A PEM file: our certificate, then those that lead to a known authority",
                .text = "With it STARTTLS is offered, and the protocols that begin with TLS can be "
                        "listened for.",
                .example = "\"/etc/hayauma/mx1.example.jp.pem\"",
        },
        {
                .name = "tls.key",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tls.key),
                .brief = "The PEM file of the private key for tls.certificate",
                .text = "Readable by root only: the process that reads it is started by root. Not "
                        "needed where tls.certificate holds the key as well.",
                .example = "\"/etc/hayauma/mx1.example.jp.key\"",
        },
        {
                .name = "tls.ca",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tls.ca),
                .value = "/etc/ssl/certs/ca-certificates.crt",
                .brief = "A PEM file with the authorities that other servers' certificates are "
                         "checked with",
                .text = "Used where a policy demands a checked certificate; other mail is "
                        "encrypted "
                        "without a check.",
                .example = "\"/etc/ssl/certs/ca-certificates.crt\"",
        },
        {
                .name = "tls.more_certificates",
                .type = OPTION_PATHS,
                .change = OPTION_RELOAD,
                .offset = FIELD(tls.more_certificates),
                .brief = "More certificates, for clients that ask for us by other names",
                .text = "A PEM file each, with certificate, chain and key. Which one is shown is "
                        "decided by the server name that the client asks for and the names in the "
                        "certificates; who asks for none of them gets tls.certificate.",
                .example = "{ \"/etc/hayauma/mail.example.com.pem\" }",
        },
        {
                .name = "tls.client_ca",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(tls.client_ca),
                .brief = "A PEM file with the authorities whose certificates clients may log in "
                         "with",
                .text = "With it clients are asked for a certificate; who has none, or another's, "
                        "is served as before. One that such an authority signed lets its owner "
                        "log in by EXTERNAL, as the mail address that stands in the certificate. "
                        "Name only an authority of your own: whatever it signs is believed.",
                .example = "\"/etc/hayauma/ca.pem\"",
        },
        {
                .name = "auth.mechanisms",
                .type = OPTION_MECHANISMS,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.mechanisms),
                .value = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL PLAIN LOGIN",
                .brief = "How clients may prove who they are",
                .text = "Those of PLUS, EXTERNAL, PLAIN and LOGIN are offered under TLS only. "
                        "SCRAM-SHA-1 works for accounts that have a verifier for it, CRAM-MD5 for "
                        "those made by \"hayauma user\" with --apop, which keeps the password as "
                        "it is; MD5 is weak.",
                .example = "{ \"SCRAM-SHA-256\", \"PLAIN\" }",
        },
        {
                .name = "auth.plaintext_without_tls",
                .type = OPTION_NETWORKS,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.plaintext_without_tls),
                .brief = "Networks whose clients may send their password in the clear",
                .text = "For old machines on a wire that nobody else hears. Everybody else is "
                        "offered PLAIN and LOGIN under TLS only.",
                .example = "{ \"192.0.2.0/28\" }",
        },
        {
                .name = "auth.apop",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.apop),
                .value = "no",
                .brief = "Whether POP3 clients may log in by APOP",
                .text = "For old clients without TLS. Works for accounts whose password was set "
                        "with --apop, which keeps it in the users file as it is. MD5 is weak: "
                        "whoever listens can search for the password.",
                .example = "yes",
        },
        {
                .name = "auth.pam_service",
                .type = OPTION_USER,
                .change = OPTION_RESTART,
                .offset = FIELD(auth.pam_service),
                .default_text = "none: PAM is not asked",
                .brief = "The PAM service that knows the passwords of local accounts",
                .text = "Then an account whose password in the users file is {PAM}name logs in, by "
                        "PLAIN and LOGIN, with what /etc/pam.d says of this service for the local "
                        "account of that name; \"hayauma user import\" makes such accounts. PAM "
                        "is asked by processes of their own, which have no network.",
                .example = "\"hayauma\"",
        },
        {
                .name = "auth.pop3_login_delay",
                .type = OPTION_DURATION,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.pop3_login_delay_ms),
                .value = "0s",
                .min = 0,
                .max = 3600 * 1000,
                .brief = "How long a POP3 client waits before it may log in again",
                .text = "An account that logs in sooner is told so (LOGIN-DELAY of RFC 2449). 0 is "
                        "no limit.",
                .example = "60s",
        },
        {
                .name = "auth.on_smtp",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.on_smtp),
                .value = "no",
                .brief = "Whether clients may log in on smtp listeners too",
                .text = "Port 25 is for other servers, which have no account here; offering a "
                        "login there invites guessing. For clients that cannot be told another "
                        "port.",
                .example = "yes",
        },
        {
                .name = "auth.sender_must_match",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.sender_must_match),
                .value = "yes",
                .brief = "Whether who logged in may send only as himself",
                .text = "With yes, the address in MAIL FROM must be one of the account's; the "
                        "empty one is always allowed, which receipts are sent with.",
                .example = "no",
        },
        {
                .name = "auth.recipients_per_hour",
                .type = OPTION_COUNT,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.recipients_per_hour),
                .value = "1000",
                .min = 1,
                .max = NUMBER_MAX,
                .zero_is_none = true,
                .brief = "The most recipients one account may send to in an hour",
                .text = "What a stolen password can do until somebody looks. Who is over it is "
                        "answered 450, and the log says account_over_quota once an hour.",
                .example = "200",
        },
        {
                .name = "auth.recipients_per_day",
                .type = OPTION_COUNT,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.recipients_per_day),
                .value = "5000",
                .min = 1,
                .max = NUMBER_MAX,
                .zero_is_none = true,
                .brief = "The most recipients one account may send to in a day",
                .text = "As auth.recipients_per_hour. Counted anew after a restart.",
                .example = "1000",
        },
        {
                .name = "auth.relay_logins",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(auth.relay_logins),
                .brief = "The file of passwords that we log in to other servers with",
                .text = "A line each: the host of the next hop (with :port or without), blanks, "
                        "the login name, blanks, the password, and perhaps "
                        "mechanisms=SCRAM-SHA-256 behind it. The login is given only where "
                        "tls_policy says verify, fingerprint or dane-only; where it says nothing "
                        "of the host, it is as if it said verify. Only one process reads the "
                        "file; it should be root's alone.",
                .example = "\"/etc/hayauma/relay_logins\"",
        },
        {
                .name = "users.file",
                .type = OPTION_PATH,
                .change = OPTION_RELOAD,
                .offset = FIELD(users.file),
                .default_text = "users in state_dir",
                .brief = "The file of accounts and password hashes",
                .text = "Written by hayauma user. The server notices when it changes.",
                .example = "\"/var/lib/hayauma/users\"",
        },
        {
                .name = "users.auto_create",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(users.auto_create),
                .value = "no",
                .brief = "Whether every address of our domains has a mailbox",
                .text = "With yes, any local part is accepted and its mailbox is made at the first "
                        "delivery. For labs and benchmarks: on the Internet it collects spam.",
                .example = "yes",
        },
        {
                .name = "users.over_quota_returns",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(users.over_quota_returns),
                .value = "no",
                .brief = "Whether mail for an account that is full goes back at once",
                .text = "A message that would take an account over its quota (users.file) is "
                        "answered 452 4.2.2, or waits in the queue where it has other recipients, "
                        "too. With yes it is 552 5.2.2, and goes back to its sender.",
                .example = "yes",
        },
#include "config/options_limits.inc"
        {
                .name = "queue.lifetime",
                .type = OPTION_DURATION,
                .change = OPTION_RELOAD,
                .offset = FIELD(queue.lifetime_ms),
                .value = "5d",
                ROLES([ROLE_BACKUP_MX] = "30d", [ROLE_FALLBACK] = "10d"),
                .min = 1000,
                .max = UINT64_C(366) * 24 * 3600 * 1000,
                .brief = "How long delivery is tried before a message goes back",
                .text = "RFC 5321 section 4.5.4.1 asks for four to five days at least. A backup-mx "
                        "waits for a first MX that may be under repair, so it waits longer.",
                .example = "5d",
        },
        {
                .name = "queue.warn_after",
                .type = OPTION_DURATION,
                .change = OPTION_RELOAD,
                .offset = FIELD(queue.warn_after_ms),
                .value = "4h",
                ROLES([ROLE_BACKUP_MX] = "0", [ROLE_FALLBACK] = "1d"),
                .min = 1000,
                .max = UINT64_C(366) * 24 * 3600 * 1000,
                .zero_is_none = true,
                .brief = "When the sender is told that a message is late; 0 is never",
                .text = "Told once a message.",
                .example = "4h",
        },
        {
                .name = "queue.retry_min",
                .type = OPTION_DURATION,
                .change = OPTION_RELOAD,
                .offset = FIELD(queue.retry_min_ms),
                .value = "5m",
                ROLES([ROLE_BACKUP_MX] = "1m", [ROLE_FALLBACK] = "15m"),
                .min = 1000,
                .max = 24 * 3600 * 1000,
                .brief = "The first wait after a try that failed",
                .text = "Each further wait is longer, up to queue.retry_max; every wait differs a "
                        "little, so that messages do not come back all at once.",
                .example = "5m",
        },
        {
                .name = "queue.retry_max",
                .type = OPTION_DURATION,
                .change = OPTION_RELOAD,
                .offset = FIELD(queue.retry_max_ms),
                .value = "1h",
                ROLES([ROLE_BACKUP_MX] = "10m", [ROLE_FALLBACK] = "4h"),
                .min = 1000,
                .max = 7 * 24 * 3600 * 1000,
                .brief = "The longest wait between two tries",
                .text = "One host that answers again gets all that waits for it at once, so long "
                        "waits cost little.",
                .example = "1h",
        },
        {
                .name = "queue.concurrency_per_destination",
                .type = OPTION_NUMBER,
                .change = OPTION_RELOAD,
                .offset = FIELD(queue.concurrency_per_destination),
                .value = "20",
                .min = 1,
                .max = 1000,
                .brief = "The most connections at a time to one destination",
                .text = "It starts low, grows with success and halves with failure.",
                .example = "10",
        },
        {
                .name = "queue.recipients_per_transaction",
                .type = OPTION_NUMBER,
                .change = OPTION_RELOAD,
                .offset = FIELD(queue.recipients_per_transaction),
                .value = "100",
                .min = 1,
                .max = 1000,
                .brief = "The most recipients named in one transaction to another server",
                .text = "Every server takes 100 (RFC 5321 section 4.5.3.1.8).",
                .example = "50",
        },
        {
                .name = "queue.notices_in_japanese",
                .type = OPTION_BOOL,
                .change = OPTION_RELOAD,
                .offset = FIELD(queue.notices_in_japanese),
                .value = "no",
                .brief = "Whether notifications to the sender are written in Japanese",
                .text = "The words for people only: the report for programs is the same.",
                .example = "yes",
        },
        {
                .name = "trace_days",
                .type = OPTION_COUNT,
                .change = OPTION_RESTART,
                .offset = FIELD(trace_days),
                .value = "30",
                .min = 1,
                .max = 36500,
                .zero_is_none = true,
                .brief = "How many days the record of what became of each message is kept",
                .text = "It is what hayauma why reads. 0 keeps it for ever, within trace_size.",
                .example = "90",
        },
        {
                .name = "trace_size",
                .type = OPTION_SIZE,
                .change = OPTION_RESTART,
                .offset = FIELD(trace_size),
                .value = "0",
                .min = 1024 * 1024,
                .max = UINT64_C(1) << 50,
                .zero_is_none = true,
                .default_text = "0: two hundredths of the disk",
                .brief = "How much disk these records may take",
                .text = "Past it the oldest day goes. 0 stands for two hundredths of the disk that "
                        "state_dir is on.",
                .example = "10G",
        },
        {
                .name = "expunge_keep",
                .type = OPTION_DURATION,
                .change = OPTION_RELOAD,
                .offset = FIELD(expunge_keep_ms),
                .value = "7d",
                .min = 0,
                .max = UINT64_C(3650) * 24 * 3600 * 1000,
                .brief = "How long deleted messages can be brought back",
                .text = "By hayauma mailbox undelete: what users expunge, delete over POP3, or "
                        "delete with a whole mailbox. It does not count for their quota. When the "
                        "disk is full, it goes at once. 0 keeps none.",
                .example = "30d",
        },
        {
                .name = "expunge_keep_size",
                .type = OPTION_SIZE,
                .change = OPTION_RELOAD,
                .offset = FIELD(expunge_keep_size),
                .value = "1G",
                .min = 1024,
                .max = UINT64_C(1) << 50,
                .zero_is_none = true,
                .brief = "How many octets of deleted messages are kept for one account",
                .text = "Past it the oldest go before their time. 0 sets no bound.",
                .example = "100M",
        },
        {
                .name = "pop_before_smtp",
                .type = OPTION_DURATION,
                .change = OPTION_RELOAD,
                .offset = FIELD(pop_before_smtp_ms),
                .value = "0s",
                .min = 0,
                .max = 24 * 3600 * 1000,
                .brief = "How long an address may relay after somebody there logged in to read",
                .text = "For mail programs that cannot log in when they send. A login over POP3 or "
                        "IMAP opens relaying for that address, rounded up to minutes, in all "
                        "edges. Whoever shares the address may relay, too: better use submission. "
                        "0 is off.",
                .example = "10m",
        },
        {
                .name = "drain",
                .type = OPTION_DURATION,
                .change = OPTION_RELOAD,
                .offset = FIELD(drain_ms),
                .value = "10s",
                .min = 0,
                .max = 3600 * 1000,
                .brief = "How long sessions may finish when the server is stopped",
                .text = "Idle ones are answered 421 at once.",
                .example = "30s",
        },
        {
                .name = "log_level",
                .type = OPTION_LOG_LEVEL,
                .change = OPTION_RELOAD,
                .offset = FIELD(log_level),
                .value = "info",
                .brief = "How much is logged",
                .text = "One of error, warning, notice, info and debug; each includes those in "
                        "front "
                        "of it.",
                .example = "\"notice\"",
        },
};
const size_t option_count = sizeof options / sizeof options[0];

bool option_is_list(const struct option *o)
{
        return o->type >= OPTION_DOMAINS;
}

/* Asked for with each message, by the same few words of the program, while the table is
 * long: where each stood is remembered by where it lies, which is a hint alone. */
const struct option *option_find(struct span name)
{
        static _Thread_local const struct option *remembered[16];
        const struct option **last = &remembered[(uintptr_t) name.p / 8 % 16];

        if (*last && span_equal(span_from_string((*last)->name), name))
                return *last;
        for (size_t i = 0; i < option_count && name.len; i++) {
                if (options[i].name[0] != name.p[0] ||
                    !span_equal(span_from_string(options[i].name), name))
                        continue;
                *last = &options[i];
                return *last;
        }
        return NULL;
}

/* Levenshtein's distance with one row of memory; words are short. */
static unsigned distance(struct span a, struct span b)
{
        enum { WORD_MAX = 64 };
        unsigned row[WORD_MAX + 1];

        if (a.len > WORD_MAX || b.len > WORD_MAX)
                return WORD_MAX;
        for (size_t j = 0; j <= b.len; j++)
                row[j] = (unsigned) j;
        for (size_t i = 1; i <= a.len; i++) {
                unsigned diagonal = row[0];

                row[0] = (unsigned) i;
                for (size_t j = 1; j <= b.len; j++) {
                        const unsigned above = row[j];
                        const bool same = ascii_lower(a.p[i - 1]) == ascii_lower(b.p[j - 1]);
                        unsigned best = diagonal + !same;

                        if (above + 1 < best)
                                best = above + 1;
                        if (row[j - 1] + 1 < best)
                                best = row[j - 1] + 1;
                        row[j] = best;
                        diagonal = above;
                }
        }
        return row[b.len];
}

static void consider(const char *known, const char *candidate, struct span name, unsigned *best,
                     const char **ret_best)
{
        const unsigned d = distance(span_from_string(candidate), name);

        if (d < *best) {
                *best = d;
                *ret_best = known;
        }
}

const char *option_suggest(struct span name)
{
        const struct span last = span_skip(name, span_find_last(name, '.') + 1);
        const char *found = NULL;
        /* A third of the letters may differ; more is another word. */
        unsigned best = (unsigned) last.len / 3 + 1;

        for (size_t i = 0; i < option_count; i++)
                consider(options[i].name, options[i].name, name, &best, &found);
        for (size_t i = 0; i < option_section_count; i++)
                consider(option_sections[i].name, option_sections[i].name, name, &best, &found);
        if (found)
                return found;
        /* The right word in the wrong section, or with its section left out. */
        for (size_t i = 0; i < option_count; i++) {
                const char *dot = strchr(options[i].name, '.');

                consider(options[i].name, dot ? dot + 1 : options[i].name, last, &best, &found);
        }
        return found;
}
