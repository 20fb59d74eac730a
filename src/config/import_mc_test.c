/* The four .mc files of the tutorial, as they were printed, and what becomes of
 * them; each result is a configuration that can be used. */
#include "config/import_mc.h"

#include "base/test.h"
#include "config/config.h"

static const char gateway[] =
        "divert(0)dnl\n"
        "VERSIONID(`$Id: config.mc,v 1.1 2001/12/4 13:48:05 ando Exp $')\n"
        "OSTYPE(bsd4.4)dnl\nDOMAIN(generic)dnl\nFEATURE(`nocanonify')dnl\n"
        "FEATURE(`mailertable')dnl\nFEATURE(`access_db')dnl\nFEATURE(`blacklist_recipients')dnl\n"
        "FEATURE(`dnsbl')dnl \nMAILER(local)dnl\nMAILER(smtp)dnl\n"
        "define(`confDOMAIN_NAME',`$w.$m')dnl\n";
static const char relay[] =
        "divert(0)dnl\n"
        "VERSIONID(`$Id: config.mc,v 1.1 2000/12/17 22:48:05 ando Exp $')\n"
        "OSTYPE(linux)dnl\nDOMAIN(generic)dnl\nFEATURE(`mailertable')dnl\nMAILER(local)dnl\n"
        "MAILER(smtp)dnl\n"
        "define(`SMART_HOST\xe2\x80\x99,`gateway.example.gr.jp\xe2\x80\x99)dnl\n";
static const char mailbox[] =
        "divert(0)dnl\n"
        "VERSIONID(`$Id: config.mc,v 1.1 2000/12/17 22:48:05 ando Exp $')\n"
        "OSTYPE(linux)dnl\nDOMAIN(generic)dnl\nFEATURE(`nocanonify')dnl\n"
        "MASQUERADE_AS(`example.gr.jp')dnl\nMASQUERADE_DOMAIN(`myhost.example.gr.jp')dnl\n"
        "FEATURE(`limited_masquerade')dnl\nFEATURE(`masquerade_envelope')\n"
        "FEATURE(always_add_domain)dnl \nMAILER(local)dnl\nMAILER(smtp)dnl\nDmexample.gr.jp\n"
        "define(`SMART_HOST\xe2\x80\x99,`dist-in.example.gr.jp\xe2\x80\x99)dnl\n";
static const char internal[] =
        "VERSIONID(`$Id: config.mc,v 1.5 2001/12/04 12:27:36 ando Exp ando $')\n"
        "OSTYPE(bsd4.4)dnl\nDOMAIN(generic)dnl\nMASQUERADE_AS(`example.gr.jp')dnl\n"
        "MASQUERADE_DOMAIN(`iw2001.example.gr.jp')dnl\nFEATURE(`limited_masquerade')dnl\n"
        "FEATURE(`masquerade_envelope')dnl\nEXPOSED_USER(`root postmaster')dnl\n"
        "FEATURE(`mailertable')dnl\nFEATURE(`nocanonify')dnl\nFEATURE(`access_db')dnl\n"
        "FEATURE(`blacklist_recipients')dnl\nFEATURE(`accept_unresolvable_domains')dnl\n"
        "MAILER(local)dnl\nMAILER(smtp)dnl\nDmexample.gr.jp\nDwiw2001\n"
        "define(`confDOMAIN_NAME',`$w.$m')dnl\n"
        "define(`SMART_HOST', `esmtp:[192.168.0.3]')dnl\n"
        "define(`confCF_VERSION', `IW2001')dnl\n";

#define MADE "# Made from t.mc by hayauma import mc.\n"
#define NO_HOST                                                                                    \
        "# The full name of this machine; the .mc does not say it.\n"                              \
        "hostname = \"change-me.invalid\"\n"
#define NO_NAME NO_HOST "domains = { \"change-me.invalid\" }\n"
#define NOT_TAKEN "\n# What was not taken over:\n"
#define NOCANONIFY "# FEATURE(nocanonify): addresses are never looked up to rewrite them\n"
#define UNRESOLVABLE(what) "accept_unresolvable_domains = " what "\n"
#define BLACKLIST                                                                                  \
        "# FEATURE(blacklist_recipients): the access table always speaks of recipients too\n"

static const struct {
        const char *name, *mc, *want;
} cases[] = {
        { "gateway", gateway,
          MADE NO_NAME "role = \"gateway\"\n" UNRESOLVABLE("no")
          "tables {\n        mailertable = \"/etc/mail/mailertable\"\n"
          "        access = \"/etc/mail/access\"\n        aliases = \"/etc/mail/aliases\"\n}\n"
          NOT_TAKEN NOCANONIFY BLACKLIST
          "# FEATURE(dnsbl): the list that it meant in 2001 is gone: name one\n" },
        { "relay", relay,
          MADE NO_NAME "role = \"relay\"\nsmart_host = \"gateway.example.gr.jp\"\n"
          UNRESOLVABLE("no")
          "tables {\n        mailertable = \"/etc/mail/mailertable\"\n"
          "        aliases = \"/etc/mail/aliases\"\n}\n" },
        { "mailbox", mailbox,
          MADE NO_NAME "role = \"mailbox\"\nsmart_host = \"dist-in.example.gr.jp\"\n"
          UNRESOLVABLE("no")
          "tables {\n        aliases = \"/etc/mail/aliases\"\n}\n"
          "masquerade {\n        as = \"example.gr.jp\"\n"
          "        domains = { \"myhost.example.gr.jp\" }\n        limited = yes\n"
          "        envelope = yes\n        always_add_domain = yes\n}\n"
          NOT_TAKEN NOCANONIFY },
        { "internal host", internal,
          MADE "hostname = \"iw2001.example.gr.jp\"\ndomains = { \"iw2001.example.gr.jp\" }\n"
          "role = \"mailbox\"\nsmart_host = \"esmtp:[192.168.0.3]\"\n"
          UNRESOLVABLE("yes")
          "tables {\n        mailertable = \"/etc/mail/mailertable\"\n"
          "        access = \"/etc/mail/access\"\n        aliases = \"/etc/mail/aliases\"\n}\n"
          "masquerade {\n        as = \"example.gr.jp\"\n"
          "        domains = { \"iw2001.example.gr.jp\" }\n"
          "        exposed_users = { \"root\", \"postmaster\" }\n        limited = yes\n"
          "        envelope = yes\n}\n"
          NOT_TAKEN NOCANONIFY BLACKLIST
          "# define(confCF_VERSION): has no counterpart\n" },
        { "more",
          "Dj" "mail.example.jp\n# a comment\n"
          "FEATURE(`enhdnsbl\xe2\x80\x99,`dnsbl.example.com\xe2\x80\x99,`\xe2\x80\x99,`t"
          "\xe2\x80\x99,`127.0.0.2.\xe2\x80\x99,`RBL BLOCK\xe2\x80\x99)\n"
          "FEATURE(`enhdnsbl', `b.example', `Mail from $&{client_addr} refused', `t', "
          "`127.0.0.2.', `127.0.0.4.')\nFEATURE(dnsbl, c.example, `see $x')\n"
          "FEATURE(`mailertable\xe2\x80\x98, `hash -o /etc/m/mailertable.db')\n"
          "define(`confFALLBACK_MX',`fb.example.gr.jp')dnl define(`x',`y')\n"
          "define(`confMAX_MESSAGE_SIZE',`500000')dnl\n"
          "DAEMON_OPTIONS(`Port=smtp,Addr=127.0.0.1, Name=MTA')\n"
          "DAEMON_OPTIONS(`Family=inet6, Port=587, Name=MSA')\n"
          "RELAY_DOMAIN(`a.example b.example')\nMAILER(`uucp')\nLOCAL_NET_CONFIG(x\n",
          MADE "hostname = \"mail.example.jp\"\ndomains = { \"mail.example.jp\" }\n"
          "role = \"gateway\"\nrelay_domains = { \"a.example\", \"b.example\" }\n"
          "listen = { \"smtp://127.0.0.1:25\", \"submission://[::]:587\" }\n"
          "fallback_mx = \"fb.example.gr.jp\"\n" UNRESOLVABLE("no")
          "dnsbl \"dnsbl.example.com\" {\n        answers = { \"127.0.0.2.\" }\n"
          "        on_outage = \"tempfail\"\n}\n"
          "dnsbl \"b.example\" {\n        answers = { \"127.0.0.2.\", \"127.0.0.4.\" }\n"
          "        message = \"Mail from %a refused\"\n        on_outage = \"tempfail\"\n}\n"
          "dnsbl \"c.example\" {\n}\n"
          "tables {\n        mailertable = \"/etc/m/mailertable\"\n"
          "        aliases = \"/etc/mail/aliases\"\n}\n"
          "limits {\n        message_size = \"500000\"\n}\n"
          NOT_TAKEN "# FEATURE(enhdnsbl): one of the answers is no address: is it the "
          "message?\n"
          "# FEATURE(dnsbl): the message could not be understood\n"
          "# MAILER(uucp): has no counterpart\n# LOCAL_NET_CONFIG(): the call never ends\n" },
        { "what m4 throws away, quotes in quotes, rules",
          "divert(-1)\nFEATURE(`x')\nCwlost.example\ndivert(0)dnl\n"
          "FEATURE(`dnsbl', `d.example', `\"450 Mail from \" $`'&{client_addr} \" refused\"')\n"
          "define(`ALIAS_FILE', ``/etc/a'')\ndefine(`confCACERT', `DIR/ca.pem')\n"
          "LOCAL_RULE_0\nR$* $=O $* < @ $D . >\t$@ 1\n\tgoes on\nR$+\t$@ 2\nCwa.example\n"
          "LOCAL_CONFIG\n# a comment\nMAILER(local)\nFEATURE(`nullclient', `hub.example')\n",
          MADE NO_HOST "role = \"mailbox\"\ndomains = { \"a.example\" }\n"
          "smart_host = \"hub.example\"\nlocal_relay = \"hub.example\"\n" UNRESOLVABLE("no")
          "dnsbl \"d.example\" {\n        message = \"Mail from %a refused\"\n}\n"
          "tables {\n        aliases = \"/etc/a\"\n}\n" NOT_TAKEN
          "# FEATURE(dnsbl): who is listed is refused for good, with 550\n"
          "# define(confCACERT): is no path: what macros are in it was not looked up\n"
          "# LOCAL_RULE_0: 2 lines of sendmail.cf have no counterpart\n"
          "# FEATURE(nullclient): all mail goes to the smart host, also for local users; see "
          "masquerade.as\n" },
        { "nothing", "", MADE NO_NAME "role = \"mailbox\"\n" UNRESOLVABLE("no")
          "tables {\n        aliases = \"/etc/mail/aliases\"\n}\n" },
        { "a value that would end its string",
          "define(`SMART_HOST',`a\"\nrole = \"x')\nMASQUERADE_AS(`b\\\"')\n",
          MADE NO_NAME "role = \"mailbox\"\n" UNRESOLVABLE("no")
          "tables {\n        aliases = \"/etc/mail/aliases\"\n}\n" NOT_TAKEN
          "# define(SMART_HOST): the value could not be understood\n"
          "# MASQUERADE_AS(b\\\"): the value could not be understood\n" },
};

TEST(mc_files_become_configurations)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                struct buffer out = BUFFER_INIT(1 << 20), error = BUFFER_INIT(1 << 16);
                struct config *c = NULL;

                CHECK(import_mc(span_from_string(cases[i].mc), SPAN_LITERAL("t.mc"), &out) == 0,
                      cases[i].name);
                if (!span_equal(buffer_span(&out), span_from_string(cases[i].want)))
                        print_error("got:\n%.*s\n", (int) out.len, buffer_span(&out).p);
                CHECK(span_equal(buffer_span(&out), span_from_string(cases[i].want)),
                      cases[i].name);
                if (config_parse(buffer_span(&out), "made", &c, &error) < 0)
                        print_error("%.*s\n", (int) error.len, buffer_span(&error).p);
                CHECK(error.len == 0, cases[i].name);
                config_free(c);
                buffer_done(&out);
                buffer_done(&error);
        }
}

TEST(cut_files)
{
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (size_t cut = 0; cut <= strlen(cases[i].mc); cut++) {
                        struct buffer out = BUFFER_INIT(1 << 20);

                        CHECK(import_mc(span_make(cases[i].mc, cut), SPAN_LITERAL("t.mc"), &out) ==
                                      0, cases[i].name);
                        buffer_done(&out);
                }
}

TEST_MAIN()
