/* Changes of messages that are there.
 *
 *   queued --first of `changes`, all batches made are visible--> RUNS
 *   RUNS --page by page--> SINGLES --page by page--> done once all is durable
 *
 * A page is read, changed in memory and put as one batch; the next page is read
 * while that one becomes durable: they have no key in common. What comes in
 * meanwhile lies behind `uid_end` and is left alone; chores wait. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/codec.h"
#include "store/account.h"

enum {
        RUNS_A_PAGE = 16,
        KEPT_A_PAGE = 16,
        RUN_AT_ONCE = 128, /* copies that are enough for a run of their own */
        KEPT_MAX = 64 * 1024 * 1024,
};

struct range_list {
        struct uid_range *items;
        size_t count, room;
};

struct change {
        struct list_node node; /* of the account */
        struct account *account;
        struct account_settling settling;
        struct account_change asked; /* spans point into `octets` */
        char *octets;
        uint32_t uid, uid_end; /* from where to read; the first that is left alone */
        size_t at;             /* the first range that may still match */
        char run_from[ACCOUNT_KEY_MAX + 1];
        size_t run_from_len;
        struct range_list source, uids;
        unsigned commits; /* under way, and one while reading */
        int result;
        account_change_fn *done;
        void *arg;
};

/* The batch of one page. */
struct page {
        struct change *change;
        struct mailbox *box, *to;
        struct store_batch *batch; /* NULL: nothing is changed so far */
        uint32_t keywords;         /* FLAGS: of `asked` */
        bool has_keywords;
        struct buffer run; /* the run that was read last, and what joined it */
        struct span run_key;
        bool is_run_changed;
        struct buffer copies; /* encoded entries */
        uint32_t copies_first;
        size_t copy_count;
        struct kept_page kept; /* EXPUNGE */
        struct range_list gone;
        uint64_t gone_modseq; /* of all that go in this page; 0: none */
        int result;
};

/* ---- what was done ----------------------------------------------------------- */

static int add_uid(struct range_list *l, uint32_t uid)
{
        if (l->count && l->items[l->count - 1].last + 1 == uid) {
                l->items[l->count - 1].last = uid;
                return 0;
        }
        if (l->count == l->room) {
                const size_t room = l->room ? l->room * 2 : 4;
                struct uid_range *grown = realloc(l->items, room * sizeof(struct uid_range));

                if (!grown)
                        return -ENOMEM;
                l->items = grown;
                l->room = room;
        }
        l->items[l->count++] = (struct uid_range) {uid, uid};
        return 0;
}

static void start_first(struct account *a);

static void finish(struct change *c)
{
        struct account *a = c->account;
        const struct mailbox *to = NULL;
        struct account_changed changed = {
                .source = c->source.items, .source_count = c->source.count,
                .uids = c->uids.items, .uid_count = c->uids.count,
        };

        if (c->result == 0 && c->asked.to.len)
                to = account_find_name(a, c->asked.to);
        if (to)
                changed.uid_validity = to->uid_validity;
        list_remove(&c->node);
        start_first(a);
        c->done(c->arg, c->result, &changed);
        if (list_is_empty(&a->changes))
                account_look_for_chores(a, NULL);
        free(c->source.items);
        free(c->uids.items);
        free(c->octets);
        free(c);
        account_release(a);
}

static void leave(struct change *c)
{
        if (--c->commits == 0)
                finish(c);
}

static void was_committed(void *arg, int result)
{
        struct change *c = arg;

        if (result < 0 && c->result == 0)
                c->result = result;
        leave(c);
}

/* ---- one entry ---------------------------------------------------------------- */

/* Entries come in order, so the ranges are walked once. */
static bool is_asked_for(struct change *c, uint32_t uid)
{
        while (c->at < c->asked.uid_count && c->asked.uids[c->at].last < uid)
                c->at++;
        return c->at < c->asked.uid_count && c->asked.uids[c->at].first <= uid && uid < c->uid_end;
}

static struct store_batch *batch_of(struct page *p)
{
        if (!p->batch && p->result == 0) {
                p->batch = account_batch(p->change->account);
                if (!p->batch)
                        p->result = -ENOMEM;
        }
        return p->batch;
}

static void recount(struct mailbox *b, const struct message_entry *e, uint32_t flags)
{
        b->unseen_count += !(flags & MESSAGE_SEEN);
        b->unseen_count -= !(e->flags & MESSAGE_SEEN);
        b->deleted_count += !!(flags & MESSAGE_DELETED);
        b->deleted_count -= !!(e->flags & MESSAGE_DELETED);
}

/* Returns whether the entry is another one now. */
static bool set_flags(struct page *p, struct message_entry *e)
{
        struct change *c = p->change;
        uint32_t flags = c->asked.flags, keywords;

        if (c->asked.has_unchanged_since && e->modseq > c->asked.unchanged_since) {
                p->result = add_uid(&c->uids, e->uid);
                return false;
        }
        if (!p->has_keywords && c->asked.keyword_count) {
                if (!batch_of(p))
                        return false;
                p->result = account_keyword_bits(p->box, c->asked.keywords,
                                                 c->asked.keyword_count, p->batch, &p->keywords);
                if (p->result < 0)
                        return false;
        }
        p->has_keywords = true;
        keywords = p->keywords;
        if (c->asked.mode == ACCOUNT_FLAGS_ADD) {
                flags |= e->flags;
                keywords |= e->keywords;
        } else if (c->asked.mode == ACCOUNT_FLAGS_REMOVE) {
                flags = e->flags & ~flags;
                keywords = e->keywords & ~keywords;
        }
        if ((flags == e->flags && keywords == e->keywords) || !batch_of(p))
                return false;
        recount(p->box, e, flags);
        e->flags = flags;
        e->keywords = keywords;
        e->modseq = ++p->box->highest_modseq;
        account_note_entry(c->account, p->box, e, false);
        return true;
}

static void copy(struct page *p, const struct message_entry *e)
{
        struct change *c = p->change;
        struct message_entry made = *e;
        char octets[ACCOUNT_ENTRY_OCTETS];

        if (!batch_of(p))
                return;
        if (p->to->uid_next == UINT32_MAX) {
                p->result = -EDQUOT;
                return;
        }
        made.modseq = ++p->to->highest_modseq;
        made.saved_us = clock_now_us();
        made.keywords = account_translate_keywords(p->to, p->box, e->keywords, p->batch);
        account_count_new(p->to, &made);
        if (p->copy_count++ == 0)
                p->copies_first = made.uid;
        account_encode_entry(&made, octets);
        p->result = buffer_append(&p->copies, octets, sizeof octets);
        if (p->result == 0)
                p->result = add_uid(&c->source, e->uid);
        if (p->result == 0)
                p->result = add_uid(&c->uids, made.uid);
        if (c->asked.kind == ACCOUNT_COPY && e->blob_id)
                store_blob_reference(p->batch, e->blob_id, 1);
        account_note_entry(c->account, p->to, &made, false);
}

/* Returns whether the entry is gone. */
static bool remove_entry(struct page *p, const struct message_entry *e)
{
        struct change *c = p->change;
        struct mailbox *b = p->box;

        if (c->asked.kind == ACCOUNT_EXPUNGE) {
                if (c->asked.only_deleted && !(e->flags & MESSAGE_DELETED))
                        return false;
                p->result = add_uid(&c->uids, e->uid);
        }
        if (!batch_of(p))
                return false;
        if (c->asked.kind == ACCOUNT_EXPUNGE && p->result == 0)
                p->result = account_keep(c->account, &p->kept, e, p->batch);
        if (!p->gone_modseq) /* RFC 7162 section 3.2.4: going is a change, too */
                p->gone_modseq = ++b->highest_modseq;
        if (p->result == 0)
                p->result = add_uid(&p->gone, e->uid);
        b->message_count--;
        b->unseen_count -= !(e->flags & MESSAGE_SEEN);
        b->deleted_count -= !!(e->flags & MESSAGE_DELETED);
        b->size -= e->size;
        account_note_entry(c->account, b, e, true);
        return true;
}

enum fate { KEPT, CHANGED, GONE };

static enum fate treat(struct page *p, struct message_entry *e)
{
        struct change *c = p->change;

        if (p->result < 0 || !is_asked_for(c, e->uid))
                return KEPT;
        if (c->asked.kind == ACCOUNT_FLAGS)
                return set_flags(p, e) ? CHANGED : KEPT;
        if (c->asked.kind == ACCOUNT_COPY || c->asked.kind == ACCOUNT_MOVE)
                copy(p, e);
        if (c->asked.kind == ACCOUNT_COPY || p->result < 0)
                return KEPT;
        return remove_entry(p, e) ? GONE : KEPT;
}

/* ---- pages -------------------------------------------------------------------- */

static void put_run(struct page *p)
{
        if (!p->is_run_changed || p->result < 0)
                return;
        if (p->run.len)
                store_put(p->batch, p->run_key, buffer_span(&p->run));
        else
                store_delete(p->batch, p->run_key);
}

/* Runs that expunges have made small join the one before, where one of the two
 * is written anyway; else a mailbox whose old mail goes would stay in pieces. */
static void take_run(struct page *p, struct span key, const struct buffer *kept, bool is_changed)
{
        const bool fits = p->run_key.len && kept->len && p->run.len + kept->len <= p->run.size_max;

        if (fits && p->batch && (is_changed || p->is_run_changed)) {
                p->is_run_changed = true;
                store_delete(p->batch, key);
        } else {
                put_run(p);
                buffer_clear(&p->run);
                p->run_key = key;
                p->is_run_changed = is_changed;
        }
        if (p->result == 0)
                p->result = buffer_append_span(&p->run, buffer_span(kept));
}

static void treat_run(struct page *p, const struct store_entry *entry)
{
        struct reader r = READER(entry->value);
        struct buffer kept = BUFFER_INIT(ACCOUNT_RUN * ACCOUNT_ENTRY_OCTETS);
        char octets[ACCOUNT_ENTRY_OCTETS];
        struct message_entry e;
        bool is_changed = false;

        if (entry->value.len > ACCOUNT_RUN * ACCOUNT_ENTRY_OCTETS)
                p->result = -EBADMSG;
        while (p->result == 0 && r.rest.len) {
                p->result = account_decode_entry(&r, &e);
                if (p->result == 0) {
                        const enum fate fate = treat(p, &e);

                        is_changed = is_changed || fate != KEPT;
                        account_encode_entry(&e, octets);
                        if (fate != GONE && p->result == 0)
                                p->result = buffer_append(&kept, octets, sizeof octets);
                }
        }
        if (p->result == 0)
                take_run(p, entry->key, &kept, is_changed);
        buffer_done(&kept);
}

static void treat_single(struct page *p, const struct store_entry *entry)
{
        struct reader r = READER(entry->value);
        char octets[ACCOUNT_ENTRY_OCTETS];
        struct message_entry e;

        p->result = account_decode_entry(&r, &e);
        if (p->result < 0)
                return;
        switch (treat(p, &e)) {
        case KEPT:
                break;
        case CHANGED:
                account_encode_entry(&e, octets);
                store_put(p->batch, entry->key, span_make(octets, sizeof octets));
                break;
        case GONE:
                p->box->single_count--;
                store_delete(p->batch, entry->key);
                break;
        }
}

/* Copies lie behind everything in their mailbox: as a run, where no single
 * entry stands before them. */
static void put_copies(struct page *p)
{
        const struct span all = buffer_span(&p->copies);
        char key[ACCOUNT_KEY_MAX];
        uint32_t uid = p->copies_first;
        size_t run = 0;

        if (p->to->single_count == 0 && p->copy_count >= RUN_AT_ONCE)
                run = ACCOUNT_RUN;
        for (size_t done = 0; done < p->copy_count;) {
                const size_t left = p->copy_count - done;
                const size_t n = run ? (left < run ? left : run) : 1;

                store_put_new(p->batch, account_key_uid(key, run ? 'r' : 'e', p->to->id, uid),
                              span_make(all.p + done * ACCOUNT_ENTRY_OCTETS,
                                        n * ACCOUNT_ENTRY_OCTETS));
                if (!run)
                        p->to->single_count++;
                done += n;
                uid += (uint32_t) n;
        }
        account_put_box(p->change->account, p->to, p->batch);
}

/* The page's batch goes. False: there is no going on. */
static bool commit_page(struct page *p)
{
        struct change *c = p->change;
        struct store *store = c->account->mailboxes->store;

        if (p->result == 0 && p->copy_count)
                put_copies(p);
        account_keep_end(c->account, &p->kept, p->result == 0 ? p->batch : NULL);
        if (p->result == 0 && p->gone_modseq)
                account_put_gone(p->box, p->gone_modseq, p->gone.items, p->gone.count, p->batch);
        free(p->gone.items);
        buffer_done(&p->copies);
        buffer_done(&p->run);
        if (p->result == 0 && p->batch && c->asked.kind != ACCOUNT_COPY)
                account_put_box(c->account, p->box, p->batch);
        if (p->result == 0 && p->batch) {
                c->commits++;
                store_commit(store, &p->batch, 1, 0, was_committed, c);
                return !c->account->is_forgotten;
        }
        if (p->result < 0) {
                c->result = p->result;
                if (p->batch) {
                        /* What it did to the account's state never happens. */
                        account_leave_cache(c->account);
                        store_batch_free(p->batch);
                }
                return false;
        }
        return true;
}

static bool page_begin(struct page *p, struct change *c, int result)
{
        struct account *a = c->account;

        *p = (struct page) {.change = c, .result = result, .copies = BUFFER_INIT(KEPT_MAX),
                            .run = BUFFER_INIT(ACCOUNT_RUN * ACCOUNT_ENTRY_OCTETS)};
        if (result == 0 && a->is_forgotten)
                result = -ESTALE;
        if (c->asked.to.len)
                p->to = account_find_name(a, c->asked.to);
        p->box = c->asked.kind == ACCOUNT_UNDELETE ? p->to
                                                   : account_find_id(a, c->asked.mailbox_id);
        if (p->box)
                account_keep_begin(&p->kept, p->box->id, span_make(p->box->name,
                                                                   p->box->name_len));
        if (result == 0 && (!p->box || (c->asked.to.len && !p->to)))
                result = -ENOENT;
        if (result < 0)
                c->result = result;
        return result == 0;
}

static void read_singles(struct change *c);

static void got_singles(void *arg, int result, const struct store_entry *entries, size_t count,
                        bool has_more)
{
        struct change *c = arg;
        struct page p;

        if (page_begin(&p, c, result)) {
                for (size_t i = 0; i < count && p.result == 0; i++) {
                        if (entries[i].key.len == 13)
                                c->uid = key_get_u32(entries[i].key.p + 9) + 1;
                        treat_single(&p, &entries[i]);
                }
                if (commit_page(&p) && has_more && count) {
                        read_singles(c);
                        return;
                }
        }
        leave(c);
}

static void read_singles(struct change *c)
{
        struct account *a = c->account;
        char from[ACCOUNT_KEY_MAX], to[ACCOUNT_KEY_MAX];

        store_scan(a->mailboxes->store, &a->partition,
                   &(struct store_range) {
                           .from = account_key_uid(from, 'e', c->asked.mailbox_id,
                                                   account_singles_from(a, c->asked.mailbox_id,
                                                                        c->uid)),
                           .to = account_key_uid(to, 'e', c->asked.mailbox_id, c->uid_end),
                           .limit = STORE_SCAN_MAX},
                   got_singles, c);
}

static void read_runs(struct change *c);

static void got_runs(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct change *c = arg;
        struct page p;

        if (!page_begin(&p, c, result)) {
                leave(c);
                return;
        }
        for (size_t i = 0; i < count && p.result == 0; i++)
                treat_run(&p, &entries[i]);
        put_run(&p);
        if (count && entries[count - 1].key.len < sizeof c->run_from) {
                c->run_from_len = entries[count - 1].key.len;
                memcpy(c->run_from, entries[count - 1].key.p, c->run_from_len);
                c->run_from[c->run_from_len++] = '\0'; /* the least key behind it */
        }
        if (!commit_page(&p))
                leave(c);
        else if (has_more && count)
                read_runs(c);
        else
                read_singles(c);
}

static void read_runs(struct change *c)
{
        struct account *a = c->account;
        char to[ACCOUNT_KEY_MAX];

        store_scan(a->mailboxes->store, &a->partition,
                   &(struct store_range) {
                           .from = span_make(c->run_from, c->run_from_len),
                           .to = account_key_uid(to, 'r', c->asked.mailbox_id, c->uid_end),
                           .limit = RUNS_A_PAGE},
                   got_runs, c);
}

/* The run that holds the first UID, if any, begins at or before it. */
static void got_first_run(void *arg, int result, const struct store_entry *entries, size_t count,
                          bool has_more)
{
        struct change *c = arg;

        (void) has_more;
        if (result < 0) {
                c->result = result;
                leave(c);
                return;
        }
        if (count && entries[0].key.len <= ACCOUNT_KEY_MAX) {
                c->run_from_len = entries[0].key.len;
                memcpy(c->run_from, entries[0].key.p, c->run_from_len);
        } else {
                c->run_from_len = account_key_uid(c->run_from, 'r', c->asked.mailbox_id,
                                                  c->uid).len;
        }
        read_runs(c);
}

/* ---- expunged messages come back --------------------------------------------- */

/* Keywords are known by the table of the mailbox they were in. */
static void bring_back(struct page *p, struct message_entry *e)
{
        struct account *a = p->change->account;
        const struct mailbox *was_in = account_find_id(a, p->change->asked.mailbox_id);
        const uint32_t flags = e->flags & ~(uint32_t) MESSAGE_DELETED;

        if (!was_in)
                e->keywords = 0;
        p->box = was_in ? account_find_id(a, was_in->id) : p->to;
        e->flags = flags;
        copy(p, e);
        p->box = p->to;
        a->kept_count--;
        a->kept_size -= e->size;
}

static void treat_kept(struct page *p, const struct store_entry *entry)
{
        struct change *c = p->change;
        struct buffer rest = BUFFER_INIT(STORE_VALUE_MAX);
        char octets[ACCOUNT_ENTRY_OCTETS];
        struct message_entry e;
        struct kept_key key;
        struct span name;
        struct reader r;
        size_t back = 0;

        p->result = account_kept_decode(entry, &key, &name, &r);
        if (p->result == 0)
                p->result = buffer_append(&rest, entry->value.p, 1 + name.len);
        c->at = 0;
        while (p->result == 0 && r.rest.len && key.mailbox_id == c->asked.mailbox_id) {
                p->result = account_decode_entry(&r, &e);
                if (p->result == 0 && is_asked_for(c, e.uid)) {
                        bring_back(p, &e);
                        back++;
                } else if (p->result == 0) {
                        account_encode_entry(&e, octets);
                        p->result = buffer_append(&rest, octets, sizeof octets);
                }
        }
        if (p->result == 0 && back && rest.len > 1 + name.len)
                store_put(p->batch, entry->key, buffer_span(&rest));
        else if (p->result == 0 && back)
                store_delete(p->batch, entry->key);
        buffer_done(&rest);
}

static void read_kept(struct change *c);

static void got_kept(void *arg, int result, const struct store_entry *entries, size_t count,
                     bool has_more)
{
        struct change *c = arg;
        struct page p;

        if (page_begin(&p, c, result)) {
                for (size_t i = 0; i < count && p.result == 0; i++) {
                        treat_kept(&p, &entries[i]);
                        c->run_from_len = entries[i].key.len;
                        memcpy(c->run_from, entries[i].key.p, c->run_from_len);
                        c->run_from[c->run_from_len++] = '\0'; /* behind it */
                }
                if (p.result == 0 && p.batch)
                        account_put_kept(c->account, p.batch);
                if (commit_page(&p) && has_more && count) {
                        read_kept(c);
                        return;
                }
        }
        leave(c);
}

static void read_kept(struct change *c)
{
        const struct account *a = c->account;
        const struct store_range range = {span_make(c->run_from, c->run_from_len), SPAN("u"),
                                          KEPT_A_PAGE, false};

        store_scan(a->mailboxes->store, &a->partition, &range, got_kept, c);
}

static void settled(struct account_settling *s)
{
        struct change *c = (struct change *) (void *) ((char *) s - offsetof(struct change,
                                                                             settling));
        struct account *a = c->account;
        const struct mailbox *b = account_find_id(a, c->asked.mailbox_id);
        const struct uid_range *last = c->asked.uids + c->asked.uid_count - 1;
        char from[ACCOUNT_KEY_MAX], to[ACCOUNT_KEY_MAX];

        if (a->is_forgotten || (!b && c->asked.kind != ACCOUNT_UNDELETE) ||
            (c->asked.to.len && !account_find_name(a, c->asked.to))) {
                c->result = a->is_forgotten ? -ESTALE : -ENOENT;
                leave(c);
                return;
        }
        if (c->asked.kind == ACCOUNT_UNDELETE) {
                c->uid_end = UINT32_MAX;
                c->run_from[0] = 't';
                c->run_from_len = 1;
                read_kept(c);
                return;
        }
        c->uid = c->asked.uids[0].first;
        c->uid_end = last->last < b->uid_next ? last->last + 1 : b->uid_next;
        if (c->uid >= c->uid_end) {
                leave(c);
                return;
        }
        store_scan(a->mailboxes->store, &a->partition,
                   &(struct store_range) {
                           .from = account_key(from, 'r', c->asked.mailbox_id),
                           .to = account_key_uid(to, 'r', c->asked.mailbox_id, c->uid + 1),
                           .limit = 1,
                           .is_reverse = true},
                   got_first_run, c);
}

/* ---- beginning ---------------------------------------------------------------- */

static void start_first(struct account *a)
{
        struct change *c;

        if (list_is_empty(&a->changes))
                return;
        c = LIST_OBJECT(a->changes.next, struct change, node);
        account_drop_chores(a);
        account_settle(a, &c->settling);
}

static size_t memory_of(const struct account_change *asked)
{
        size_t n = asked->uid_count * sizeof(struct uid_range) + ACCOUNT_NAME_MAX +
                   asked->keyword_count * sizeof(struct span);

        for (size_t i = 0; i < asked->keyword_count; i++)
                n += asked->keywords[i].len;
        return n;
}

/* Ranges first, then spans: each at its alignment. */
static int copy_arguments(struct change *c, const struct account_change *asked)
{
        struct uid_range *uids;
        struct span *keywords;
        char *p;

        c->asked = *asked;
        c->octets = malloc(memory_of(asked));
        if (!c->octets)
                return -ENOMEM;
        keywords = (struct span *) (void *) c->octets;
        uids = (struct uid_range *) (void *) (keywords + asked->keyword_count);
        p = (char *) (uids + asked->uid_count);
        memcpy(uids, asked->uids, asked->uid_count * sizeof(struct uid_range));
        c->asked.uids = uids;
        for (size_t i = 0; i < asked->keyword_count; i++) {
                memcpy(p, asked->keywords[i].p, asked->keywords[i].len);
                keywords[i] = span_make(p, asked->keywords[i].len);
                p += asked->keywords[i].len;
        }
        c->asked.keywords = keywords;
        if (asked->kind == ACCOUNT_FLAGS || asked->kind == ACCOUNT_EXPUNGE) {
                c->asked.to = span_make(NULL, 0);
                return 0;
        }
        return account_normalize(asked->to, p, &c->asked.to) < 0 ? -ENOENT : 0;
}

void account_change(struct account *a, const struct account_change *asked, account_change_fn *done,
                    void *arg)
{
        struct change *c = calloc(1, sizeof(struct change));
        int r = c && asked->uid_count ? copy_arguments(c, asked) : c ? -EINVAL : -ENOMEM;

        if (r < 0) {
                if (c)
                        free(c->octets);
                free(c);
                done(arg, r, &(struct account_changed) {0});
                return;
        }
        c->account = account_ref(a);
        c->settling.settled = settled;
        c->commits = 1;
        c->done = done;
        c->arg = arg;
        list_append(&a->changes, &c->node);
        if (a->changes.next == &c->node)
                start_first(a);
}
