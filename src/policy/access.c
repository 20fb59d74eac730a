#include "policy/access.h"

#include <errno.h>

#include "config/table.h"
#include "message/address.h"
#include "route/route.h"

struct lookup {
        const struct snapshot *snapshot;
        enum access_about about;
        unsigned tagged, untagged; /* enum access_form: what there is to be found */
        struct span value;
        uint32_t line;
};

static const struct span tags[] = {
        [ACCESS_CONNECT] = SPAN("connect:"),
        [ACCESS_FROM] = SPAN("from:"),
        [ACCESS_TO] = SPAN("to:"),
};

static bool get(struct lookup *l, struct span tag, struct span a, struct span b)
{
        const struct span parts[] = {tag, a, b};
        char key[SNAPSHOT_KEY_MAX];
        size_t len = 0;

        for (size_t i = 0; i < 3; i++) {
                if (parts[i].len > sizeof key - len)
                        return false;
                if (parts[i].len)
                        memcpy(key + len, parts[i].p, parts[i].len);
                len += parts[i].len;
        }
        return snapshot_get(l->snapshot, SNAPSHOT_ACCESS, span_make(key, len), &l->value,
                            &l->line);
}

/* With the tag, then without, where there are keys of that form. */
static bool find(struct lookup *l, enum access_form form, struct span a, struct span b)
{
        return (l->tagged & form && get(l, tags[l->about], a, b)) ||
               (l->untagged & form && get(l, SPAN_LITERAL(""), a, b));
}

static bool has_forms(const struct lookup *l, unsigned forms)
{
        return (l->tagged | l->untagged) & forms;
}

static bool find_domain(struct lookup *l, struct span domain)
{
        const unsigned forms = ACCESS_FORM_DOMAIN | ACCESS_FORM_SUBDOMAINS;
        const struct span none = {NULL, 0};

        if (domain.len == 0 || domain.p[0] == '[' || !has_forms(l, forms))
                return false;
        if (find(l, ACCESS_FORM_DOMAIN, domain, none))
                return true;
        for (size_t i = 1; i + 1 < domain.len; i++)
                if (domain.p[i] == '.' &&
                    (find(l, ACCESS_FORM_SUBDOMAINS, span_skip(domain, i), none) ||
                     find(l, ACCESS_FORM_DOMAIN, span_skip(domain, i + 1), none)))
                        return true;
        return false;
}

/* ---- clients ---- */

static bool is_v4(const unsigned char address[16])
{
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

        return memcmp(address, mapped, sizeof mapped) == 0;
}

static bool is_loopback(const unsigned char address[16])
{
        static const unsigned char v6[16] = {[15] = 1};

        return is_v4(address) ? address[12] == 127 : memcmp(address, v6, sizeof v6) == 0;
}

/* Only prefixes that stand in the table are tried, the longest first. */
static bool find_network(struct lookup *l, const unsigned char address[16])
{
        const bool v4 = is_v4(address);
        const struct span key = v4 ? SPAN_LITERAL("4/") : SPAN_LITERAL("6/");
        struct span prefixes;
        char text[ACCESS_NETWORK_KEY_MAX];

        if (!has_forms(l, ACCESS_FORM_NETWORK) ||
            !snapshot_get(l->snapshot, SNAPSHOT_ACCESS, key, &prefixes, NULL))
                return false;
        for (size_t i = 0; i < prefixes.len; i++) {
                const unsigned prefix = (unsigned char) prefixes.p[i];

                if (prefix > (v4 ? 32u : 128u))
                        return false;
                if (find(l, ACCESS_FORM_NETWORK,
                         span_make(text, access_network_key(address, v4, prefix, text)),
                         (struct span) {NULL, 0}))
                        return true;
        }
        return false;
}

/* ---- what an entry says ---- */

static int set_origin(struct lookup *l, struct arena *arena, struct span *ret_origin)
{
        const struct span name = snapshot_source(l->snapshot, SNAPSHOT_ACCESS);
        char text[300];
        int len = snprintf(text, sizeof text, "%.*s:%u", (int) (name.len < 256 ? name.len : 256),
                           name.len ? name.p : "", l->line);

        *ret_origin = arena_copy(arena, span_make(text, len < 0 ? 0 : (size_t) len));
        return ret_origin->p ? 0 : -ENOMEM;
}

static int judge(struct lookup *l, struct arena *arena, struct access_judgement *ret)
{
        struct access_judgement j = {.letter = l->value.len ? l->value.p[0] : '\0'};
        struct verdict *v = &j.verdict;

        v->rule = SPAN_LITERAL("access");
        switch (j.letter) {
        case ACCESS_REJECT:
                v->code = 550;
                v->enhanced = SPAN_LITERAL("5.7.1");
                v->text = l->about == ACCESS_TO ? SPAN_LITERAL("Recipient refused")
                                                : SPAN_LITERAL("Access denied");
                break;
        case ACCESS_ERROR:
                if (!table_reply_split(span_skip(l->value, 1), &v->code, &v->enhanced, &v->text))
                        return -EBADMSG;
                break;
        case ACCESS_QUARANTINE:
                v->text = span_skip(l->value, 1);
                break;
        default:
                break;
        }
        *ret = j;
        return set_origin(l, arena, &ret->verdict.origin);
}

/* False: there is no entry at all. */
static bool begin(struct lookup *l, const struct snapshot *s, enum access_about about)
{
        struct span forms;

        *l = (struct lookup) {.snapshot = s, .about = about};
        if (!s || !snapshot_get(s, SNAPSHOT_ACCESS, SPAN_LITERAL("forms/"), &forms, NULL) ||
            forms.len != ACCESS_TAGS)
                return false;
        l->untagged = (unsigned char) forms.p[0];
        l->tagged = (unsigned char) forms.p[1 + about];
        return true;
}

int access_judge_client(const struct snapshot *s, const unsigned char address[16],
                        struct span client_name, struct arena *arena,
                        struct access_judgement *ret)
{
        struct lookup l;

        *ret = (struct access_judgement) {0};
        if (!begin(&l, s, ACCESS_CONNECT))
                return 0;
        if (client_name.len == 0 && is_loopback(address))
                client_name = SPAN_LITERAL("localhost");
        if (find_domain(&l, client_name) || find_network(&l, address))
                return judge(&l, arena, ret);
        return 0;
}

/* The address as a whole, then "user@"; both without "+detail" too, so that
 * nobody gets around an entry by one. */
static bool find_address(struct lookup *l, struct span local, struct span domain)
{
        const struct span at = SPAN("@");
        const size_t plus = span_find(local, '+');
        const struct span names[] = {local, span_first(local, plus)};
        const size_t count = plus != SIZE_MAX && plus > 0 ? 2 : 1;
        char tail[ROUTE_DOMAIN_ROOM + 1];

        if (domain.len > sizeof tail - 1)
                return false;
        tail[0] = '@';
        if (domain.len)
                memcpy(tail + 1, domain.p, domain.len);
        for (size_t i = 0; i < count; i++)
                if (find(l, ACCESS_FORM_ADDRESS, names[i], span_make(tail, domain.len + 1)))
                        return true;
        for (size_t i = 0; i < count; i++)
                if (find(l, ACCESS_FORM_USER, names[i], at))
                        return true;
        return false;
}

int access_judge_address(const struct snapshot *s, enum access_about about, struct span address,
                         struct arena *arena, struct access_judgement *ret)
{
        struct lookup l;
        struct address parsed;
        char domain[ROUTE_DOMAIN_ROOM];
        struct span canonical, local;
        size_t len;

        *ret = (struct access_judgement) {0};
        if (!begin(&l, s, about))
                return 0;
        if (address.len == 0)
                return find(&l, ACCESS_FORM_ADDRESS, SPAN_LITERAL("<>"), (struct span) {NULL, 0})
                               ? judge(&l, arena, ret) : 0;
        if (address.p[address.len - 1] == '.' && span_find(address, '@') != SIZE_MAX)
                address.len--; /* the root's dot changes nothing */
        if (address_parse(address, true, &parsed) < 0)
                return 0;
        canonical = address_canonical(&parsed, arena);
        if (!canonical.p)
                return -ENOMEM;
        local = parsed.domain.len ? span_first(canonical, span_find_last(canonical, '@'))
                                  : canonical;
        if (parsed.is_literal || !route_normalise_domain(parsed.domain, domain, &len))
                len = 0;
        if (find_address(&l, local, span_make(domain, len)) ||
            find_domain(&l, span_make(domain, len)))
                return judge(&l, arena, ret);
        return 0;
}
