/* Sessions against a role with one account in memory: what the client sends, and
 * all that the server says, fed whole and cut at every octet. */
#include "wire/imap/imap_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/test.h"

enum { MESSAGES_MAX = 20, MAILBOXES_MAX = 8, OUTPUT_MAX = 1 << 20 };

static const char plain[] =
        "Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n"
        "From: Fred Foobar <foobar@Blurdybloop.example>\r\n"
        "Subject: afternoon meeting\r\n"
        "To: mooch@owatagu.example\r\n"
        "Message-Id: <B27397-0100000@Blurdybloop.example>\r\n"
        "Content-Type: text/plain; charset=US-ASCII\r\n"
        "\r\n"
        "Hello Joe, do you think we can meet?\r\n";

static const char mixed[] =
        "From: =?ISO-2022-JP?B?GyRCOzNFRBsoQg==?= <yamada@example.jp>\r\n"
        "Subject: =?ISO-2022-JP?B?GyRCMnE1RBsoQg==?=\r\n"
        "Date: Tue, 8 Feb 1994 10:00:00 +0900\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: multipart/mixed; boundary=b\r\n"
        "\r\n"
        "--b\r\n"
        "Content-Type: text/plain; charset=ISO-2022-JP\r\n"
        "\r\n"
        "\x1B$B2q5D\x1B(B\r\n"
        "--b\r\n"
        "Content-Type: application/octet-stream; name=x\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        "\r\n"
        "AAECAw==\r\n"
        "--b--\r\n";

struct role {
        struct imap_server *s;
        struct imap_message messages[MESSAGES_MAX];
        const char *bodies[MESSAGES_MAX];
        size_t count;
        uint64_t modseq;
        uint32_t uid_next;
        struct imap_view *view;
        struct buffer log, output, appended;
        unsigned login_tries;
        bool is_closed;
        bool is_busy; /* others change the mailbox while octets are fetched */
};

static void renew(struct role *r)
{
        const struct span keyword = SPAN("$Work");
        const struct imap_view_head head = {
                .uid_validity = 7, .uid_next = r->uid_next, .highest_modseq = r->modseq,
                .mailbox_id = 5, .keywords = &keyword, .keyword_count = 1,
        };

        imap_view_unref(r->view);
        r->view = imap_view_new(&head, r->messages, r->count);
        assert_non_null(r->view);
        imap_server_set_view(r->s, r->view);
}

static void add_message(struct role *r, const char *body, uint32_t uid)
{
        struct imap_message *m = &r->messages[r->count];

        r->bodies[r->count++] = body;
        *m = (struct imap_message) {
                .uid = uid, .modseq = ++r->modseq, .size = strlen(body), .body_id = uid,
                .arrived_us = (uint64_t) (760000000 + uid * 86400) * 1000000,
        };
        r->uid_next = uid + 1;
}

static bool is_in(const struct imap_event *e, uint32_t uid)
{
        for (size_t i = 0; i < e->uid_count; i++)
                if (uid >= e->uids[i].first && uid <= e->uids[i].last)
                        return true;
        return false;
}

static void store(struct role *r, const struct imap_event *e)
{
        static struct imap_range modified[MESSAGES_MAX];
        struct imap_answer a = {.result = IMAP_OK, .uids = modified};

        for (size_t i = 0; i < r->count; i++) {
                struct imap_message *m = &r->messages[i];
                const uint32_t keywords = e->store.keyword_count > 0;

                if (!is_in(e, m->uid))
                        continue;
                if (e->store.has_unchanged_since && m->modseq > e->store.unchanged_since) {
                        modified[a.uid_count++] = (struct imap_range) {m->uid, m->uid};
                        continue;
                }
                m->modseq = ++r->modseq;
                if (e->store.mode == IMAP_STORE_ADD) {
                        m->flags |= e->store.flags;
                        m->keywords |= keywords;
                } else if (e->store.mode == IMAP_STORE_REMOVE) {
                        m->flags &= ~e->store.flags;
                        m->keywords &= ~keywords;
                } else {
                        m->flags = e->store.flags;
                        m->keywords = keywords;
                }
        }
        renew(r);
        imap_server_answer(r->s, &a);
}

static void expunge(struct role *r, const struct imap_event *e, bool only_deleted)
{
        size_t n = 0;

        for (size_t i = 0; i < r->count; i++) {
                const bool is_deleted = r->messages[i].flags & IMAP_FLAG_DELETED;

                if (is_in(e, r->messages[i].uid) && (is_deleted || !only_deleted))
                        continue;
                r->messages[n] = r->messages[i];
                r->bodies[n++] = r->bodies[i];
        }
        r->count = n;
        r->modseq++;
        renew(r);
}

static void copy(struct role *r, const struct imap_event *e)
{
        static const struct imap_range target = {100, 101};
        struct imap_answer a = {.result = IMAP_OK, .uid_validity = 9, .uids = &target,
                                .source_uids = e->uids, .source_uid_count = e->uid_count,
                                .uid_count = 1};

        if (!span_equal(e->mailbox, SPAN_LITERAL("Archive"))) {
                a = (struct imap_answer) {.result = IMAP_NO, .code = "TRYCREATE"};
                imap_server_answer(r->s, &a);
                return;
        }
        if (e->kind == IMAP_EVENT_MOVE)
                expunge(r, e, false);
        imap_server_answer(r->s, &a);
}

static void give_body(struct role *r, const struct imap_event *e)
{
        struct imap_answer a = {.result = IMAP_NO};

        for (size_t i = 0; i < r->count; i++) {
                if (r->messages[i].uid == e->message.uid) {
                        a.result = IMAP_OK;
                        a.octets = span_from_string(r->bodies[i]);
                }
        }
        imap_server_answer(r->s, &a);
}

static void give_mailboxes(struct role *r, const struct imap_event *e)
{
        static const struct imap_mailbox all[] = {
                { .name = SPAN("INBOX"), .is_subscribed = true, .message_count = 3, .uid_next = 4,
                  .uid_validity = 7, .mailbox_id = 5, .unseen_count = 2,
                  .deleted_count = 1, .deleted_size = 5000000000 },
                { .name = SPAN("Archive"), .special_use = IMAP_USE_ARCHIVE, .uid_validity = 9 },
                { .name = SPAN("Archive/1994"), .is_subscribed = true },
                { .name = SPAN("\xE6\x9D\xB1\xE4\xBA\xAC"), .is_subscribed = true },
                { .name = SPAN("Gone/Box"), .is_subscribed = true, .is_missing = true },
        };
        struct imap_answer a = {.result = IMAP_OK, .mailboxes = all, .mailbox_count = 5};

        if (e->kind == IMAP_EVENT_STATUS) {
                a.mailbox_count = 0;
                for (size_t i = 0; i < 4; i++) {
                        if (span_equal(all[i].name, e->mailbox)) {
                                a.mailboxes = &all[i];
                                a.mailbox_count = 1;
                        }
                }
        }
        if (e->wants_deleted_size)
                buffer_printf(&r->log, "sums of deleted messages\n");
        imap_server_answer(r->s, &a);
}

static void log_text(struct role *r, const char *what, struct span a, struct span b)
{
        buffer_printf(&r->log, "%s %.*s %.*s\n", what, (int) a.len, a.p ? a.p : "", (int) b.len,
                      b.p ? b.p : "");
}

static void answer(struct role *r, const struct imap_event *e)
{
        static const struct imap_range new_uid = {4, 4};
        struct imap_answer ok = {.result = IMAP_OK};

        switch (e->kind) {
        case IMAP_EVENT_LOGIN:
                log_text(r, "login", e->login_name, e->password);
                ok.result = span_equal(e->password, SPAN_LITERAL("secret")) ? IMAP_OK : IMAP_NO;
                break;
        case IMAP_EVENT_AUTHENTICATE:
                log_text(r, "authenticate", e->mechanism, e->octets);
                ok.result = e->octets.p ? IMAP_OK : IMAP_CONTINUE;
                ok.text = e->octets.p ? NULL : "";
                break;
        case IMAP_EVENT_AUTHENTICATE_LINE:
                log_text(r, "response", e->octets, (struct span) {NULL, 0});
                break;
        case IMAP_EVENT_SELECT:
                ok.view = r->view;
                if (!span_equal(e->mailbox, SPAN_LITERAL("INBOX")))
                        ok = (struct imap_answer) {.result = IMAP_NO, .code = "NONEXISTENT"};
                break;
        case IMAP_EVENT_STORE:
                store(r, e);
                return;
        case IMAP_EVENT_COPY:
        case IMAP_EVENT_MOVE:
                copy(r, e);
                return;
        case IMAP_EVENT_EXPUNGE:
                expunge(r, e, true);
                break;
        case IMAP_EVENT_BODY:
                if (r->is_busy)
                        renew(r);
                give_body(r, e);
                return;
        case IMAP_EVENT_LIST:
        case IMAP_EVENT_STATUS:
                give_mailboxes(r, e);
                return;
        case IMAP_EVENT_RENAME:
                log_text(r, "rename", e->mailbox, e->new_name);
                break;
        case IMAP_EVENT_APPEND:
                buffer_printf(&r->log, "append %.*s %u %llu\n", (int) e->mailbox.len, e->mailbox.p,
                              e->append.flags, (unsigned long long) e->append.size);
                if (span_equal(e->mailbox, SPAN_LITERAL("No")))
                        ok = (struct imap_answer) {.result = IMAP_NO, .code = "TRYCREATE"};
                break;
        case IMAP_EVENT_APPEND_END:
                ok.uid_validity = 7;
                ok.uids = &new_uid;
                ok.uid_count = 1;
                break;
        case IMAP_EVENT_QUOTA:
                ok.quota = (struct imap_quota) {.storage_used = 2000, .storage_limit = 10240};
                break;
        default:
                log_text(r, "other", e->mailbox, (struct span) {NULL, 0});
                break;
        }
        imap_server_answer(r->s, &ok);
}

static bool wants_answer(struct role *r, const struct imap_event *e)
{
        switch (e->kind) {
        case IMAP_EVENT_APPEND_OCTETS:
                buffer_append_span(&r->appended, e->octets);
                return false;
        case IMAP_EVENT_APPEND_ABORT:
                buffer_clear(&r->appended);
                buffer_append_string(&r->appended, "aborted");
                return false;
        case IMAP_EVENT_ID:
                log_text(r, "id", e->octets, (struct span) {NULL, 0});
                return false;
        case IMAP_EVENT_DESELECT:
        case IMAP_EVENT_IDLE:
        case IMAP_EVENT_IDLE_END:
        case IMAP_EVENT_AUTHENTICATE_CANCEL:
                return false;
        default:
                return true;
        }
}

static void drain(struct role *r)
{
        struct buffer *out = imap_server_output(r->s);

        if (out->len)
                assert_int_equal(buffer_append_span(&r->output, buffer_span(out)), 0);
        buffer_clear(out);
}

static size_t feed(struct role *r, struct span in)
{
        size_t used = 0;

        for (;;) {
                struct imap_event e;

                used += imap_server_feed(r->s, span_skip(in, used), &e);
                drain(r);
                if (e.kind == IMAP_EVENT_CLOSE)
                        r->is_closed = true;
                if (e.kind == IMAP_EVENT_NONE || e.kind == IMAP_EVENT_WAIT
                    || e.kind == IMAP_EVENT_CLOSE)
                        return used;
                if (e.kind != IMAP_EVENT_FLUSH && wants_answer(r, &e))
                        answer(r, &e);
        }
}

static void role_init(struct role *r)
{
        const struct imap_server_options o = {
                .offers = IMAP_OFFER_LOGIN | IMAP_OFFER_QUOTA, .hostname = SPAN("h"),
                .auth_mechanisms = SPAN("PLAIN"), .append_max = 50,
        };

        setenv("TZ", "UTC", 1);
        *r = (struct role) {.s = imap_server_new(&o), .log = BUFFER_INIT(OUTPUT_MAX),
                            .output = BUFFER_INIT(OUTPUT_MAX), .appended = BUFFER_INIT(OUTPUT_MAX),
                            .modseq = 10};
        add_message(r, plain, 1);
        add_message(r, mixed, 2);
        add_message(r, plain, 3);
        renew(r);
}

static void role_done(struct role *r)
{
        imap_server_free(r->s);
        imap_view_unref(r->view);
        buffer_done(&r->log);
        buffer_done(&r->output);
        buffer_done(&r->appended);
}

/* `in` behind a login, in two pieces; SELECT INBOX first unless `is_plain`. */
struct session {
        const char *name;
        bool before_login, before_select;
        const char *in, *out;
        const char *log; /* NULL: not looked at */
};

#define CAPABILITIES \
        "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UNSELECT UI" \
        "DPLUS MOVE CHILDREN SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED LIST-STA" \
        "TUS STATUS=SIZE ESEARCH SEARCHRES WITHIN CONDSTORE QRESYNC SORT SORT=DISP" \
        "LAY THREAD=ORDEREDSUBJECT THREAD=REFERENCES THREAD=REFS MULTIAPPEND BINARY" \
        " UTF8=ACCEPT OBJECTID SAVEDATE PREVIEW QUOTA QUOTA=" \
        "RES-STORAGE APPENDLIMIT=50"

static const struct session sessions[] = {
        { "login by name", true, false,
          "a LOGIN joe \"se\\\"x\"\r\n"
          "b LOGIN {3}\r\n"
          "joe {6+}\r\n"
          "secret\r\n"
          "c LOGOUT\r\n",
          "a NO [AUTHENTICATIONFAILED] Name or password is wrong\r\n"
          "+ Go on\r\n"
          "b OK [CAPABILITY " CAPABILITIES
          "] Logged in\r\n"
          "* BYE Logging out\r\n"
          "c OK Done\r\n",
          "login joe se\"x\n"
          "login joe secret\n" },
        { "authenticate", true, false,
          "a AUTHENTICATE plain\r\n"
          "AGEAYg==\r\n"
          "b LOGIN a b\r\n",
          "+ \r\n"
          "a OK [CAPABILITY " CAPABILITIES
          "] Logged in\r\n"
          "b BAD Not in this state\r\n",
          "authenticate PLAIN \n"
          "response AGEAYg== \n" },
        { "initial response", true, false,
          "a AUTHENTICATE PLAIN AGEAYg==\r\n"
          "b NAMESPACE\r\n",
          "a OK [CAPABILITY " CAPABILITIES
          "] Logged in\r\n"
          "* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n"
          "b OK Done\r\n",
          "authenticate PLAIN AGEAYg==\n" },
        { "login given up", true, false,
          "a AUTHENTICATE PLAIN\r\n"
          "*\r\n"
          "b AUTHENTICATE X\r\n"
          "c SELECT INBOX\r\n",
          "+ \r\n"
          "a BAD Login given up\r\n"
          "b NO [CANNOT] No such mechanism\r\n"
          "c BAD Log in first\r\n",
          "authenticate PLAIN \n" },
        { "not understood", true, false,
          "a\r\n"
          "* x\r\n"
          "a FOO\r\n"
          "b UID NOOP\r\n"
          "c UID\r\n"
          "d LOGIN {999999}\r\n"
          "e ID (\"name\" \"x\" \"version\" NIL)\r\n",
          "* BAD A command starts with its tag\r\n"
          "* BAD A command starts with its tag\r\n"
          "a BAD No such command\r\n"
          "b BAD No such command\r\n"
          "c BAD No such command\r\n"
          "d BAD [TOOBIG] The literal is too long\r\n"
          "* ID (\"name\" \"Hayauma\")\r\n"
          "e OK Done\r\n",
          "id x \n" },
        { "a literal too long to come", true, false,
          "a LOGIN {999999+}\r\n",
          "* BYE The literal is too long\r\n",
          NULL },
        { "select and close", false, true,
          "a SELECT Nope\r\n"
          "b EXAMINE INBOX\r\n"
          "c STORE 1 FLAGS ()\r\n"
          "d UNSELECT\r\n"
          "e FETCH 1 UID\r\n",
          "a NO [NONEXISTENT] Refused\r\n"
          "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)\r\n"
          "* OK [PERMANENTFLAGS ()] Kept\r\n"
          "* 3 EXISTS\r\n"
          "* 0 RECENT\r\n"
          "* OK [UNSEEN 1] First\r\n"
          "* OK [UIDVALIDITY 7] Valid\r\n"
          "* OK [UIDNEXT 4] Next\r\n"
          "* OK [HIGHESTMODSEQ 13] Highest\r\n"
          "* OK [MAILBOXID (F5)] Id\r\n"
          "b OK [READ-ONLY] Selected\r\n"
          "c NO [READ-ONLY] The mailbox is open for reading only\r\n"
          "d OK Done\r\n"
          "e BAD Not in this state\r\n",
          NULL },
        { "fetch metadata", false, false,
          "a FETCH 1:2 (UID FLAGS RFC822.SIZE INTERNALDATE)\r\n"
          "b UID FETCH 2:* FAST\r\n"
          "c FETCH 9 UID\r\n"
          "d UID FETCH 99 FLAGS\r\n"
          "e FETCH * EMAILID\r\n",
          "* 1 FETCH (UID 1 FLAGS () RFC822.SIZE 275 INTERNALDATE \" 1-Feb-1994 07:0"
          "6:40 +0000\")\r\n"
          "* 2 FETCH (UID 2 FLAGS () RFC822.SIZE 382 INTERNALDATE \" 2-Feb-1994 07:0"
          "6:40 +0000\")\r\n"
          "a OK Done\r\n"
          "* 2 FETCH (UID 2 FLAGS () INTERNALDATE \" 2-Feb-1994 07:06:40 +0000\" RFC"
          "822.SIZE 382)\r\n"
          "* 3 FETCH (UID 3 FLAGS () INTERNALDATE \" 3-Feb-1994 07:06:40 +0000\" RFC"
          "822.SIZE 275)\r\n"
          "b OK Done\r\n"
          "c BAD Say FETCH set (items)\r\n"
          "d OK Done\r\n"
          "* 3 FETCH (EMAILID (M3))\r\n"
          "e OK Done\r\n",
          NULL },
        { "envelope and structure", false, false,
          "a FETCH 1:2 ENVELOPE\r\n"
          "b UID FETCH 2 (BODYSTRUCTURE BODY)\r\n"
          "c FETCH 2 PREVIEW (LAZY)\r\n",
          "* 1 FETCH (ENVELOPE (\"Mon, 7 Feb 1994 21:52:25 -0800\" \"afternoon meeti"
          "ng\" ((\"Fred Foobar\" NIL \"foobar\" \"Blurdybloop.example\")) ((\"Fred "
          "Foobar\" NIL \"foobar\" \"Blurdybloop.example\")) ((\"Fred Foobar\" NIL \""
          "foobar\" \"Blurdybloop.example\")) ((NIL NIL \"mooch\" \"owatagu.example\""
          ")) NIL NIL NIL \"<B27397-0100000@Blurdybloop.example>\"))\r\n"
          "* 2 FETCH (ENVELOPE (\"Tue, 8 Feb 1994 10:00:00 +0900\" \"=?ISO-2022-JP?B"
          "?GyRCMnE1RBsoQg==?=\" ((\"=?ISO-2022-JP?B?GyRCOzNFRBsoQg==?=\" NIL \"yama"
          "da\" \"example.jp\")) ((\"=?ISO-2022-JP?B?GyRCOzNFRBsoQg==?=\" NIL \"yama"
          "da\" \"example.jp\")) ((\"=?ISO-2022-JP?B?GyRCOzNFRBsoQg==?=\" NIL \"yama"
          "da\" \"example.jp\")) NIL NIL NIL NIL NIL))\r\n"
          "a OK Done\r\n"
          "* 2 FETCH (UID 2 BODYSTRUCTURE ((\"text\" \"plain\" (\"charset\" \"ISO-20"
          "22-JP\") NIL NIL \"7bit\" 10 0 NIL NIL NIL NIL)(\"application\" \"octet-s"
          "tream\" (\"name\" \"x\") NIL NIL \"base64\" 8 NIL NIL NIL NIL) \"mixed\" "
          "(\"boundary\" \"b\") NIL NIL NIL) BODY ((\"text\" \"plain\" (\"charset\" "
          "\"ISO-2022-JP\") NIL NIL \"7bit\" 10 0)(\"application\" \"octet-stream\" "
          "(\"name\" \"x\") NIL NIL \"base64\" 8) \"mixed\"))\r\n"
          "b OK Done\r\n"
          "* 2 FETCH (PREVIEW {6}\r\n"
          "\344\274\232\350\255\260)\r\n"
          "c OK Done\r\n",
          NULL },
        { "sections", false, false,
          "a FETCH 2 (BODY.PEEK[HEADER.FIELDS (Date X)] BODY.PEEK[1] BODY.PEEK[2.MIM"
          "E] BODY.PEEK[3])\r\n"
          "b FETCH 1 BODY.PEEK[TEXT]<6.3>\r\n"
          "c FETCH 1 BODY.PEEK[]<9999.3>\r\n"
          "d FETCH 2 (BINARY.PEEK[2] BINARY.SIZE[2])\r\n",
          "* 2 FETCH (BODY[HEADER.FIELDS (Date X)] {40}\r\n"
          "Date: Tue, 8 Feb 1994 10:00:00 +0900\r\n"
          "\r\n"
          " BODY[1] {10}\r\n"
          "\033$B2q5D\033(B BODY[2.MIME] {85}\r\n"
          "Content-Type: application/octet-stream; name=x\r\n"
          "Content-Transfer-Encoding: base64\r\n"
          "\r\n"
          " BODY[3] NIL)\r\n"
          "a OK Done\r\n"
          "* 1 FETCH (BODY[TEXT]<6> {3}\r\n"
          "Joe)\r\n"
          "b OK Done\r\n"
          "* 1 FETCH (BODY[]<9999> {0}\r\n"
          ")\r\n"
          "c OK Done\r\n"
          "* 2 FETCH (BINARY[2] ~{4}\r\n"
          "\000\001\002\003 BINARY.SIZE[2] 4)\r\n"
          "d OK Done\r\n",
          NULL },
        { "reading sets seen", false, false,
          "a FETCH 1 BODY[TEXT]<0.5>\r\n"
          "b FETCH 1 RFC822.TEXT\r\n",
          "* 1 FETCH (BODY[TEXT]<0> {5}\r\n"
          "Hello)\r\n"
          "* 1 FETCH (FLAGS (\\Seen))\r\n"
          "a OK Done\r\n"
          "* 1 FETCH (RFC822.TEXT {38}\r\n"
          "Hello Joe, do you think we can meet?\r\n"
          ")\r\n"
          "b OK Done\r\n",
          NULL },
        { "store", false, false,
          "a STORE 1 +FLAGS (\\Deleted $Work)\r\n"
          "b STORE 1:2 FLAGS.SILENT \\Seen\r\n"
          "c UID STORE 3 -FLAGS (\\Seen)\r\n"
          "d STORE 1 FLAGS (\\Bad)\r\n",
          "* 1 FETCH (FLAGS (\\Deleted $Work))\r\n"
          "a OK Done\r\n"
          "b OK Done\r\n"
          "* 3 FETCH (UID 3 FLAGS ())\r\n"
          "c OK Done\r\n"
          "d BAD Say STORE set [+-]FLAGS[.SILENT] (flags)\r\n",
          NULL },
        { "store unchanged since", false, false,
          "a STORE 1:3 (UNCHANGEDSINCE 12) +FLAGS.SILENT (\\Seen)\r\n"
          "b FETCH 1:3 (FLAGS) (CHANGEDSINCE 13)\r\n",
          "* 1 FETCH (MODSEQ (14))\r\n"
          "* 2 FETCH (MODSEQ (15))\r\n"
          "* 3 FETCH (FLAGS () MODSEQ (13))\r\n"
          "a OK [MODIFIED 3] Some had changed\r\n"
          "* 1 FETCH (MODSEQ (14) FLAGS (\\Seen))\r\n"
          "* 2 FETCH (MODSEQ (15) FLAGS (\\Seen))\r\n"
          "b OK Done\r\n",
          NULL },
        { "expunge", false, false,
          "a STORE 1,3 +FLAGS.SILENT (\\Deleted)\r\n"
          "b UID EXPUNGE 1\r\n"
          "c EXPUNGE\r\n"
          "d CLOSE\r\n",
          "a OK Done\r\n"
          "* 1 EXPUNGE\r\n"
          "b OK Done\r\n"
          "* 2 EXPUNGE\r\n"
          "c OK Done\r\n"
          "d OK Done\r\n",
          NULL },
        { "vanished", false, false,
          "a ENABLE QRESYNC X\r\n"
          "b STORE 1:2 +FLAGS.SILENT (\\Deleted)\r\n"
          "c EXPUNGE\r\n"
          "d UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)\r\n"
          "e SELECT INBOX (QRESYNC (7 11))\r\n",
          "* ENABLED QRESYNC\r\n"
          "a OK Done\r\n"
          "* 1 FETCH (UID 1 MODSEQ (14))\r\n"
          "* 2 FETCH (UID 2 MODSEQ (15))\r\n"
          "b OK Done\r\n"
          "* VANISHED 1:2\r\n"
          "c OK [HIGHESTMODSEQ 16] Expunged\r\n"
          "* VANISHED (EARLIER) 1:2\r\n"
          "* 1 FETCH (UID 3 MODSEQ (13) FLAGS ())\r\n"
          "d OK Done\r\n"
          "* OK [CLOSED] Closed\r\n"
          "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)\r\n"
          "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work"
          " \\*)] Kept\r\n"
          "* 1 EXISTS\r\n"
          "* 0 RECENT\r\n"
          "* OK [UNSEEN 1] First\r\n"
          "* OK [UIDVALIDITY 7] Valid\r\n"
          "* OK [UIDNEXT 4] Next\r\n"
          "* OK [HIGHESTMODSEQ 16] Highest\r\n"
          "* OK [MAILBOXID (F5)] Id\r\n"
          "* VANISHED (EARLIER) 1:2\r\n"
          "* 1 FETCH (UID 3 FLAGS () MODSEQ (13))\r\n"
          "e OK [READ-WRITE] Selected\r\n",
          NULL },
        { "copy and move", false, false,
          "a COPY 1:2 Archive\r\n"
          "b COPY 1 \"Other box\"\r\n"
          "c UID MOVE 2:3 Archive\r\n"
          "d COPY 9 Archive\r\n",
          "a OK [COPYUID 9 1:2 100:101] Copied\r\n"
          "b NO [TRYCREATE] Refused\r\n"
          "* OK [COPYUID 9 2:3 100:101] Moved\r\n"
          "* 2 EXPUNGE\r\n"
          "* 2 EXPUNGE\r\n"
          "c OK Done\r\n"
          "d BAD Say COPY set mailbox\r\n",
          NULL },
        { "search", false, false,
          "a SEARCH ALL\r\n"
          "b UID SEARCH RETURN (MIN MAX COUNT) NOT SUBJECT afternoon\r\n"
          "c SEARCH OR 1 (FROM fred TEXT \"HELLO joe\")\r\n"
          "d SEARCH SENTON 8-Feb-1994 LARGER 10\r\n"
          "e SEARCH UID 2:* UNSEEN NOT DELETED\r\n"
          "f SEARCH HEADER Message-ID \"\"\r\n"
          "g SEARCH MODSEQ 12\r\n"
          "h SEARCH 4\r\n"
          "i SEARCH FOO\r\n",
          "* SEARCH 1 2 3\r\n"
          "a OK Done\r\n"
          "* ESEARCH (TAG \"b\") UID MIN 2 MAX 2 COUNT 1\r\n"
          "b OK Done\r\n"
          "* SEARCH 1 3\r\n"
          "c OK Done\r\n"
          "* SEARCH 2\r\n"
          "d OK Done\r\n"
          "* SEARCH 2 3\r\n"
          "e OK Done\r\n"
          "* SEARCH 1 3\r\n"
          "f OK Done\r\n"
          "* SEARCH 2 3 (MODSEQ 13)\r\n"
          "g OK Done\r\n"
          "h BAD The search keys are not understood\r\n"
          "i BAD The search keys are not understood\r\n",
          NULL },
        { "search in Japanese", false, false,
          "a SEARCH CHARSET UTF-8 SUBJECT {6}\r\n"
          "\344\274\232\350\255\260\r\n"
          "b SEARCH BODY \"\344\274\232\350\255\260\"\r\n"
          "c SEARCH CHARSET ISO-2022-JP BODY {10}\r\n"
          "\033$B2q5D\033(B\r\n"
          "d SEARCH CHARSET X ALL\r\n"
          "e SEARCH FROM \"\345\261\261\347\224\260\"\r\n",
          "+ Go on\r\n"
          "* SEARCH 2\r\n"
          "a OK Done\r\n"
          "* SEARCH 2\r\n"
          "b OK Done\r\n"
          "+ Go on\r\n"
          "* SEARCH 2\r\n"
          "c OK Done\r\n"
          "d NO [BADCHARSET (US-ASCII UTF-8 ISO-2022-JP Shift_JIS EUC-JP)] The chars"
          "et is not known\r\n"
          "* SEARCH 2\r\n"
          "e OK Done\r\n",
          NULL },
        { "search results kept", false, false,
          "a SEARCH RETURN (SAVE) SUBJECT afternoon\r\n"
          "b FETCH $ UID\r\n"
          "c SEARCH RETURN (ALL) $ NOT 1\r\n"
          "d SEARCH (((\r\n",
          "a OK Done\r\n"
          "* 1 FETCH (UID 1)\r\n"
          "* 3 FETCH (UID 3)\r\n"
          "b OK Done\r\n"
          "* ESEARCH (TAG \"c\") ALL 3\r\n"
          "c OK Done\r\n"
          "d BAD The search keys are not understood\r\n",
          NULL },
        { "sort", false, false,
          "a SORT (SUBJECT REVERSE ARRIVAL) UTF-8 ALL\r\n"
          "b UID SORT (REVERSE DATE) US-ASCII NOT 3\r\n"
          "c SORT (DISPLAYFROM REVERSE SIZE) UTF-8 ALL\r\n"
          "d SORT (FOO) UTF-8 ALL\r\n"
          "e SORT () X ALL\r\n",
          "* SORT 3 1 2\r\n"
          "a OK Done\r\n"
          "* SORT 1 2\r\n"
          "b OK Done\r\n"
          "* SORT 1 3 2\r\n"
          "c OK Done\r\n"
          "d BAD Say SORT (criteria) charset keys\r\n"
          "e BAD Say SORT (criteria) charset keys\r\n",
          NULL },
        { "threads", false, false,
          "a THREAD ORDEREDSUBJECT UTF-8 ALL\r\n"
          "b UID THREAD REFERENCES US-ASCII NOT 3\r\n"
          "c THREAD REFS UTF-8 SUBJECT nothing\r\n"
          "d THREAD FOO UTF-8 ALL\r\n",
          "* THREAD (2)(1 3)\r\n"
          "a OK Done\r\n"
          "* THREAD (2)(1)\r\n"
          "b OK Done\r\n"
          "* THREAD\r\n"
          "c OK Done\r\n"
          "d BAD Say THREAD algorithm charset keys\r\n",
          NULL },
        { "list", false, true,
          "a LIST \"\" *\r\n"
          "b LIST \"\" %\r\n"
          "c LIST \"\" \"\"\r\n"
          "d LSUB \"\" *\r\n"
          "e LIST (SUBSCRIBED RECURSIVEMATCH) \"\" % RETURN (STATUS (MESSAGES UNSEEN"
          "))\r\n"
          "f LIST \"\" inbox\r\n"
          "g LIST (SPECIAL-USE) \"\" *\r\n"
          "h LIST \"\" (a* INBOX) RETURN (CHILDREN)\r\n",
          "* LIST (\\HasChildren \\Archive) \"/\" Archive\r\n"
          "* LIST (\\HasNoChildren) \"/\" Archive/1994\r\n"
          "* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
          "* LIST (\\HasNoChildren) \"/\" &Z3FOrA-\r\n"
          "a OK Done\r\n"
          "* LIST (\\HasChildren \\Archive) \"/\" Archive\r\n"
          "* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
          "* LIST (\\HasNoChildren) \"/\" &Z3FOrA-\r\n"
          "b OK Done\r\n"
          "* LIST (\\Noselect) \"/\" \"\"\r\n"
          "c OK Done\r\n"
          "* LSUB (\\HasNoChildren) \"/\" Archive/1994\r\n"
          "* LSUB (\\Noselect \\HasNoChildren) \"/\" Gone/Box\r\n"
          "* LSUB (\\HasNoChildren) \"/\" INBOX\r\n"
          "* LSUB (\\HasNoChildren) \"/\" &Z3FOrA-\r\n"
          "d OK Done\r\n"
          "* LIST (\\HasChildren \\Archive) \"/\" Archive (\"CHILDINFO\" (\"SUBSCRIB"
          "ED\"))\r\n"
          "* LIST (\\HasNoChildren \\Subscribed) \"/\" INBOX\r\n"
          "* STATUS INBOX (MESSAGES 3 UNSEEN 2)\r\n"
          "* LIST (\\HasNoChildren \\Subscribed) \"/\" &Z3FOrA-\r\n"
          "* STATUS &Z3FOrA- (MESSAGES 0 UNSEEN 0)\r\n"
          "e OK Done\r\n"
          "* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
          "f OK Done\r\n"
          "* LIST (\\HasChildren \\Archive) \"/\" Archive\r\n"
          "g OK Done\r\n"
          "* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
          "h OK Done\r\n",
          NULL },
        { "status and names", false, true,
          "a STATUS inbox (MESSAGES UIDNEXT SIZE APPENDLIMIT MAILBOXID)\r\n"
          "b STATUS &Zxdb4A- (UIDNEXT)\r\n"
          "b2 STATUS &Zx (UIDNEXT)\r\n"
          "c RENAME &Zxdb4A- \"a&-b\"\r\n"
          "d CREATE x/ (USE (\\Drafts))\r\n"
          "e GETQUOTAROOT INBOX\r\n"
          "f DELETE \"a b\"\r\n",
          "* STATUS INBOX (MESSAGES 3 UIDNEXT 4 SIZE 0 MAILBOXID (F5) APPENDLIMIT 50"
          ")\r\n"
          "a OK Done\r\n"
          "b NO [NONEXISTENT] No such mailbox\r\n"
          "b2 BAD Say STATUS mailbox (MESSAGES ...)\r\n"
          "c OK Done\r\n"
          "d OK Done\r\n"
          "* QUOTAROOT INBOX \"\"\r\n"
          "* QUOTA \"\" (STORAGE 2 10)\r\n"
          "e OK Done\r\n"
          "f OK Done\r\n",
          "rename \346\234\227\345\257\240 a&b\n"
          "other x \n"
          "other a b \n" },
        { "deleted storage", false, true,
          "a STATUS INBOX (DELETED-STORAGE DELETED)\r\n"
          "b STATUS INBOX (DELETED)\r\n"
          "c STATUS INBOX (DELETED-STORAGES)\r\n"
          "d LIST \"\" I% RETURN (STATUS (DELETED-STORAGE))\r\n",
          "* STATUS INBOX (DELETED 1 DELETED-STORAGE 5000000000)\r\n"
          "a OK Done\r\n"
          "* STATUS INBOX (DELETED 1)\r\n"
          "b OK Done\r\n"
          "c BAD Say STATUS mailbox (MESSAGES ...)\r\n"
          "* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
          "* STATUS INBOX (DELETED-STORAGE 5000000000)\r\n"
          "d OK Done\r\n",
          "sums of deleted messages\nsums of deleted messages\n" },
        { "utf8 names", false, true,
          "a ENABLE UTF8=ACCEPT\r\n"
          "b LIST \"\" %\r\n"
          "c RENAME \"\346\235\261\" \"&-\"\r\n",
          "* ENABLED UTF8=ACCEPT\r\n"
          "a OK Done\r\n"
          "* LIST (\\HasChildren \\Archive) \"/\" Archive\r\n"
          "* LIST (\\HasNoChildren) \"/\" INBOX\r\n"
          "* LIST (\\HasNoChildren) \"/\" \"\346\235\261\344\272\254\"\r\n"
          "b OK Done\r\n"
          "c OK Done\r\n",
          "rename \346\235\261 &-\n" },
        { "append", false, true,
          "a APPEND INBOX (\\Seen) \"17-Jul-1996 02:44:25 -0700\" {5}\r\n"
          "hello\r\n"
          "b APPEND {5+}\r\n"
          "INBOX {2+}\r\n"
          "ab (\\Draft) {3+}\r\n"
          "cde\r\n"
          "c APPEND INBOX\r\n",
          "+ Go on\r\n"
          "a OK [APPENDUID 7 4] Stored\r\n"
          "b OK [APPENDUID 7 4] Stored\r\n"
          "c BAD APPEND needs a literal\r\n",
          "append INBOX 1 5\n"
          "append INBOX 0 2\n"
          "append INBOX 16 3\n" },
        { "append refused", false, true,
          "a APPEND No {5}\r\n"
          "b APPEND No {5+}\r\n"
          "A NOP\r\n"
          "c APPEND INBOX {60+}\r\n"
          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx {3+}\r\n"
          "abc\r\n"
          "d NOOP\r\n"
          "e APPEND INBOX {1+}\r\n"
          "x y\r\n",
          "a NO [TRYCREATE] Refused\r\n"
          "b NO [TRYCREATE] Refused\r\n"
          "c NO [TOOBIG] The message is too big\r\n"
          "d OK Done\r\n"
          "e BAD Nothing, or another message follows a message\r\n",
          "append No 0 5\n"
          "append No 0 5\n"
          "append INBOX 0 1\n" },
        { "append utf8", false, true,
          "a APPEND INBOX UTF8 (~{3+}\r\n"
          "abc)\r\n"
          "b NOOP\r\n",
          "a OK [APPENDUID 7 4] Stored\r\n"
          "b OK Done\r\n",
          "append INBOX 0 3\n" },
};

static void play(const struct session *t, struct role *r, size_t cut)
{
        const struct span in = span_make(t->in, strlen(t->in));
        size_t used;

        role_init(r);
        if (!t->before_login) {
                feed(r, SPAN_LITERAL("l LOGIN a secret\r\n"));
                if (!t->before_select)
                        feed(r, SPAN_LITERAL("s SELECT INBOX\r\n"));
                buffer_clear(&r->output);
                buffer_clear(&r->log);
        }
        used = feed(r, span_first(in, cut));
        if (!r->is_closed)
                feed(r, span_skip(in, used));
}

TEST(sessions_say_what_they_should)
{
        for (size_t i = 0; i < sizeof sessions / sizeof sessions[0]; i++) {
                const struct session *t = &sessions[i];

                for (size_t cut = strlen(t->in) + 1; cut-- > 0;) {
                        struct role r;

                        play(t, &r, cut);
                        buffer_append(&r.output, "", 1);
                        buffer_append(&r.log, "", 1);
                        if (strcmp(r.output.data + r.output.start, t->out) != 0)
                                printf("cut %zu\nGOT\n%s\nWANTED\n%s\n", cut,
                                       r.output.data + r.output.start, t->out);
                        CHECK(strcmp(r.output.data + r.output.start, t->out) == 0, t->name);
                        if (t->log)
                                CHECK(strcmp(r.log.data + r.log.start, t->log) == 0, t->name);
                        role_done(&r);
                }
        }
}

TEST(changes_of_others_are_told_in_idle)
{
        struct role r;

        role_init(&r);
        feed(&r, SPAN_LITERAL("l LOGIN a secret\r\ns SELECT INBOX\r\ni IDLE\r\n"));
        buffer_clear(&r.output);
        add_message(&r, plain, 9);
        r.messages[0].flags = IMAP_FLAG_SEEN;
        r.messages[0].modseq = ++r.modseq;
        renew(&r);
        feed(&r, SPAN_LITERAL(""));
        assert_true(imap_server_is_idling(r.s));
        buffer_append(&r.output, "", 1);
        assert_string_equal(r.output.data, "* 1 FETCH (FLAGS (\\Seen))\r\n* 4 EXISTS\r\n");
        buffer_clear(&r.output);
        expunge(&r, &(struct imap_event) {.uids = &(struct imap_range) {2, 3}, .uid_count = 1},
                false);
        feed(&r, SPAN_LITERAL("DONE\r\n"));
        buffer_append(&r.output, "", 1);
        assert_string_equal(r.output.data,
                            "* 2 EXPUNGE\r\n* 2 EXPUNGE\r\ni OK Done\r\n");
        role_done(&r);
}

TEST(a_mailbox_may_change_under_a_fetch)
{
        struct role r;

        role_init(&r);
        r.is_busy = true;
        feed(&r, SPAN_LITERAL("l LOGIN a secret\r\ns SELECT INBOX\r\n"));
        buffer_clear(&r.output);
        feed(&r, SPAN_LITERAL("f FETCH 1:* (BODY.PEEK[TEXT] UID RFC822.SIZE)\r\n"));
        buffer_append(&r.output, "", 1);
        assert_non_null(strstr(r.output.data, "* 3 FETCH ("));
        assert_non_null(strstr(r.output.data, " UID "));
        assert_non_null(strstr(r.output.data, "f OK "));
        role_done(&r);
}

/* Those that a walk over all would find. */
TEST(messages_are_found_by_what_is_known_of_chunks)
{
        const struct imap_view_head head = {.uid_validity = 1, .uid_next = 5000};
        static struct imap_message messages[1000];
        struct imap_view_change change = {.message = {.uid = 512, .modseq = 99}};
        struct imap_view *v, *old;
        size_t i, k;

        for (uint32_t n = 0; n < 1000; n++)
                messages[n] = (struct imap_message) {
                        .uid = n + 1, .modseq = n, .flags = n % 300 ? IMAP_FLAG_SEEN : 16};
        old = imap_view_new(&head, messages, 1000);
        v = imap_view_apply(old, &head, &change, 1);
        messages[511] = change.message;
        for (size_t from = 0; from <= 1000; from++) {
                for (i = from; i < 1000 && (messages[i].flags & IMAP_FLAG_SEEN); i++)
                        ;
                assert_int_equal(imap_view_next_without(v, from, IMAP_FLAG_SEEN), i);
                for (i = from; i < 1000 && !(messages[i].flags & 16); i++)
                        ;
                assert_int_equal(imap_view_next_with(v, from, 16), i);
                for (k = 0; k <= 1000; k += 97) {
                        for (i = from; i < 1000 && messages[i].modseq <= k; i++)
                                ;
                        assert_int_equal(imap_view_next_since(v, from, k), i);
                }
        }
        imap_view_unref(old);
        old = imap_view_new(&head, messages, 0);
        assert_int_equal(imap_view_next_with(old, 0, 1), 0);
        imap_view_unref(old);
        imap_view_unref(v);
}

/* Over chunks, gaps and the end: a finger finds what a search finds. */
TEST(a_finger_finds_what_a_search_finds)
{
        const struct imap_view_head head = {.uid_validity = 1, .uid_next = 5000};
        static struct imap_message messages[1000];
        struct imap_view *v;

        for (uint32_t i = 0; i < 1000; i++)
                messages[i] = (struct imap_message) {.uid = i < 300 ? i + 1 : 3 * i};
        v = imap_view_new(&head, messages, 1000);
        assert_non_null(v);
        for (uint32_t step = 1; step < 400; step += step < 10 ? 1 : 37) {
                struct imap_finger f = {0};

                for (uint32_t uid = 1; uid < 3100; uid += step)
                        assert_ptr_equal(imap_view_forward(v, &f, uid),
                                         imap_view_message(v, uid, NULL));
        }
        imap_view_unref(v);
}

TEST(a_handed_over_session_goes_on)
{
        const struct imap_server_options o = {.hostname = SPAN("h")};
        struct imap_server *s = imap_server_new(&o);
        struct imap_event e;

        assert_int_equal(imap_server_resume(s, SPAN_LITERAL("a b")), -EINVAL);
        assert_int_equal(imap_server_resume(s, SPAN_LITERAL("a1")), 0);
        imap_server_feed(s, SPAN_LITERAL("x NOOP\r\n"), &e);
        assert_int_equal(e.kind, IMAP_EVENT_NONE);
        assert_memory_equal(buffer_span(imap_server_output(s)).p, "a1 OK [CAPABILITY IMAP4rev1 ",
                            28);
        imap_server_free(s);
}

TEST_MAIN()
