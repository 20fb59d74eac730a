#include "auth/sasl_client.h"

#include <errno.h>
#include <gsasl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/number.h"

struct sasl_client_engine {
        Gsasl *gsasl;
};

struct sasl_client {
        Gsasl_session *session;
        bool is_first, is_done;
        unsigned steps;
};

static const struct {
        struct span name;
        bool is_bound, is_first;
} mechanisms[] = { /* best first */
        { SPAN("SCRAM-SHA-256-PLUS"), true, true }, { SPAN("SCRAM-SHA-256"), false, true },
        { SPAN("SCRAM-SHA-1"), false, true },
        { SPAN("PLAIN"), false, true },             { SPAN("LOGIN"), false, false },
};
enum { MECHANISMS = sizeof mechanisms / sizeof mechanisms[0], ITERATIONS_MAX = 2000000 };

static bool has_word(struct span words, struct span wanted)
{
        struct span word;

        while (words.len && span_split(&words, ' ', &word))
                if (span_equal_nocase(word, wanted))
                        return true;
        return false;
}

/* Who chooses the number of iterations is the server: asked for what comes of
 * them, we take the password away where there are too many. */
static int callback(Gsasl *gsasl, Gsasl_session *session, Gsasl_property property)
{
        const char *iterations;
        uint64_t number;

        (void) gsasl;
        if (property != GSASL_SCRAM_SALTED_PASSWORD)
                return GSASL_NO_CALLBACK;
        iterations = gsasl_property_fast(session, GSASL_SCRAM_ITER);
        if (!iterations || number_parse(span_from_string(iterations), ITERATIONS_MAX, &number) < 0)
                (void) gsasl_property_set(session, GSASL_PASSWORD, NULL);
        return GSASL_NO_CALLBACK;
}

struct span sasl_client_choose(struct span offered, struct span allowed, bool has_exporter)
{
        for (size_t i = 0; i < MECHANISMS; i++)
                if (has_word(offered, mechanisms[i].name) &&
                    (!allowed.len || has_word(allowed, mechanisms[i].name)) &&
                    (!mechanisms[i].is_bound || has_exporter))
                        return mechanisms[i].name;
        return (struct span) {0};
}

struct sasl_client_engine *sasl_client_engine_new(void)
{
        struct sasl_client_engine *e = calloc(1, sizeof *e);

        if (!e || sodium_init() < 0 || gsasl_init(&e->gsasl) != GSASL_OK) {
                free(e);
                return NULL;
        }
        gsasl_callback_set(e->gsasl, callback);
        return e;
}

struct sasl_client_engine *sasl_client_engine_free(struct sasl_client_engine *e)
{
        if (e)
                gsasl_done(e->gsasl);
        free(e);
        return NULL;
}

static int set(Gsasl_session *session, Gsasl_property property, struct span value)
{
        char text[1025];
        int r;

        if (value.len >= sizeof text || (value.len && memchr(value.p, 0, value.len)))
                return -EINVAL;
        if (value.len)
                memcpy(text, value.p, value.len);
        text[value.len] = '\0';
        r = gsasl_property_set(session, property, text);
        sodium_memzero(text, sizeof text);
        return r == GSASL_OK ? 0 : -ENOMEM;
}

static int set_exporter(Gsasl_session *session, struct span exporter)
{
        char text[64];

        if (exporter.len != SASL_EXPORTER_LEN)
                return 0;
        sodium_bin2base64(text, sizeof text, (const unsigned char *) exporter.p, exporter.len,
                          sodium_base64_VARIANT_ORIGINAL);
        return gsasl_property_set(session, GSASL_CB_TLS_EXPORTER, text) == GSASL_OK ? 0 : -ENOMEM;
}

static size_t find(struct span name)
{
        size_t i = 0;

        while (i < MECHANISMS && !span_equal_nocase(mechanisms[i].name, name))
                i++;
        return i;
}

int sasl_client_new(struct sasl_client_engine *e, const struct sasl_client_order *order,
                    struct sasl_client **ret_s)
{
        const size_t i = find(order->mechanism);
        struct sasl_client *s;
        int r;

        if (i == MECHANISMS)
                return -EINVAL;
        s = calloc(1, sizeof *s);
        if (!s)
                return -ENOMEM;
        s->is_first = mechanisms[i].is_first;
        r = gsasl_client_start(e->gsasl, mechanisms[i].name.p, &s->session) == GSASL_OK ? 0
                                                                                        : -ENOMEM;
        if (r == 0)
                r = set(s->session, GSASL_AUTHID, order->login_name);
        if (r == 0)
                r = set(s->session, GSASL_PASSWORD, order->password);
        if (r == 0)
                r = set_exporter(s->session, order->exporter);
        if (r < 0) {
                sasl_client_free(s);
                return r;
        }
        *ret_s = s;
        return 0;
}

struct sasl_client *sasl_client_free(struct sasl_client *s)
{
        if (s && s->session)
                gsasl_finish(s->session);
        free(s);
        return NULL;
}

bool sasl_client_is_first(const struct sasl_client *s)
{
        return s->is_first;
}

int sasl_client_step(struct sasl_client *s, struct span in, struct buffer *out)
{
        char *made = NULL;
        size_t made_len = 0;
        int r, appended = 0;

        buffer_clear(out);
        if (++s->steps > SASL_STEPS_MAX || in.len > SASL_BLOB_MAX)
                return -EPROTO;
        if (s->is_done) /* it has nothing more to ask */
                return in.len ? -EPROTO : 0;
        r = gsasl_step(s->session, in.p ? in.p : "", in.len, &made, &made_len);
        if ((r == GSASL_OK || r == GSASL_NEEDS_MORE) && made_len)
                appended = buffer_append(out, made, made_len);
        if (made) {
                sodium_memzero(made, made_len);
                gsasl_free(made);
        }
        s->is_done = r == GSASL_OK;
        if (appended < 0)
                return -ENOMEM;
        return r == GSASL_OK || r == GSASL_NEEDS_MORE ? 0
               : r == GSASL_AUTHENTICATION_ERROR      ? -EACCES
                                                      : -EPROTO;
}

bool sasl_client_is_done(const struct sasl_client *s)
{
        return s->is_done;
}
