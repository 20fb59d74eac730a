#include "auth/password.h"

#include <errno.h>
#include <stdio.h>

#include "base/test.h"

/* "secret" and its hashes, made by crypt(3), openssl dgst and base64 elsewhere. */
static const struct {
        const char *name, *stored, *password;
        int want;
} checks[] = {
        { "md5crypt",
          "{CRYPT}$1$abcdefgh$cHJi5PXp/ki/ktXzqlk6I1", "secret", 0 },
        { "DES",
          "{CRYPT}abNANd1rDfiNc", "secret", 0 },
        { "sha256crypt",
          "{CRYPT}$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.", "secret", 0 },
        { "sha512crypt",
          "{CRYPT}$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYr"
          "jCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.", "secret", 0 },
        { "sha512crypt with rounds",
          "{CRYPT}$6$rounds=2000$saltstring$aq.2Pyb4Fb7WNJzp0WC3kqHAsR"
          "O4.E2hN3GRZmgb3z2BE/HRCYIVvnk4mnGeH0oh0ffp8uZ0DYUD5IJCrDY0Q/", "secret", 0 },
        { "bcrypt",
          "{CRYPT}$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "secret", 0 },
        { "bcrypt of PHP",
          "{CRYPT}$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW", "secret", 0 },
        { "yescrypt",
          "{CRYPT}$y$j9T$LdJMENpBABJJ3hIHjB1Bi.$hLaZXcKh6m7JYeftf3YBX9"
          "tUkp4CF5Pqe06e1mb9bt8", "secret", 0 },
        { "ssha", "{SSHA}lHFzXul4wnzRItssVcTnvXWRjNgBAgMEBQYHCA==", "secret", 0 },
        { "sha512crypt, wrong",
          "{CRYPT}$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYr"
          "jCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk0Ry5qulYz.", "wrong",
          -EACCES },
        { "ssha, wrong", "{SSHA}lHFzXul4wnzRItssVcTnvXWRjNgBAgMEBQYHCA==", "wrong", -EACCES },
        { "unknown scheme", "{NTLM}abc", "secret", -EINVAL },
        { "no scheme", "secret", "secret", -EINVAL },
        { "plain is never stored", "{PLAIN}secret", "secret", -EINVAL },
        { "empty hash", "{CRYPT}", "secret", -EINVAL },
        { "empty", "", "secret", -EINVAL },
        { "crypt failure token", "{CRYPT}*0", "secret", -EINVAL },
        { "locked in shadow", "{CRYPT}!", "secret", -EINVAL },
        { "argon2id of a gigabyte",
          "{ARGON2ID}$argon2id$v=19$m=1048576,t=2,p=1$c2FsdHNhbHQ$AAAA", "x", -EINVAL },
        { "argon2id cut", "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1", "x", -EINVAL },
        { "sha512crypt too many rounds", "{CRYPT}$6$rounds=999999999$salt$AAAA", "x", -EINVAL },
        { "bcrypt cost 31", "{CRYPT}$2b$31$abcdefghijklmnopqrstuuAAAA", "x", -EINVAL },
        { "yescrypt of 1 GiB", "{CRYPT}$y$jFT$salt$AAAA", "x", -EINVAL },
        { "sha of wrong length", "{SHA}YWJj", "abc", -EINVAL },
        { "sha of \"abc\"", "{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "abc", 0 },
        { "scheme in lower case", "{sha}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "abc", 0 },
};

TEST(stored_hashes_are_checked)
{
        for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++)
                CHECK(password_verify(span_from_string(checks[i].stored),
                                      span_from_string(checks[i].password)) == checks[i].want,
                      checks[i].name);
}

TEST(new_hashes_verify)
{
        char hash[PASSWORD_HASH_MAX], again[PASSWORD_HASH_MAX];
        const char *why;
        struct span ignored;

        CHECK(password_hash(SPAN_LITERAL("secret"), hash) == 0, "hash");
        CHECK(strncmp(hash, "{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$", 41) == 0, hash);
        CHECK(password_verify(span_from_string(hash), SPAN_LITERAL("secret")) == 0, "right");
        CHECK(password_verify(span_from_string(hash), SPAN_LITERAL("Secret")) == -EACCES, "wrong");
        CHECK(password_verify(span_from_string(hash), SPAN_LITERAL("")) == -EACCES, "empty");
        CHECK(password_verify(span_from_string(hash), SPAN_LITERAL("secret\0x")) == -EACCES, "NUL");
        CHECK(password_import(span_from_string(hash), again, &ignored, &why) == 0, "import");
        CHECK(strcmp(hash, again) == 0, "kept as it stands");
        CHECK(password_hash(SPAN_LITERAL("secret"), again) == 0, "again");
        CHECK(strcmp(hash, again) != 0, "salted");
}

TEST(spellings_of_one_letter_are_one_password)
{
        char hash[PASSWORD_HASH_MAX];

        /* U+00E9, and "e" with U+0301 */
        CHECK(password_hash(SPAN_LITERAL("caf\xc3\xa9"), hash) == 0, "hash");
        CHECK(password_verify(span_from_string(hash), SPAN_LITERAL("cafe\xcc\x81")) == 0, "NFD");
        /* Not UTF-8: the octets themselves. */
        CHECK(password_hash(SPAN_LITERAL("caf\xe9"), hash) == 0, "hash");
        CHECK(password_verify(span_from_string(hash), SPAN_LITERAL("caf\xe9")) == 0, "Latin-1");
        CHECK(password_verify(span_from_string(hash), SPAN_LITERAL("caf\xc3\xa9")) == -EACCES,
              "UTF-8");
}

TEST(what_is_no_password_is_refused)
{
        static char longer[PASSWORD_OCTETS_MAX + 1];
        char hash[PASSWORD_HASH_MAX];
        struct password_scram scram;

        memset(longer, 'a', sizeof longer);
        CHECK(password_hash(SPAN_LITERAL(""), hash) == -EINVAL, "empty");
        CHECK(password_hash(SPAN_LITERAL("a\0b"), hash) == -EINVAL, "NUL");
        CHECK(password_hash(span_make(longer, sizeof longer), hash) == -EINVAL, "too long");
        CHECK(password_hash(span_make(longer, sizeof longer - 1), hash) == 0, "longest");
        CHECK(password_scram_make(SPAN_LITERAL("caf\xe9"), &scram) == -EINVAL, "not UTF-8");
        CHECK(password_scram_make(SPAN_LITERAL("a\tb"), &scram) == -EINVAL, "prohibited");
}

static const struct {
        const char *name, *text, *want; /* want: NULL refused, else what is stored */
} imports[] = {
        { "crypt", "{CRYPT}$6$salt$abc", "{CRYPT}$6$salt$abc" },
        { "Dovecot's name", "{SHA512-CRYPT}$6$salt$abc", "{CRYPT}$6$salt$abc" },
        { "bcrypt", "{blf-crypt}$2y$10$abc", "{CRYPT}$2y$10$abc" },
        { "DES", "{CRYPT}abJnggxhB/yWI", "{CRYPT}abJnggxhB/yWI" },
        { "sha", "{sha1}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", "{SHA}qZk+NkcGgWq6PiVxeFDCbJzQ2J0=" },
        { "plain", "{PLAIN}a:b c", "" },
        { "Dovecot's plain", "{cleartext}x", "" },
        { "empty plain", "{PLAIN}", NULL },
        { "no scheme", "$6$salt$abc", NULL },
        { "open brace", "{CRYPT$6$salt$abc", NULL },
        { "unknown scheme", "{OTP}abc", NULL },
        { "colon in a hash", "{CRYPT}$6$sa:lt$abc", NULL },
        { "blank in a hash", "{CRYPT}$6$sa lt$abc", NULL },
        { "locked", "{CRYPT}!", NULL },
        { "line feed", "{CRYPT}$6$salt$abc\n", NULL },
};

TEST(hashes_from_elsewhere_are_normalised)
{
        for (size_t i = 0; i < sizeof imports / sizeof imports[0]; i++) {
                char out[PASSWORD_HASH_MAX];
                struct span password;
                const char *why;
                const int r = password_import(span_from_string(imports[i].text), out, &password,
                                              &why);

                if (!imports[i].want) {
                        CHECK(r == -EINVAL && why, imports[i].name);
                } else if (!imports[i].want[0]) {
                        CHECK(r == 1 && password.len > 0, imports[i].name);
                } else {
                        CHECK(r == 0 && strcmp(out, imports[i].want) == 0, imports[i].name);
                }
        }
}

TEST(scram_gives_the_keys_of_rfc_7677)
{
        static const char salt[] = "\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa"
                                   "\x81";
        static const char want[] = "4096,W22ZaJ0SNY7soEsUEjb6gQ==,"
                                   "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,"
                                   "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
        struct buffer b = BUFFER_INIT(1024);
        struct password_scram scram, back;

        CHECK(password_scram_derive(SPAN_LITERAL("pencil"), span_make(salt, 16), 4096, &scram) == 0,
              "derive");
        CHECK(password_scram_format(&scram, &b) == 0, "format");
        CHECK(span_equal(buffer_span(&b), span_from_string(want)), "keys");
        CHECK(password_scram_parse(buffer_span(&b), &back) == 0, "parse");
        CHECK(memcmp(back.stored_key, scram.stored_key, sizeof back.stored_key) == 0, "same");
        for (size_t cut = 0; cut < b.len; cut++)
                CHECK(password_scram_parse(span_first(buffer_span(&b), cut), &back) == -EINVAL,
                      "cut");
        CHECK(buffer_append_string(&b, ",") == 0 &&
                      password_scram_parse(buffer_span(&b), &back) == -EINVAL,
              "more");
        buffer_done(&b);
}

TEST_MAIN()
