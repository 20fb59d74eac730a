#include "store/store_history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "store/account.h"
#include "store/store_check.h"

/* Expunged messages go when there are too many octets of them. */
static const struct expunge_keep keep = {.age_us = (uint64_t) 86400 * 1000000, .octets = 8000};

enum { NAMES = 6, BODY_MAX = 6000, RUN_LIMIT = 1000, TEXT = 40 };

static const char *const box_names[NAMES] = {"INBOX", "A", "B", "A/x", "C", "C/y"};

/* One thing being done, to up to all parts. */
struct doing {
        struct history *history;
        unsigned part[HISTORY_PARTS];
        size_t count;
        struct store_batch *batches[HISTORY_PARTS];
};

static unsigned pick(struct history *h, unsigned n)
{
        h->random = h->random * 6364136223846793005ull + 1442695040888963407ull;
        return (unsigned) (h->random >> 33) % n;
}

static bool is_account(unsigned part)
{
        return part < HISTORY_ACCOUNTS;
}

static struct partition shard_of(unsigned part)
{
        struct partition p = {{PARTITION_QUEUE}};

        p.octets[1] = (unsigned char) part;
        return p;
}

static struct span name_of(unsigned part, char *out)
{
        return span_make(out, (size_t) snprintf(out, TEXT, "user%u@example.jp", part));
}

/* A body's octets follow from its id. */
static size_t body_len(uint64_t id)
{
        return id % 11 == 0 ? BODY_MAX : (size_t) (id * 977 % 1500 + 1);
}
static bool is_file(uint64_t id)
{
        return id % 11 == 0;
}
static char body_octet(uint64_t id, size_t at)
{
        return (char) ('a' + (id * 7 + at) % 26);
}

static struct span body_of(uint64_t id, char *out)
{
        const size_t len = body_len(id);

        for (size_t i = 0; i < len; i++)
                out[i] = body_octet(id, i);
        return span_make(out, len);
}

/* ---- versions ------------------------------------------------------------------ */

static void *need(void *p)
{
        if (!p)
                abort(); /* a test without memory has nothing to say */
        return p;
}

static size_t add_version(struct history *h, unsigned part)
{
        struct history_part *p = &h->parts[part];

        if (p->count == p->room) {
                p->room = p->room ? p->room * 2 : 64;
                p->versions = need(reallocarray(p->versions, p->room, sizeof p->versions[0]));
        }
        p->versions[p->count] = (struct history_version) {.begun_at = h->now(h->arg)};
        return p->count++;
}

static void begin_versions(struct doing *d)
{
        struct history *h = d->history;
        struct history_joint joint = {.count = d->count};

        for (size_t i = 0; i < d->count; i++) {
                joint.part[i] = d->part[i];
                joint.version[i] = add_version(h, d->part[i]);
        }
        if (d->count < 2)
                return;
        if (h->joint_count == h->joint_room) {
                h->joint_room = h->joint_room ? h->joint_room * 2 : 64;
                h->joints = need(reallocarray(h->joints, h->joint_room, sizeof joint));
        }
        h->joints[h->joint_count++] = joint;
}

static void end_versions(struct doing *d, int result)
{
        struct history *h = d->history;

        if (result < 0 && !h->why[0])
                snprintf(h->why, sizeof h->why, "a commit failed: %d", result);
        for (size_t i = 0; i < d->count; i++) {
                struct history_part *p = &h->parts[d->part[i]];

                p->versions[p->count - 1].acknowledged_at = h->now(h->arg);
        }
        h->under_way--;
        free(d);
}

static struct doing *doing_new(struct history *h)
{
        struct doing *d = need(calloc(1, sizeof *d));

        d->history = h;
        h->under_way++;
        return d;
}

static void committed(void *arg, int result)
{
        end_versions(arg, result);
}

static void changed(void *arg, int result, const struct account_changed *what)
{
        (void) what;
        end_versions(arg, result == -ENOENT ? 0 : result);
}

/* A trace in the first batch says which version of which part it was. */
static void commit(struct doing *d)
{
        struct history *h = d->history;
        char key_text[TEXT];
        const struct span key = {key_text, (size_t) snprintf(key_text, sizeof key_text, "%u-%zu",
                                                             d->part[0],
                                                             h->parts[d->part[0]].count)};

        store_trace(d->batches[0], &key, 1, key);
        begin_versions(d);
        store_commit(h->store, d->batches, d->count, 0, committed, d);
}

/* ---- what is done ---------------------------------------------------------------- */

static void put_body(struct history *h, struct store_batch *b, uint64_t id, unsigned references)
{
        char octets[BODY_MAX];
        const struct span body = body_of(id, octets);

        if (is_file(id) && h->write_file(h->arg, id, body))
                store_blob_adopt(b, id, references, SPAN_LITERAL("d"));
        else
                store_blob_put(b, id, references, SPAN_LITERAL("d"), &body, 1);
}

static void put_message(struct history *h, struct doing *d, unsigned part, uint64_t id)
{
        static const struct span keywords[] = {SPAN("$Forwarded"), SPAN("later")};
        struct account *a = h->accounts[part];
        char key[TEXT];
        struct delivery delivery = {
                .mailbox = span_from_string(box_names[pick(h, 3) ? 0 : pick(h, NAMES)]),
                .delivery_key = {key, (size_t) snprintf(key, sizeof key, "key%" PRIu64, id)},
                .entry = {.flags = pick(h, 4), .arrived_us = id * 1000, .blob_id = id,
                          .size = body_len(id)},
                .keywords = keywords, .keyword_count = pick(h, 3), .may_create = true,
        };
        struct store_batch *b = account_batch(a);
        uint32_t uid;

        if (account_deliver(a, &delivery, b, &uid) < 0)
                abort();
        d->part[d->count] = part;
        d->batches[d->count++] = b;
}

static void queue_key(uint64_t id, char out[9])
{
        out[0] = 'e';
        key_put_u64(out + 1, id);
}

static void put_queued(struct history *h, struct doing *d, unsigned part, uint64_t id)
{
        const struct partition shard = shard_of(part);
        struct store_batch *b = store_batch_new(h->store, &shard, STORE_ANY_SEQUENCE);
        struct history_part *p = &h->parts[part];
        char key[9], value[16];

        queue_key(id, key);
        key_put_u64(value, id);
        key_put_u64(value + 8, h->random);
        store_put_new(b, span_make(key, sizeof key), span_make(value, sizeof value));
        p->queued[p->queued_count++] = id;
        d->part[d->count] = part;
        d->batches[d->count++] = b;
}

/* A message to a mailbox, or to several places at once. */
static void deliver(struct history *h, unsigned part, bool is_wide)
{
        struct doing *d = doing_new(h);
        const uint64_t id = h->next_id++;
        const unsigned last = is_wide ? HISTORY_PARTS : part + 1;

        for (unsigned i = part; i < last && d->count < 4; i++) {
                if (is_account(i))
                        put_message(h, d, i, id);
                else if (h->parts[i].queued_count < HISTORY_QUEUED_MAX)
                        put_queued(h, d, i, id);
        }
        put_body(h, d->batches[0], id, (unsigned) d->count);
        commit(d);
}

static void change_messages(struct history *h, unsigned part)
{
        struct account *a = h->accounts[part];
        struct mailbox_status boxes[32];
        const size_t count = account_mailboxes(a, boxes, 32);
        const struct mailbox_status *b, *to;
        const struct span keyword = SPAN("seen by me");
        struct uid_range range;
        struct account_change change;
        struct doing *d;

        if (!count || count > 32) {
                deliver(h, part, false);
                return;
        }
        b = &boxes[pick(h, (unsigned) count)];
        to = &boxes[pick(h, (unsigned) count)];
        range.first = 1 + pick(h, b->uid_next);
        range.last = range.first + pick(h, 6);
        change = (struct account_change) {
                .kind = (enum account_change_kind) pick(h, 5), .mailbox_id = b->mailbox_id,
                .uids = &range, .uid_count = 1, .mode = (enum account_flags_mode) pick(h, 3),
                .flags = 1 << pick(h, 5), .keywords = &keyword, .keyword_count = pick(h, 2),
                .only_deleted = pick(h, 2), .to = to->name,
        };
        if (change.kind == ACCOUNT_UNDELETE)
                range.first = 1;
        d = doing_new(h);
        d->part[0] = part;
        d->count = 1;
        begin_versions(d);
        account_change(a, &change, changed, d);
}

static void change_mailboxes(struct history *h, unsigned part)
{
        struct account *a = h->accounts[part];
        struct doing *d = doing_new(h);
        struct store_batch *b = account_batch(a);
        const struct span name = span_from_string(box_names[pick(h, NAMES)]);
        const struct span other = span_from_string(box_names[pick(h, NAMES)]);

        switch (pick(h, 4)) {
        case 0:
                account_create_mailbox(a, name, b);
                break;
        case 1:
                account_delete_mailbox(a, name, b);
                break;
        case 2:
                account_subscribe(a, name, pick(h, 2), b);
                break;
        default:
                account_rename_mailbox(a, name, other, b);
        }
        d->part[0] = part;
        d->batches[0] = b;
        d->count = 1;
        commit(d);
}

static void change_queue(struct history *h, unsigned part)
{
        const struct partition shard = shard_of(part);
        struct history_part *p = &h->parts[part];
        struct store_batch *b;
        struct doing *d;
        char key[9], value[16];
        unsigned at;

        if (p->queued_count < HISTORY_QUEUED_MAX / 2 || !pick(h, 3)) {
                if (p->queued_count < HISTORY_QUEUED_MAX) {
                        deliver(h, part, false);
                        return;
                }
        }
        at = pick(h, (unsigned) p->queued_count);
        d = doing_new(h);
        b = store_batch_new(h->store, &shard, STORE_ANY_SEQUENCE);
        queue_key(p->queued[at], key);
        key_put_u64(value, p->queued[at]);
        key_put_u64(value + 8, h->random);
        if (pick(h, 4)) {
                store_delete(b, span_make(key, sizeof key));
                store_blob_reference(b, p->queued[at], -1);
                p->queued[at] = p->queued[--p->queued_count];
        } else {
                store_put(b, span_make(key, sizeof key), span_make(value, sizeof value));
        }
        d->part[0] = part;
        d->batches[0] = b;
        d->count = 1;
        commit(d);
}

static void act(struct history *h, unsigned part)
{
        const unsigned what = pick(h, 10);

        if (!is_account(part))
                change_queue(h, part);
        else if (what < 5)
                deliver(h, part, false);
        else if (what < 9)
                change_messages(h, part);
        else
                change_mailboxes(h, part);
}

/* ---- digests --------------------------------------------------------------------- */

struct look {
        struct history *history;
        struct store *store;
        bool is_done, has_more, checks_bodies;
        int result;
        uint64_t digest, number;
        uint32_t next_uid;
        uint64_t *bodies; /* that were seen */
        size_t body_count, body_room;
        struct account *account;
        struct kept_place kept_behind;
        uint64_t body_id;
};

static void wait_for(struct look *l)
{
        while (!l->is_done)
                loop_run_once(l->history->loop, 1000);
        l->is_done = false;
}

static void see_body(struct look *l, uint64_t id)
{
        if (l->body_count == l->body_room) {
                l->body_room = l->body_room ? l->body_room * 2 : 64;
                l->bodies = need(reallocarray(l->bodies, l->body_room, sizeof(uint64_t)));
        }
        l->bodies[l->body_count++] = id;
}

static void got_messages(void *arg, int result, const struct message_entry *entries, size_t count,
                         bool has_more)
{
        struct look *l = arg;

        for (size_t i = 0; i < count; i++) {
                const struct message_entry *e = &entries[i];
                const uint64_t fields[] = {e->uid, e->flags, e->modseq, e->arrived_us, e->saved_us,
                                           e->blob_id, e->size, e->keywords};

                l->digest = hash_span(span_make((const char *) fields, sizeof fields), l->digest);
                l->next_uid = e->uid + 1;
                see_body(l, e->blob_id);
        }
        l->result = result;
        l->has_more = has_more;
        l->is_done = true;
}

static uint64_t digest_of_box(struct look *l, const struct mailbox_status *b)
{
        struct span keywords[MAILBOX_KEYWORDS_MAX];
        const unsigned keyword_count = account_keywords(l->account, b->mailbox_id, keywords);
        const uint64_t fields[] = {b->mailbox_id, b->uid_validity, b->uid_next, b->message_count,
                                   b->unseen_count, b->highest_modseq, b->size, b->special_use};

        l->digest = hash_span(b->name, 1);
        l->digest = hash_span(span_make((const char *) fields, sizeof fields), l->digest);
        for (unsigned i = 0; i < keyword_count; i++)
                l->digest = hash_span(keywords[i], l->digest);
        l->next_uid = 1;
        do {
                account_list(l->account, b->mailbox_id, l->next_uid, RUN_LIMIT, got_messages, l);
                wait_for(l);
        } while (l->result == 0 && l->has_more);
        return l->digest;
}

static void got_kept(void *arg, int result, const struct kept_messages *list, size_t count,
                     const struct kept_place *last, bool has_more)
{
        struct look *l = arg;

        for (size_t i = 0; i < count; i++) {
                const uint64_t fields[] = {list[i].mailbox_id, list[i].expunged_us, list[i].count};

                l->digest = hash_span(list[i].name, l->digest);
                l->digest = hash_span(span_make((const char *) fields, sizeof fields), l->digest);
                for (size_t k = 0; k < list[i].count; k++)
                        see_body(l, list[i].entries[k].blob_id);
        }
        if (count)
                l->kept_behind = *last;
        l->result = result;
        l->has_more = has_more;
        l->is_done = true;
}

static uint64_t digest_of_kept(struct look *l)
{
        l->digest = 1;
        l->kept_behind = (struct kept_place) {0};
        do {
                account_list_kept(l->account, &l->kept_behind, got_kept, l);
                wait_for(l);
        } while (l->result == 0 && l->has_more);
        return l->digest;
}

static void got_account(void *arg, int result, struct account *a)
{
        struct look *l = arg;

        l->account = a;
        l->result = result;
        l->is_done = true;
}

static void got_sequence(void *arg, int result, struct span value, uint64_t sequence)
{
        struct look *l = arg;

        (void) result;
        (void) value;
        l->number = sequence;
        l->is_done = true;
}

static void got_queue(void *arg, int result, const struct store_entry *entries, size_t count,
                      bool has_more)
{
        struct look *l = arg;

        for (size_t i = 0; i < count; i++) {
                l->digest = hash_span(entries[i].value, hash_span(entries[i].key, l->digest));
                see_body(l, key_get_u64(entries[i].key.p + 1));
        }
        l->result = has_more ? -E2BIG : result;
        l->is_done = true;
}

static uint64_t digest_of_account(struct look *l, struct mailboxes *m, unsigned part)
{
        struct mailbox_status boxes[32];
        struct span subscribed[32];
        char name[TEXT];
        uint64_t sum = 0;
        size_t count;

        account_open(m, name_of(part, name), got_account, l);
        wait_for(l);
        if (l->result < 0)
                return 0;
        count = account_mailboxes(l->account, boxes, 32);
        for (size_t i = 0; i < count && i < 32; i++)
                sum += digest_of_box(l, &boxes[i]); /* in any order */
        count = account_subscriptions(l->account, subscribed, 32);
        for (size_t i = 0; i < count && i < 32; i++)
                sum += hash_span(subscribed[i], 7);
        sum += digest_of_kept(l);
        account_release(l->account);
        return sum;
}

/* What a part is now, its sequence included: so no two versions are alike. */
static uint64_t digest_of_part(struct look *l, struct mailboxes *m, unsigned part)
{
        struct partition p = shard_of(part);
        struct store_range all = {.from = SPAN("e"), .to = SPAN("f"), .limit = 1000};
        char name[TEXT];
        uint64_t digest;

        if (is_account(part)) {
                p = partition_of(PARTITION_ACCOUNT, name_of(part, name));
                digest = digest_of_account(l, m, part);
        } else {
                l->digest = 1;
                store_scan(l->store, &p, &all, got_queue, l);
                wait_for(l);
                digest = l->digest;
        }
        store_get(l->store, &p, SPAN_LITERAL("h"), got_sequence, l);
        wait_for(l);
        return hash_span(span_make((const char *) &l->number, sizeof l->number), digest);
}

static void take_digests(struct history *h)
{
        struct look l = {.history = h, .store = h->store};

        for (unsigned i = 0; i < HISTORY_PARTS; i++) {
                struct history_part *p = &h->parts[i];

                if (!p->versions[p->count - 1].digest)
                        p->versions[p->count - 1].digest = digest_of_part(&l, h->mailboxes, i);
        }
        free(l.bodies);
}

/* ---- the history ------------------------------------------------------------------ */

static void opened(void *arg, int result, struct account *a)
{
        struct account **at = arg;

        *at = result < 0 ? NULL : a;
}

void history_begin(struct history *h, uint64_t seed)
{
        char name[TEXT];

        h->random = seed;
        h->next_id = 1;
        if (mailboxes_new(h->store, &h->mailboxes) < 0)
                abort();
        mailboxes_keep_expunged(h->mailboxes, &keep);
        for (unsigned i = 0; i < HISTORY_PARTS; i++)
                add_version(h, i);
        for (unsigned i = 0; i < HISTORY_ACCOUNTS; i++) {
                account_open(h->mailboxes, name_of(i, name), opened, &h->accounts[i]);
                while (!h->accounts[i])
                        loop_run_once(h->loop, 1000);
        }
        take_digests(h);
}

bool history_step(struct history *h)
{
        if (pick(h, 6) == 0) {
                deliver(h, pick(h, HISTORY_ACCOUNTS), true);
        } else {
                const unsigned first = pick(h, HISTORY_PARTS); /* groups of any streams */

                for (unsigned i = 0; i < HISTORY_PARTS; i++)
                        if (pick(h, 4))
                                act(h, (first + i) % HISTORY_PARTS);
        }
        while (h->under_way)
                loop_run_once(h->loop, 1000);
        if (!h->why[0])
                take_digests(h);
        return !h->why[0];
}

void history_end(struct history *h)
{
        for (unsigned i = 0; i < HISTORY_ACCOUNTS; i++)
                account_release(h->accounts[i]);
        h->mailboxes = mailboxes_free(h->mailboxes);
}

void history_done(struct history *h)
{
        for (unsigned i = 0; i < HISTORY_PARTS; i++)
                free(h->parts[i].versions);
        free(h->joints);
}

/* ---- what must be left ------------------------------------------------------------- */

static bool wrong(struct history *h, const char *what, unsigned part, size_t number)
{
        snprintf(h->why, sizeof h->why, "part %u: %s (%zu)", part, what, number);
        return false;
}

static void got_body(void *arg, int result, struct span octets, uint64_t size)
{
        struct look *l = arg;

        l->result = result;
        if (result == 0 && (size != body_len(l->body_id) || octets.len != size))
                l->result = -EBADMSG;
        for (size_t i = 0; i < octets.len && l->result == 0; i++)
                if (octets.p[i] != body_octet(l->body_id, i))
                        l->result = -EBADMSG;
        l->is_done = true;
}

static bool bodies_are_right(struct history *h, struct look *l, unsigned part)
{
        for (size_t i = 0; i < l->body_count; i++) {
                l->body_id = l->bodies[i];
                store_blob_read(l->store, l->body_id, 0, BODY_MAX, got_body, l);
                wait_for(l);
                if (l->result < 0)
                        return wrong(h, "a body is missing or wrong", part, (size_t) l->body_id);
        }
        return true;
}

/* The newest version that it can be. */
static bool version_is_right(struct history *h, unsigned part, uint64_t digest, size_t cut,
                             size_t *ret_version)
{
        const struct history_part *p = &h->parts[part];
        size_t acknowledged = 0, version = SIZE_MAX;

        for (size_t v = 0; v < p->count && (v == 0 || p->versions[v].begun_at < cut); v++) {
                if (p->versions[v].acknowledged_at && p->versions[v].acknowledged_at <= cut)
                        acknowledged = v;
                if (p->versions[v].digest == digest)
                        version = v;
        }
        if (version == SIZE_MAX)
                return wrong(h, "it is no version that was begun; acknowledged", part,
                             acknowledged);
        if (version < acknowledged)
                return wrong(h, "what was acknowledged is lost; left", part, version);
        *ret_version = version;
        return true;
}

static bool joints_are_right(struct history *h, const size_t versions[HISTORY_PARTS])
{
        for (size_t i = 0; i < h->joint_count; i++) {
                const struct history_joint *j = &h->joints[i];
                const bool is_there = versions[j->part[0]] >= j->version[0];

                for (size_t k = 1; k < j->count; k++)
                        if ((versions[j->part[k]] >= j->version[k]) != is_there)
                                return wrong(h, "half of a commit is there", j->part[k],
                                             j->version[k]);
        }
        return true;
}

static int decode_queued(void *arg, struct span key, struct span value, uint64_t *ret_blob_id)
{
        (void) arg;
        (void) key;
        *ret_blob_id = value.len == 16 ? key_get_u64(value.p) : 0;
        return value.len == 16 ? 0 : -EBADMSG;
}

static void note_fault(void *arg, const char *text)
{
        struct history *h = arg;

        snprintf(h->why, sizeof h->why, "check --store: %.400s", text);
}

bool history_check(struct history *h, struct store *s, size_t cut)
{
        struct store_check check = {.fault = note_fault, .queue_entry = decode_queued, .arg = h};
        struct look l = {.history = h, .store = s};
        size_t versions[HISTORY_PARTS];
        bool is_good = true;

        h->why[0] = '\0';
        if (mailboxes_new(s, &h->looked_at) < 0)
                abort();
        mailboxes_keep_expunged(h->looked_at, &keep);
        for (unsigned i = 0; i < HISTORY_PARTS && is_good; i++) {
                const uint64_t digest = digest_of_part(&l, h->looked_at, i);

                is_good = version_is_right(h, i, digest, cut, &versions[i]) &&
                          bodies_are_right(h, &l, i);
                l.body_count = 0;
        }
        free(l.bodies);
        if (!is_good || !joints_are_right(h, versions))
                return false;
        return store_check_opened(s, &check) == 0 && check.faults == 0;
}

void history_checked(struct history *h)
{
        h->looked_at = mailboxes_free(h->looked_at);
}
