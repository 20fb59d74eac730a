#include "auth/sasl.h"

#include <errno.h>
#include <gsasl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sodium.h>
#include <stdlib.h>

#include "auth/apop.h"
#include "auth/password.h"
#include "auth/scram.h"
#include "base/cleanup.h"

enum { SECRET_LEN = 32 };

struct sasl_engine {
        Gsasl *gsasl;
        sasl_find_fn *find;
        void *arg;
        unsigned char secret[SECRET_LEN]; /* makes the salts of accounts there are not */
};

struct sasl {
        struct sasl_engine *engine;
        const struct sasl_mechanism *mechanism;
        Gsasl_session *session; /* NULL for APOP and SCRAM */
        unsigned steps;
        bool has_begun;     /* the client's first message was seen */
        bool is_proved;     /* all that is left is for the client to see our last message */
        bool is_mismatched; /* wants to act as somebody else */
        bool needs_check;   /* a password was given */
        struct scram scram;
        struct password_scram verifier;
        unsigned char exporter[SASL_EXPORTER_LEN], end_point[SCRAM_BINDING_MAX];
        size_t exporter_len, end_point_len;
        char external_name[USERS_ADDRESS_MAX];
        char account[USERS_ADDRESS_MAX];
        char login_name[USERS_ADDRESS_MAX];
        char password[PASSWORD_OCTETS_MAX + 1];
        size_t password_len;
};

const struct sasl_mechanism sasl_mechanisms[] = {
        { SPAN("SCRAM-SHA-256-PLUS"), SASL_BINDING | SASL_PROOF },
        { SPAN("SCRAM-SHA-256"), SASL_PROOF },
        { SPAN("SCRAM-SHA-1-PLUS"), SASL_BINDING | SASL_PROOF },
        { SPAN("SCRAM-SHA-1"), SASL_PROOF },
        { SPAN("EXTERNAL"), SASL_EXTERNAL },
        { SPAN("CRAM-MD5"), SASL_SECRET },
        { SPAN("PLAIN"), SASL_PLAINTEXT },
        { SPAN("LOGIN"), SASL_PLAINTEXT },
        { SPAN("APOP"), SASL_APOP },
};
const size_t sasl_mechanism_count = sizeof sasl_mechanisms / sizeof sasl_mechanisms[0];

const struct sasl_mechanism *sasl_mechanism_find(struct span name)
{
        for (size_t i = 0; i < sasl_mechanism_count; i++)
                if (span_equal_nocase(sasl_mechanisms[i].name, name))
                        return &sasl_mechanisms[i];
        return NULL;
}

bool sasl_decode(struct span base64, char *out, size_t *ret_len)
{
        if (span_equal(base64, SPAN_LITERAL("=")))
                base64.len = 0;
        return sodium_base642bin((unsigned char *) out, SASL_BLOB_MAX, base64.p ? base64.p : "",
                                 base64.len, NULL, ret_len, NULL,
                                 sodium_base64_VARIANT_ORIGINAL) == 0;
}

void sasl_encode(struct span octets, char out[SASL_BASE64_MAX + 1])
{
        octets = span_first(octets, SASL_BLOB_MAX);
        sodium_bin2base64(out, SASL_BASE64_MAX + 1, (const unsigned char *) octets.p, octets.len,
                          sodium_base64_VARIANT_ORIGINAL);
}

/* ---- what the library asks ---------------------------------------------- */

/* Cut off where it is longer than any account: it then names none. */
static void keep(char out[USERS_ADDRESS_MAX], struct span text)
{
        text = span_first(text, USERS_ADDRESS_MAX - 1);
        memcpy(out, text.len ? text.p : "", text.len);
        out[text.len] = '\0';
}

/* The account of the name the client gave, which is kept. NULL: there is none,
 * or it wants to act as another. */
static const struct users_account *identify_as(struct sasl *s, const char *authid,
                                               const char *authzid)
{
        const struct users_account *a = NULL, *other;

        keep(s->login_name, span_from_string(authid));
        s->account[0] = '\0';
        if (authid && strlen(authid) < USERS_ADDRESS_MAX)
                a = s->engine->find(s->engine->arg, span_from_string(authid));
        if (a && authzid && authzid[0]) {
                other = s->engine->find(s->engine->arg, span_from_string(authzid));
                s->is_mismatched = other != a;
        }
        if (a)
                keep(s->account, a->address);
        return a;
}

static const struct users_account *identify(struct sasl *s)
{
        return identify_as(s, gsasl_property_fast(s->session, GSASL_AUTHID),
                           gsasl_property_fast(s->session, GSASL_AUTHZID));
}

/* Always the same for a name, and known to nobody: whether there is such an
 * account does not show. */
static int make_false_verifier(const struct sasl *s, struct password_scram *ret)
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        char name[USERS_ADDRESS_MAX];
        unsigned len = sizeof digest;

        ascii_lower_copy(name, span_from_string(s->login_name));
        if (!HMAC(EVP_sha256(), s->engine->secret, SECRET_LEN, (const unsigned char *) name,
                  strlen(s->login_name), digest, &len))
                return -ENOMEM;
        *ret = (struct password_scram) {
                .iterations = PASSWORD_SCRAM_ITERATIONS,
                .salt_len = PASSWORD_SCRAM_SALT_MADE,
        };
        memcpy(ret->salt, digest, ret->salt_len);
        randombytes_buf(ret->stored_key, sizeof ret->stored_key);
        randombytes_buf(ret->server_key, sizeof ret->server_key);
        return 0;
}

/* What the account proves itself by; where there is none, what nobody can. */
static int set_verifier(struct sasl *s, const struct users_account *a)
{
        const struct span stored = !a ? (struct span) {0}
                                      : s->scram.is_sha1 ? a->scram_sha1 : a->scram;
        const size_t key_len = s->scram.is_sha1 ? PASSWORD_SCRAM_SHA1_KEY : PASSWORD_SCRAM_KEY;

        if (stored.len && password_scram_parse_keys(stored, key_len, &s->verifier) == 0)
                return 0;
        return make_false_verifier(s, &s->verifier);
}

/* CRAM-MD5 (RFC 2195) compares with the password itself: where an account has
 * none in the file, and where there is no account, with one nobody knows. */
static int set_secret(struct sasl *s)
{
        const struct users_account *a = identify(s);
        unsigned char drawn[SECRET_LEN];
        char text[PASSWORD_OCTETS_MAX + 1];
        int r;

        if (!a || !apop_read_secret(a->apop, text)) {
                randombytes_buf(drawn, sizeof drawn);
                sodium_bin2hex(text, sizeof text, drawn, sizeof drawn);
        }
        r = gsasl_property_set(s->session, GSASL_PASSWORD, text);
        sodium_memzero(text, sizeof text);
        return r;
}

/* PLAIN and LOGIN: the comparison is for others, and takes its time. */
static void keep_password(struct sasl *s, const char *password)
{
        const size_t len = password ? strlen(password) : 0;

        s->needs_check = true;
        /* One that is too long is nobody's: it is compared all the same. */
        s->password_len = len < sizeof s->password ? len : sizeof s->password - 1;
        memcpy(s->password, password ? password : "", s->password_len);
}

static int validate_external(struct sasl *s)
{
        const char *authzid = gsasl_property_fast(s->session, GSASL_AUTHZID);
        const struct users_account *a, *wanted;

        keep(s->login_name, span_from_string(s->external_name));
        if (!s->external_name[0])
                return GSASL_AUTHENTICATION_ERROR;
        a = s->engine->find(s->engine->arg, span_from_string(s->external_name));
        wanted = authzid && authzid[0] ? s->engine->find(s->engine->arg, span_from_string(authzid))
                                       : a;
        if (!a || a != wanted)
                return GSASL_AUTHENTICATION_ERROR;
        keep(s->account, a->address);
        return GSASL_OK;
}

static int callback(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property)
{
        struct sasl *s = gsasl_session_hook_get(session);

        (void) gsasl;
        switch (property) {
        case GSASL_PASSWORD:
                return s->mechanism->flags & SASL_SECRET ? set_secret(s) : GSASL_NO_CALLBACK;
        case GSASL_VALIDATE_SIMPLE:
                (void) identify(s);
                keep_password(s, gsasl_property_fast(session, GSASL_PASSWORD));
                return GSASL_OK;
        case GSASL_VALIDATE_EXTERNAL:
                return validate_external(s);
        default:
                return GSASL_NO_CALLBACK;
        }
}

/* ---- engine ------------------------------------------------------------- */

struct sasl_engine *sasl_engine_new(sasl_find_fn *find, void *arg)
{
        struct sasl_engine *e = calloc(1, sizeof *e);

        if (!e || sodium_init() < 0 || gsasl_init(&e->gsasl) != GSASL_OK) {
                free(e);
                return NULL;
        }
        e->find = find;
        e->arg = arg;
        randombytes_buf(e->secret, sizeof e->secret);
        apop_warm();
        scram_warm();
        gsasl_callback_set(e->gsasl, callback);
        return e;
}

struct sasl_engine *sasl_engine_free(struct sasl_engine *e)
{
        if (e) {
                gsasl_done(e->gsasl);
                sodium_memzero(e, sizeof *e);
                free(e);
        }
        return NULL;
}

/* ---- one exchange ------------------------------------------------------- */

static size_t keep_binding(unsigned char *out, size_t room, struct span value)
{
        if (value.len == 0 || value.len > room)
                return 0;
        memcpy(out, value.p, value.len);
        return value.len;
}

/* Told of a binding, the exchange takes a client that says it was offered none for
 * one that is being lied to (RFC 5802 section 6). */
static void begin_scram(struct sasl *s, const struct sasl_facts *facts)
{
        s->scram = SCRAM_INIT;
        s->scram.is_sha1 = span_starts_with_nocase(s->mechanism->name, SPAN_LITERAL("SCRAM-SHA-1"));
        s->scram.is_bound = s->mechanism->flags & SASL_BINDING;
        s->exporter_len = keep_binding(s->exporter, sizeof s->exporter, facts->exporter);
        s->end_point_len = keep_binding(s->end_point, sizeof s->end_point, facts->end_point);
}

int sasl_new(struct sasl_engine *e, struct span mechanism, const struct sasl_facts *facts,
             struct sasl **ret_s)
{
        const struct sasl_mechanism *m = sasl_mechanism_find(mechanism);
        struct sasl *s;
        int r;

        if (!m)
                return -ENOENT;
        s = calloc(1, sizeof *s);
        if (!s)
                return -ENOMEM;
        s->engine = e;
        s->mechanism = m;
        if (m->flags & SASL_PROOF)
                begin_scram(s, facts);
        if (m->flags & (SASL_APOP | SASL_PROOF)) {
                *ret_s = s;
                return 0;
        }
        r = gsasl_server_start(e->gsasl, m->name.p, &s->session);
        if (r != GSASL_OK) {
                free(s);
                return r == GSASL_MALLOC_ERROR ? -ENOMEM : -ENOENT;
        }
        gsasl_session_hook_set(s->session, s);
        if (facts->external_name.len < sizeof s->external_name && facts->external_name.len)
                memcpy(s->external_name, facts->external_name.p, facts->external_name.len);
        *ret_s = s;
        return 0;
}

struct sasl *sasl_free(struct sasl *s)
{
        if (s) {
                if (s->session)
                        gsasl_finish(s->session);
                scram_done(&s->scram);
                sodium_memzero(s, sizeof *s);
                free(s);
        }
        return NULL;
}

static bool is_login(const struct sasl *s)
{
        return span_equal(s->mechanism->name, SPAN_LITERAL("LOGIN"));
}

/* What the library's answer means. */
static enum sasl_status judge(struct sasl *s, int r)
{
        switch (r) {
        case GSASL_NEEDS_MORE:
                return SASL_CHALLENGE;
        case GSASL_OK:
                if (s->is_mismatched)
                        return SASL_REFUSED;
                if (s->needs_check)
                        return SASL_CHECK;
                return SASL_GRANTED;
        case GSASL_MALLOC_ERROR:
                return SASL_TROUBLE;
        case GSASL_AUTHENTICATION_ERROR:
                return SASL_REFUSED;
        default:
                return SASL_MALFORMED;
        }
}

static enum sasl_status run(struct sasl *s, struct span in, struct buffer *out)
{
        char *made = NULL;
        size_t made_len = 0;
        int r, appended = 0;

        buffer_clear(out);
        r = gsasl_step(s->session, in.p, in.len, &made, &made_len);
        if ((r == GSASL_OK || r == GSASL_NEEDS_MORE) && made_len)
                appended = buffer_append(out, made, made_len);
        gsasl_free(made);
        if (appended < 0)
                return SASL_TROUBLE;
        return judge(s, r);
}

/* The library's own words are "User Name", which not every client knows. */
static enum sasl_status step_login(struct sasl *s, struct span in, struct buffer *out)
{
        enum sasl_status status;

        if (s->steps == 1) {
                status = run(s, (struct span) {0}, out);
                if (status != SASL_CHALLENGE || !in.p) {
                        buffer_clear(out);
                        (void) buffer_append_string(out, "Username:");
                        return status;
                }
        }
        status = run(s, in, out);
        buffer_clear(out);
        if (status == SASL_CHALLENGE)
                (void) buffer_append_string(out, "Password:");
        return status;
}

static enum sasl_status scram_status(int r)
{
        return r == -EACCES ? SASL_REFUSED : r == -ENOMEM ? SASL_TROUBLE : SASL_MALFORMED;
}

static enum sasl_status step_scram(struct sasl *s, struct span in, struct buffer *out)
{
        const struct scram_bindings bindings = {
                .exporter = {(const char *) s->exporter, s->exporter_len},
                .end_point = {(const char *) s->end_point, s->end_point_len},
        };
        unsigned char drawn[SCRAM_NONCE_MADE * 3 / 4];
        char nonce[SCRAM_NONCE_MADE + 1];
        int r;

        if (s->has_begun) {
                r = scram_final(&s->scram, in, &s->verifier, out);
                if (r == 0 && s->is_mismatched)
                        r = -EACCES;
                if (r < 0) {
                        buffer_clear(out);
                        return scram_status(r);
                }
                s->is_proved = true; /* the client answers ours with nothing */
                return SASL_CHALLENGE;
        }
        r = scram_first(&s->scram, in, &bindings);
        if (r == 0)
                r = set_verifier(s, identify_as(s, s->scram.name, s->scram.act_as));
        randombytes_buf(drawn, sizeof drawn);
        sodium_bin2base64(nonce, sizeof nonce, drawn, sizeof drawn,
                          sodium_base64_VARIANT_ORIGINAL);
        if (r == 0)
                r = scram_challenge(&s->scram, &s->verifier, nonce, out);
        s->has_begun = true;
        return r == 0 ? SASL_CHALLENGE : scram_status(r);
}

/* RFC 1939 section 7. */
static enum sasl_status step_apop(struct sasl *s, struct span in)
{
        const struct users_account *a;
        struct span name, digest;

        if (!span_split(&in, '\0', &name) || !span_split(&in, '\0', &digest) || !in.p ||
            name.len == 0 || name.len >= USERS_ADDRESS_MAX)
                return SASL_MALFORMED;
        keep(s->login_name, name);
        a = s->engine->find(s->engine->arg, name);
        if (a)
                keep(s->account, a->address);
        return apop_is_good(a ? a->apop : (struct span) {0}, in, digest) ? SASL_GRANTED
                                                                         : SASL_REFUSED;
}

/* A message of PLAIN in printable ASCII is what SASLprep would make of it (RFC
 * 4013 section 2: nothing to map, nothing prohibited), whose tables cost more than
 * all the rest of a login. authzid NUL authcid NUL password: RFC 4616 section 2.
 * False: any other message, for the library. */
static bool step_ascii_plain(struct sasl *s, struct span in, enum sasl_status *ret_status)
{
        char text[3 * 256];
        size_t nul[2] = {0}, count = 0;

        if (in.len >= sizeof text || !(s->mechanism->flags & SASL_PLAINTEXT) || is_login(s))
                return false;
        for (size_t i = 0; i < in.len; i++) {
                if (in.p[i] == '\0' && count < 2)
                        nul[count++] = i;
                else if (in.p[i] < ' ' || in.p[i] > '~')
                        return false;
        }
        if (count != 2 || nul[1] == nul[0] + 1 || nul[1] + 1 == in.len)
                return false;
        memcpy(text, in.p, in.len);
        text[in.len] = '\0';
        (void) identify_as(s, text + nul[0] + 1, text);
        keep_password(s, text + nul[1] + 1);
        sodium_memzero(text, sizeof text);
        *ret_status = s->is_mismatched ? SASL_REFUSED : SASL_CHECK;
        return true;
}

enum sasl_status sasl_step(struct sasl *s, struct span in, struct buffer *out)
{
        /* An initial response that is there and empty is not one that is absent. */
        const struct span text = {in.p && in.len == 0 ? "" : in.p, in.len};
        enum sasl_status status;

        buffer_clear(out);
        if (++s->steps > SASL_STEPS_MAX || in.len > SASL_BLOB_MAX)
                return SASL_MALFORMED;
        if (s->is_proved)
                return in.len == 0 ? SASL_GRANTED : SASL_MALFORMED;
        if (s->mechanism->flags & SASL_APOP)
                return step_apop(s, text);
        if (step_ascii_plain(s, text, &status))
                return status;
        if (is_login(s))
                return step_login(s, text, out);
        if ((s->mechanism->flags & SASL_SECRET) && s->steps == 1) /* the server speaks first */
                return in.p ? SASL_MALFORMED : run(s, text, out);
        if (in.len == 0 && s->steps == 1 && (!in.p || (s->mechanism->flags & SASL_PROOF)))
                return SASL_CHALLENGE;
        if (s->mechanism->flags & SASL_PROOF)
                return step_scram(s, text, out);
        return run(s, text, out);
}

struct span sasl_login_name(const struct sasl *s)
{
        return span_from_string(s->login_name);
}

struct span sasl_account(const struct sasl *s)
{
        return span_from_string(s->account);
}

struct span sasl_password(const struct sasl *s)
{
        return span_make(s->password, s->password_len);
}

const struct sasl_mechanism *sasl_mechanism(const struct sasl *s)
{
        return s->mechanism;
}
