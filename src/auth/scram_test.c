/* The examples of RFC 5802 section 5 and RFC 7677 section 3, and messages that are
 * none, or of another channel. sasl_test.c has a client that is not ours. */
#include "auth/scram.h"

#include <errno.h>
#include <stdio.h>

#include "base/test.h"

static const struct {
        const char *name;
        bool is_sha1;
        const char *verifier, *nonce, *first, *challenge, *final, *proof;
} examples[] = {
        { "RFC 7677", false,
          "4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
          "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
          "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
          "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
          "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
          "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
          "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" },
        { "RFC 5802", true,
          "4096,QSXCR+Q6sek8bf92,6dlGYMOdZcOPutkcNY8U2g7vK9Y=,D+CSWLOshSulAsxiupA+qs2/fTE=",
          "3rfcNHYJY1ZVvWVs7j", "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
          "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
          "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
          "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=" },
};

static int begin(struct scram *s, size_t i, struct password_scram *v, struct buffer *out)
{
        const struct scram_bindings none = {0};
        const size_t key_len = examples[i].is_sha1 ? PASSWORD_SCRAM_SHA1_KEY : PASSWORD_SCRAM_KEY;

        *s = SCRAM_INIT;
        s->is_sha1 = examples[i].is_sha1;
        CHECK(password_scram_parse_keys(span_from_string(examples[i].verifier), key_len, v) == 0,
              examples[i].name);
        CHECK(scram_first(s, span_from_string(examples[i].first), &none) == 0, examples[i].name);
        return scram_challenge(s, v, examples[i].nonce, out);
}

static void check_examples(void)
{
        for (size_t i = 0; i < sizeof examples / sizeof examples[0]; i++) {
                struct buffer out = BUFFER_INIT(1024);
                struct password_scram v;
                struct scram s;

                CHECK(begin(&s, i, &v, &out) == 0, examples[i].name);
                CHECK(strcmp(s.name, "user") == 0, examples[i].name);
                CHECK(span_equal(buffer_span(&out), span_from_string(examples[i].challenge)),
                      examples[i].name);
                buffer_clear(&out);
                CHECK(scram_final(&s, span_from_string(examples[i].final), &v, &out) == 0,
                      examples[i].name);
                CHECK(span_equal(buffer_span(&out), span_from_string(examples[i].proof)),
                      examples[i].name);
                scram_done(&s);
                buffer_done(&out);
        }
}

/* Any octet that is another, and any end that comes too soon, is no proof. */
TEST(the_examples_of_the_standards)
{
        check_examples();
        scram_warm(); /* the other way to hash */
        check_examples();
}

TEST(what_is_not_exactly_the_proof)
{
        struct buffer out = BUFFER_INIT(1024);
        const char *good = examples[0].final;
        struct password_scram v;
        struct scram s;
        char text[400];

        for (size_t at = 0; at < strlen(good); at++) {
                for (int cut = 0; cut < 2; cut++) {
                        buffer_clear(&out);
                        CHECK(begin(&s, 0, &v, &out) == 0, "begin");
                        buffer_clear(&out);
                        snprintf(text, sizeof text, "%s", good);
                        text[at] = cut ? '\0' : (char) (text[at] ^ 1);
                        CHECK(scram_final(&s, span_from_string(text), &v, &out) < 0, text);
                        CHECK(out.len == 0, text);
                        scram_done(&s);
                }
        }
        buffer_done(&out);
}

#define EXPORTER "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"

static const struct {
        const char *name;
        bool is_bound, has_exporter;
        int want;
        const char *in, *login, *act_as;
} firsts[] = {
        { "plain", false, false, 0, "n,,n=a,r=b", "a", "" },
        { "acts as", false, false, 0, "n,a=c=2Cd,n=a=3D,r=b", "a=", "c,d" },
        { "acts as nobody else", false, false, 0, "n,a=,n=a,r=b", "a", "" },
        { "knows of binding, we do not", false, false, 0, "y,,n=a,r=b", "a", "" },
        { "an extension behind", false, false, 0, "n,,n=a,r=b,x=y", "a", "" },
        { "lied to", false, true, -EACCES, "y,,n=a,r=b", NULL, NULL },
        { "exporter", true, true, 0, "p=tls-exporter,,n=a,r=b", "a", "" },
        { "exporter there is none", true, false, -EACCES, "p=tls-exporter,,n=a,r=b", NULL, NULL },
        { "end point", true, false, 0, "p=tls-server-end-point,,n=a,r=b", "a", "" },
        { "unique", true, true, -EACCES, "p=tls-unique,,n=a,r=b", NULL, NULL },
        { "bound where it must not be", false, true, -EBADMSG, "p=tls-exporter,,n=a,r=b", NULL,
          NULL },
        { "not bound where it must", true, true, -EBADMSG, "n,,n=a,r=b", NULL, NULL },
        { "no flag", false, false, -EBADMSG, ",,n=a,r=b", NULL, NULL },
        { "another flag", false, false, -EBADMSG, "nn,,n=a,r=b", NULL, NULL },
        { "no header", false, false, -EBADMSG, "n=a,r=b", NULL, NULL },
        { "an extension in front", false, false, -EBADMSG, "n,,m=x,n=a,r=b", NULL, NULL },
        { "no name", false, false, -EBADMSG, "n,,n=,r=b", NULL, NULL },
        { "no nonce", false, false, -EBADMSG, "n,,n=a,r=", NULL, NULL },
        { "nothing behind the name", false, false, -EBADMSG, "n,,n=a", NULL, NULL },
        { "a blank in the nonce", false, false, -EBADMSG, "n,,n=a,r=b c", NULL, NULL },
        { "an equals sign in the name", false, false, -EBADMSG, "n,,n=a=b,r=b", NULL, NULL },
        { "another that is escaped", false, false, -EBADMSG, "n,,n==2c,r=b", NULL, NULL },
        { "a control in the name", false, false, -EBADMSG, "n,,n=a\001,r=b", NULL, NULL },
        { "no UTF-8", false, false, -EBADMSG, "n,,n=a\xff,r=b", NULL, NULL },
        { "empty", false, false, -EBADMSG, "", NULL, NULL },
};

TEST(first_messages)
{
        for (size_t i = 0; i < sizeof firsts / sizeof firsts[0]; i++) {
                const struct scram_bindings b = {
                        .exporter = firsts[i].has_exporter ? SPAN_LITERAL(EXPORTER)
                                                           : (struct span) {0},
                        .end_point = firsts[i].is_bound ? SPAN_LITERAL("point")
                                                        : (struct span) {0},
                };
                struct scram s = SCRAM_INIT;

                s.is_bound = firsts[i].is_bound;
                CHECK(scram_first(&s, span_from_string(firsts[i].in), &b) == firsts[i].want,
                      firsts[i].name);
                if (firsts[i].want == 0) {
                        CHECK(strcmp(s.name, firsts[i].login) == 0, firsts[i].name);
                        CHECK(strcmp(s.act_as, firsts[i].act_as) == 0, firsts[i].name);
                }
                scram_done(&s);
        }
}

TEST_MAIN()
