/* Configurations, good and bad, with the exact messages; what is encoded comes
 * back equal; and the option table agrees with struct config and with what is
 * written about it. */
#include "config/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/test.h"
#include "config/options.h"

#define BASE "hostname = \"mx1.example.jp\"\ndomains = { \"example.jp\" }\n"

static const struct {
        const char *name, *text;
        const char *error; /* NULL: it is good */
} cases[] = {
        { "the least", BASE, NULL },
        { "comments of each kind", "# a\n// b\n/* c\n d */" BASE, NULL },
        { "comments within a list",
          "hostname=a.jp\ndomains={\"a.jp\", # one\n\"b.jp\" /* two */ , \"c.jp\" // "
          "three\n}", NULL },
        { "a comment sign within quotes", BASE "user = \"x\" smart_host = \"a#b\"", NULL },
        { "apostrophes", "hostname = 'mx1.example.jp' domains = { 'example.jp' }", NULL },
        { "CRLF lines", "hostname = \"mx1.example.jp\"\r\ndomains = { \"example.jp\" }\r\n", NULL },
        { "a list of one without braces", "hostname = a.jp\ndomains = \"a.jp\"", NULL },
        { "sections", BASE "limits { recipients = 5 message_size = 0 }\nqueue { lifetime = 1h30m "
          "warn_after = 0 }", NULL },
        { "a section twice", BASE "limits { recipients = 5 }\nlimits { errors = 3 }", NULL },
        { "every form of listen", BASE
          "listen = { \"smtp://*:25\", \"smtp://[::1]:26\", \"smtp://127.0.0.1\", "
          "\"lmtp://unix:/run/lmtp\", \"submission://[::]:8080\" }", NULL },
        { "implicit TLS with a certificate", BASE "listen = { \"submissions://*\" }\n"
          "tls { certificate = \"/c.pem\" key = \"/k.pem\" }", NULL },
        { "empty lists", BASE "relay_networks = {}\nrelay_domains = { }", NULL },
        { "gateway", "hostname=a.jp role=gateway relay_domains={\"example.jp\",\".example.jp\"}",
          NULL },
        { "relay", "hostname=a.jp role=relay smart_host=\"[gw.a.jp]:25\"", NULL },
        { "backup-mx", "hostname=a.jp role=backup-mx relay_domains={example.jp}", NULL },
        { "fallback", "hostname=a.jp role=fallback "
          "relay_networks={\"192.0.2.0/24\",\"::1\"}", NULL },
        { "localhost", "hostname = localhost\ndomains = { localhost }", NULL },
        { "escapes", BASE "smart_host = \"a\\\\b\"", NULL },

        /* syntax */
        { "nothing", "", "t.conf: domains is empty, so this mailbox server would take mail for "
          "nobody; write domains = { \"example.jp\" }\n"
          "t.conf: hostname is not set; write hostname = \"mx1.example.jp\" with the full name of "
          "this machine\n" },
        { "unknown option", BASE "hostnam = \"x\"\n",
          "t.conf:3: there is no option \"hostnam\"; did you mean \"hostname\"?\n" },
        { "unknown option like nothing", BASE "xyzzy = 5\n",
          "t.conf:3: there is no option \"xyzzy\"; see hayauma.conf(5) for what there is\n" },
        { "unknown list", BASE "domain = { \"a.jp\", \"b.jp\" }\n",
          "t.conf:3: there is no option \"domain\"; did you mean \"domains\"?\n" },
        { "unknown section", BASE "limit { recipients = 1\n foo = 2 }\n",
          "t.conf:3: there is no section \"limit\"; did you mean \"limits\"?\n" },
        { "option without its section", BASE "message_size = 5M\n",
          "t.conf:3: there is no option \"message_size\"; did you mean "
          "\"limits.message_size\"?\n" },
        { "option in the wrong section", BASE "queue { message_size = 5M }\n",
          "t.conf:3: there is no option \"queue.message_size\"; did you mean "
          "\"limits.message_size\"?\n" },
        { "all errors at once", "hostname = \"mx\"\nfoo = 1\nrole = \"x\"\nbarr = { 1 }\n"
          "limits { recipients = 0 }\n",
          "t.conf:1: hostname: \"mx\" is not a full name; write it with its domain, like "
          "\"mx.example.jp\"\n"
          "t.conf:2: there is no option \"foo\"; see hayauma.conf(5) for what there is\n"
          "t.conf:3: role: \"x\" is none of gateway, relay, mailbox, backup-mx, fallback\n"
          "t.conf:4: there is no option \"barr\"; see hayauma.conf(5) for what there is\n"
          "t.conf:5: limits.recipients: 0 is out of range; use 1 to 1000\n" },
        { "set twice", BASE "hostname = \"b.jp\"\n",
          "t.conf:3: hostname is set a second time; it was set in line 1, remove one\n" },
        { "list set twice", BASE "\ndomains = { \"b.jp\" }\n",
          "t.conf:4: domains is set a second time; it was set in line 2, remove one\n" },
        { "set twice in two sections", BASE "limits { errors = 5 }\nlimits { errors = 6 }\n",
          "t.conf:4: limits.errors is set a second time; it was set in line 3, remove one\n" },
        { "quote not closed", BASE "user = \"x\nrole = \"mailbox\"\n",
          "t.conf:3: a quote begins here and does not end on this line; close it\n" },
        { "quote not closed at the end", BASE "user = \"x",
          "t.conf:3: a quote begins here and does not end on this line; close it\n" },
        { "comment not closed", BASE "/* x\n\n",
          "t.conf:3: a comment begins here and does not end; close it with */\n" },
        { "a star ends no comment it began", BASE "/*/ x\n",
          "t.conf:3: a comment begins here and does not end; close it with */\n" },
        { "section not closed", BASE "limits {\n errors = 5\n",
          "t.conf:3: a brace is opened here and never closed; add a }\n" },
        { "section closed twice", BASE "limits { errors = 5 } }\n",
          "t.conf:3: unexpected closing brace; write name = value, name = { value, value } or name "
          "{ name = value }\n" },
        { "environment", BASE "user = \"${USER}\"\n",
          "t.conf:3: environment variables are not looked up; write the value itself, or '...' "
          "around a text that has \"${\" in it\n" },
        { "environment without quotes", BASE "user = ${USER}\n",
          "t.conf:3: \"$\" means nothing here; if it belongs to a value, put the value in "
          "quotes\n" },
        { "include", BASE "include(\"/etc/passwd\")\n",
          "t.conf:3: \"(\" means nothing here; if it belongs to a value, put the value in quotes\n"
          "t.conf:3: \")\" means nothing here; if it belongs to a value, put the value in "
          "quotes\n" },
        { "appending", BASE "relay_networks += { \"10.0.0.0/8\" }\n",
          "t.conf:3: \"+\" means nothing here; if it belongs to a value, put the value in "
          "quotes\n" },
        { "path through sections", BASE "limits|errors = 5\n",
          "t.conf:3: \"|\" means nothing here; if it belongs to a value, put the value in "
          "quotes\n" },
        { "escapes unknown", BASE "user = \"a\\x00b\"\n",
          "t.conf:3: write \\\\ for a backslash within quotes; only \\\\ and \\\" are known\n" },
        { "control character", BASE "user = \"a\001b\"\n",
          "t.conf:3: there is a control character (octet 1); take it out\n" },
        { "value missing", BASE "user =\n",
          "t.conf:4: premature end of file; write name = value, name = { value, value } or name { "
          "name = value }\n" },
        { "braces around one value", BASE "role = { \"mailbox\" }\n",
          "t.conf:3: unexpected token '{'; write name = value, name = { value, value } or name { "
          "name = value }\n" },

        /* values */
        { "number", BASE "limits { errors = many }",
          "t.conf:3: limits.errors: \"many\" is not a number\n" },
        { "number too large", BASE "dns { port = 65536 }",
          "t.conf:3: dns.port: 65536 is out of range; use 1 to 65535\n" },
        { "number beyond all", BASE "dns { port = 99999999999999999999999 }",
          "t.conf:3: dns.port: 99999999999999999999999 is out of range; use 1 to 65535\n" },
        { "size", BASE "limits { message_size = 10X }",
          "t.conf:3: limits.message_size: \"10X\" is not a size like 64K, 10M or 2G\n" },
        { "size too small", BASE "limits { message_size = 10 }",
          "t.conf:3: limits.message_size: 10 is out of range; use 64K to 1T, or 0\n" },
        { "time", BASE "queue { lifetime = soon }",
          "t.conf:3: queue.lifetime: \"soon\" is not a time like 30s, 5m, 4h or 5d\n" },
        { "yes or no", BASE "users { auto_create = maybe }",
          "t.conf:3: users.auto_create: \"maybe\" is neither yes nor no\n" },
        { "relative path", BASE "state_dir = \"var\"",
          "t.conf:3: state_dir: \"var\" is not a whole path; begin it with /\n" },
        { "domain with a blank", "hostname=a.jp\ndomains={\"a b\"}",
          "t.conf:2: domains: \"a b\" is no domain name: use letters, digits and hyphens\n" },
        { "domain in UTF-8", "hostname=a.jp\ndomains={\"日本.jp\"}",
          "t.conf:2: domains: \"日本.jp\" must be written in its ASCII form, which begins with "
          "xn--\n" },
        { "domain with a dot at its end", "hostname=a.jp\ndomains={\"a.jp.\"}",
          "t.conf:2: domains: \"a.jp.\" is no domain name: between dots there must be 1 to 63 "
          "octets, and no dot at the end\n" },
        { "subdomains are not local", "hostname=a.jp\ndomains={\".a.jp\"}",
          "t.conf:2: domains: \".a.jp\" is no domain name: between dots there must be 1 to 63 "
          "octets, and no dot at the end\n" },
        { "host bits", BASE "relay_networks = { \"192.0.2.7/24\" }",
          "t.conf:3: relay_networks: \"192.0.2.7/24\" has bits set behind /24; write "
          "\"192.0.2.0/24\"\n" },
        { "host bits of IPv6", BASE "relay_networks = { \"2001:db8::1/33\" }",
          "t.conf:3: relay_networks: \"2001:db8::1/33\" has bits set behind /33; write "
          "\"2001:db8::/33\"\n" },
        { "prefix too long", BASE "relay_networks = { \"192.0.2.0/33\" }",
          "t.conf:3: relay_networks: \"192.0.2.0/33\": the number behind / must be 0 to 32\n" },
        { "network by name", BASE "relay_networks = { \"localnet\" }",
          "t.conf:3: relay_networks: \"localnet\" is no network; write it like 192.0.2.0/24 or "
          "2001:db8::/32\n" },
        { "listen without protocol", BASE "listen = { \"*:25\" }",
          "t.conf:3: listen: \"*:25\" does not begin with a protocol; write it like "
          "\"smtp://*:25\", with smtp, submission, submissions, lmtp, imap, imaps, pop3, pop3s or "
          "http\n" },
        { "listen on a name", BASE "listen = { \"smtp://mx1:25\" }",
          "t.conf:3: listen: \"smtp://mx1:25\": the host must be *, an IPv4 address, or an IPv6 "
          "address in brackets\n" },
        { "listen on IPv6 without brackets", BASE "listen = { \"smtp://::1:25\" }",
          "t.conf:3: listen: \"smtp://::1:25\": the host must be *, an IPv4 address, or an IPv6 "
          "address in brackets\n" },
        { "listen without a port that is usual", BASE "listen = { \"http://*\" }",
          "t.conf:3: listen: \"http://*\": write a port of 1 to 65535 behind the host, like "
          "\":8080\"\n" },
        { "listen on port 0", BASE "listen = { \"smtp://*:0\" }",
          "t.conf:3: listen: \"smtp://*:0\": write a port of 1 to 65535 behind the host, like "
          "\":8080\"\n" },
        { "LMTP on the port of SMTP", BASE "listen = { \"lmtp://*:25\" }",
          "t.conf:3: listen: \"lmtp://*:25\": LMTP has no place on port 25; 24 is usual\n" },
        { "listen on a relative path", BASE "listen = { \"lmtp://unix:lmtp\" }",
          "t.conf:3: listen: \"lmtp://unix:lmtp\": behind unix: there must be a whole path of at "
          "most 107 octets\n" },
        { "name server by name", BASE "dns { servers = { \"ns1.example.jp\" } }",
          "t.conf:3: dns.servers: \"ns1.example.jp\" is no name server; write its address, like "
          "\"192.0.2.53\" or \"127.0.0.1@5353\"\n" },
        { "next hop with a blank", BASE "smart_host = \"a b\"",
          "t.conf:3: smart_host: \"a b\" is no next hop; write \"host\", \"[host]\" (no MX "
          "look-up) or \"host:port\"\n" },
        { "next hop empty", BASE "smart_host = \"\"",
          "t.conf:3: smart_host: a next hop has 1 to 512 octets; write \"host\", \"[host]\" or "
          "\"host:port\", or leave the option out\n" },
        { "log level", BASE "log_level = loud",
          "t.conf:3: log_level: \"loud\" is none of error, warning, notice, info, debug\n" },
        { "user", BASE "user = \"Mail\"",
          "t.conf:3: user: \"Mail\" is no account name: use at most 20 small letters, digits and "
          "hyphens, a letter first\n" },

        /* one option against another */
        { "relay without hostname", "role = \"relay\"\nsmart_host = \"[a.jp]\"",
          "t.conf: hostname is not set; write hostname = \"mx1.example.jp\" with the full name of "
          "this machine\n" },
        { "mailbox without domains", "hostname = \"a.jp\"\nrole = \"mailbox\"\n",
          "t.conf: domains is empty, so this mailbox server would take mail for nobody; write "
          "domains = { \"example.jp\" }\n" },
        { "gateway to nowhere", "hostname = \"a.jp\"\nrole = \"gateway\"\n",
          "t.conf: role gateway has nowhere to pass mail on to; set relay_domains, smart_host or "
          "local_relay\n" },
        { "backup of nothing", "hostname = \"a.jp\"\nrole = \"backup-mx\"\n",
          "t.conf: relay_domains is empty; name the domains this machine is the backup MX of\n" },
        { "fallback for nobody", "hostname=a.jp\nrole=fallback\nrelay_networks={}",
          "t.conf: relay_networks is empty; name the servers whose mail this fallback takes\n" },
        { "implicit TLS without a certificate", BASE "listen = { \"smtp://*\", "
          "\"submissions://*\" }",
          "t.conf:3: listen: \"submissions://*\" begins with TLS; set tls.certificate, or take "
          "it out\n" },
        { "a protocol that is not served", BASE "listen = { \"smtp://*\", \"http://*:8080\" }",
          "t.conf:3: listen: \"http://*:8080\": this version does not serve http; take it out\n" },
        { "no listener", BASE "listen = {}",
          "t.conf: listen is empty, so no mail could come in; write listen = { \"smtp://*:25\" "
          "}\n" },
        { "listener twice", BASE "listen = { \"smtp://*:25\", \"submission://*:25\" }",
          "t.conf:3: listen: \"smtp://*:25\" and \"submission://*:25\" are the same place; take "
          "one "
          "out\n" },
        { "key alone", BASE "tls { key = \"/k\" }",
          "t.conf:3: tls.key is set without tls.certificate; set both\n" },
        { "domain of both kinds", BASE "relay_domains = { \"EXAMPLE.jp\" }",
          "t.conf:3: relay_domains: \"example.jp\" is in domains too; a domain is either delivered "
          "here or passed on\n" },
        { "domain twice", "hostname=a.jp\ndomains = { \"b.jp\", \"a.jp\", \"B.jp\" }",
          "t.conf:2: domains: \"b.jp\" is named twice; remove one\n" },
        { "waits the wrong way round", BASE "queue { retry_min = 2h retry_max = 1h }",
          "t.conf:3: queue.retry_min is more than queue.retry_max; make it less\n" },
        { "warning after the end", BASE "queue { lifetime = 1h }",
          "t.conf: queue.warn_after is not before the end of queue.lifetime; make it less, or 0 "
          "for "
          "no warning\n" },
        { "run_dir too long", BASE "run_dir = \"/"
          "123456789012345678901234567890123456789012345678901234567890"
          "123456789012345678901234567890"
          "\"", "t.conf:3: run_dir: the path may have at most 90 octets; choose a shorter one\n" },
        { "masquerade as nothing", BASE "masquerade { domains = { \"a.jp\" } envelope = yes }",
          "t.conf:3: masquerade.domains is set without masquerade.as, so there is nothing to show "
          "instead; set both\n"
          "t.conf:3: masquerade.envelope is set without masquerade.as or a genericstable, so it "
          "changes nothing; set one of them\n" },
        { "exposed user with domain", BASE "masquerade { exposed_users = { \"root@a.jp\" } }",
          "t.conf:3: masquerade.exposed_users: \"root@a.jp\" is no local name; write it without a "
          "domain, like \"root\"\n" },
};

static void check_encoding(const struct config *c, const char *name)
{
        struct buffer first = BUFFER_INIT(1 << 20), second = BUFFER_INIT(1 << 20);
        struct config *back = NULL;

        CHECK(config_encode(c, &first) == 0, name);
        CHECK(config_decode(buffer_span(&first), &back) == 0, name);
        CHECK(config_encode(back, &second) == 0, name);
        CHECK(span_equal(buffer_span(&first), buffer_span(&second)), name);
        for (size_t i = 0; i < option_count; i++)
                CHECK(strcmp(config_origin(c, options[i].name),
                             config_origin(back, options[i].name)) == 0, name);
        config_free(back);
        buffer_done(&first);
        buffer_done(&second);
}

TEST(good_and_bad_files)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct buffer error = BUFFER_INIT(65536);
                struct config *c = NULL;
                const int r = config_parse(span_from_string(cases[i].text), "t.conf", &c, &error);

                if (!span_equal(buffer_span(&error), span_from_string(cases[i].error)))
                        print_error("%s: %.*s", cases[i].name, (int) error.len,
                                    buffer_span(&error).p);
                CHECK(span_equal(buffer_span(&error), span_from_string(cases[i].error)),
                      cases[i].name);
                CHECK(r == (cases[i].error ? -EINVAL : 0), cases[i].name);
                if (c)
                        check_encoding(c, cases[i].name);
                config_free(c);
                buffer_done(&error);
        }
}

/* Cut anywhere, a file parses or is refused with a message, and leaves nothing
 * behind in libconfuse's lexer. */
TEST(cut_at_every_octet)
{
        static const char text[] = "hostname = \"mx1.example.jp\" # c\ndomains = { 'a.jp', b.jp }\n"
                                   "limits { errors = 5 /* x */ }\nrole = \"mailbox\"\n";

        for (size_t cut = 0; cut <= strlen(text); cut++) {
                struct buffer error = BUFFER_INIT(65536);
                struct config *c = NULL;
                const int r = config_parse(span_make(text, cut), "t.conf", &c, &error);

                assert_int_equal(r < 0, error.len > 0);
                assert_int_equal(r == 0, c != NULL);
                config_free(c);
                c = NULL;
                buffer_clear(&error);
                assert_int_equal(config_parse(span_from_string(BASE), "t.conf", &c, &error), 0);
                config_free(c);
                buffer_done(&error);
        }
}

TEST(encoded_and_cut_is_refused)
{
        struct buffer error = BUFFER_INIT(4096), b = BUFFER_INIT(1 << 20);
        struct config *c = NULL, *back = NULL;

        assert_int_equal(config_parse(span_from_string(BASE), "t.conf", &c, &error), 0);
        assert_int_equal(config_encode(c, &b), 0);
        for (size_t cut = 0; cut < b.len; cut++)
                assert_int_equal(config_decode(span_make(b.data, cut), &back), -EBADMSG);
        assert_int_equal(buffer_append(&b, "x", 1), 0);
        assert_int_equal(config_decode(buffer_span(&b), &back), -EBADMSG);
        assert_null(back);
        config_free(c);
        buffer_done(&b);
}

static struct config *parse(const char *text)
{
        struct buffer error = BUFFER_INIT(4096);
        struct config *c = NULL;

        assert_int_equal(config_parse(span_from_string(text), "t.conf", &c, &error), 0);
        return c;
}

TEST(values_defaults_and_origins)
{
        struct config *c = parse(BASE "role = backup-mx relay_domains = { \"b.jp\" }\n"
                                 "limits { message_size = 10M }\n"
                                 "listen = { \"lmtp://unix:/run/l\", \"smtp://[::1]:2525\" }\n"
                                 "state_dir = \"/srv/h\"");

        assert_int_equal(c->role, ROLE_BACKUP_MX);
        assert_int_equal(c->limits.message_size, 10 << 20);
        assert_int_equal(c->queue.lifetime_ms, 30ULL * 24 * 3600 * 1000);
        assert_int_equal(c->queue.warn_after_ms, 0);
        assert_int_equal(c->limits.recipients, 1000);
        assert_true(span_equal(c->users.file, SPAN_LITERAL("/srv/h/users")));
        assert_int_equal(c->listen.count, 2);
        assert_true(c->listen.items[0].is_unix);
        assert_int_equal(c->listen.items[0].protocol, LISTEN_LMTP);
        assert_true(span_equal(c->listen.items[0].host, SPAN_LITERAL("/run/l")));
        assert_true(span_equal(c->listen.items[1].host, SPAN_LITERAL("::1")));
        assert_true(span_equal(c->listen.items[1].text, SPAN_LITERAL("smtp://[::1]:2525")));
        assert_int_equal(c->listen.items[1].port, 2525);
        assert_in_range(c->processes.edge, 1, 8);
        assert_in_range(c->processes.relay, 1, 4);
        assert_string_equal(config_origin(c, "limits.message_size"), "t.conf:4");
        assert_string_equal(config_origin(c, "queue.lifetime"), "role backup-mx");
        assert_string_equal(config_origin(c, "limits.recipients"), "default");
        assert_null(config_origin(c, "nothing"));
        config_free(c);
}

TEST(implicit_tls_is_a_default_only_with_a_certificate)
{
        struct config *without = parse(BASE);
        struct config *with = parse(BASE "tls { certificate = \"/c\" }");

        assert_int_equal(without->listen.count, 5);
        assert_int_equal(with->listen.count, 8);
        config_free(without);
        config_free(with);
}

TEST(networks)
{
        static const struct {
                const char *address;
                bool is_in;
        } rows[] = {
                { "::ffff:192.0.2.0", true },    { "::ffff:192.0.2.255", true },
                { "::ffff:192.0.3.0", false },   { "::ffff:10.1.2.3", true },
                { "::ffff:10.1.2.4", false },    { "2001:db8:8000::", true },
                { "2001:db8:ffff::1", true },    { "2001:db8:7fff::", false },
                { "::192.0.2.0", false },
        };
        struct config *c = parse(BASE "relay_networks = { \"192.0.2.0/24\", \"10.1.2.3\", "
                                 "\"2001:db8:8000::/33\" }");

        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
                unsigned char address[16];

                assert_int_equal(inet_pton(AF_INET6, rows[i].address, address), 1);
                CHECK(config_networks_contain(&c->relay_networks, address) == rows[i].is_in,
                      rows[i].address);
        }
        config_free(c);
        c = parse(BASE "relay_networks = { \"::/0\" }");
        assert_true(config_networks_contain(&c->relay_networks, (unsigned char[16]) {1, 2, 3}));
        config_free(c);
        c = parse(BASE "relay_networks = {}");
        assert_false(config_networks_contain(&c->relay_networks, (unsigned char[16]) {1, 2, 3}));
        config_free(c);
}

TEST(effective_configuration_reads_back)
{
        struct config *c = parse(BASE "smart_host = \"a\\\\b\"\n");
        struct buffer b = BUFFER_INIT(65536);

        assert_int_equal(config_print_effective(c, &b), 0);
        assert_int_equal(buffer_append(&b, "", 1), 0);
        assert_non_null(strstr(b.data, "hostname = \"mx1.example.jp\"                     # "
          "t.conf:1\n"));
        assert_non_null(strstr(b.data, "smart_host = \"a\\\\b\" "));
        assert_non_null(strstr(b.data, "limits.command_timeout = 5m "));
        assert_non_null(strstr(b.data, "relay_domains = {} "));
        config_free(c);
        buffer_done(&b);
}

static void collect_names(void *arg, const char *name, const struct config_list *texts,
                          bool is_list, const char *origin)
{
        (void) texts;
        (void) is_list;
        assert_int_equal(buffer_printf(arg, "%s %s\n", name, origin), 0);
}

TEST(what_a_reload_does_not_change_is_named)
{
        struct config *running = parse(BASE "dns { servers = { \"192.0.2.1\" } }");
        struct config *next = parse(BASE "dns { servers = { \"192.0.2.2\" } }\n"
                                    "run_dir = \"/r\"\nqueue { lifetime = 6d }");
        struct buffer names = BUFFER_INIT(4096);

        assert_int_equal(config_visit_restart(running, running, collect_names, &names), 0);
        assert_int_equal(names.len, 0);
        assert_int_equal(config_visit_restart(running, next, collect_names, &names), 0);
        assert_true(span_equal(buffer_span(&names),
                               SPAN_LITERAL("run_dir t.conf:4\ndns.servers t.conf:3\n")));
        config_free(running);
        config_free(next);
        buffer_done(&names);
}

static int compare_rows(const void *a, const void *b)
{
        const struct option *const *left = a, *const *right = b;

        return (*left)->offset < (*right)->offset ? -1 : 1;
}

/* Sorted by offset, the fields of the rows lie end to end, but for padding. */
TEST(every_field_has_exactly_one_row)
{
        const struct option *rows[128];
        size_t at = 0;

        assert_in_range(option_count, 1, 128);
        for (size_t i = 0; i < option_count; i++)
                rows[i] = &options[i];
        qsort(rows, option_count, sizeof rows[0], compare_rows);
        for (size_t i = 0; i < option_count; i++) {
                CHECK(rows[i]->offset >= at, rows[i]->name);
                CHECK(rows[i]->offset - at < sizeof(void *), rows[i]->name);
                /* What is padding is less than what the next field is aligned to. */
                if (rows[i]->offset > at)
                        CHECK(at % sizeof(void *) != 0, rows[i]->name);
                at = rows[i]->offset + option_size(rows[i]->type);
        }
        assert_true(offsetof(struct config, private) - at < sizeof(void *));
}

TEST(every_option_is_documented)
{
        for (size_t i = 0; i < option_count; i++) {
                const struct option *o = &options[i];
                char file[512];
                const char *dot = strchr(o->name, '.');
                struct buffer error = BUFFER_INIT(4096);
                struct config *c = NULL;

                CHECK(o->brief && strlen(o->brief) > 10 && strlen(o->brief) < 100, o->name);
                CHECK(o->brief[strlen(o->brief) - 1] != '.', o->name);
                CHECK(o->text && o->text[strlen(o->text) - 1] == '.', o->name);
                CHECK(o->example, o->name);
                CHECK(option_find(span_from_string(o->name)) == o, o->name);
                if (dot)
                        snprintf(file, sizeof file, "%.*s { %s = %s }", (int) (dot - o->name),
                                 o->name, dot + 1, o->example);
                else
                        snprintf(file, sizeof file, "%s = %s", o->name, o->example);
                /* An example may lack what other options it needs, but is well formed. */
                config_parse(span_from_string(file), "example", &c, &error);
                CHECK(!memmem(buffer_span(&error).p ? buffer_span(&error).p : "", error.len,
                              "example:1: there is no", 22), o->name);
                snprintf(file, sizeof file, "example:1: %s: \"", o->name);
                CHECK(!memmem(buffer_span(&error).p ? buffer_span(&error).p : "", error.len, file,
                              strlen(file)), o->name);
                config_free(c);
                buffer_done(&error);
        }
}

TEST_MAIN()
