#include "store/store_check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "store/account.h"
#include "store/keys.h"
#include "store/local.h"
#include "store/recover.h"

enum { PAGE = 1000, PAGE_OCTETS = 64 * 1024 * 1024, READ_STEP = 1024 * 1024, TEXT_MAX = 400 };

/* A body, and how many were found to refer to it. */
struct seen {
        uint64_t id;
        uint32_t references, found;
};

struct segment_sum {
        uint64_t number, blobs, octets;
};

/* A mailbox of the account that is being looked at. */
struct box {
        uint64_t id;
        uint32_t single_first, run_last, uid_last, uid_next;
};

struct checking {
        struct store_check *check;
        struct local *local;
        struct seen *bodies; /* by id */
        size_t body_count, body_room;
        struct segment_sum *sums; /* by number */
        size_t sum_count;
        struct partition partition;
        struct box *boxes;
        size_t box_count, box_room;
        uint64_t kept_found, kept_octets, kept_counted, kept_octets_counted; /* of this account */
        uint64_t digest; /* of the index */
        bool can_rebuild; /* there is what the index can be made from */
        struct buffer octets, scratch;
        /* a page */
        struct buffer page;
        size_t page_count;
        int result;
};

__attribute__((format(printf, 2, 3))) static void fault(struct checking *c, const char *format, ...)
{
        char text[TEXT_MAX];
        va_list args;

        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        c->check->faults++;
        c->check->fault(c->check->arg, text);
}

static void *grow(void *list, size_t *room, size_t size)
{
        const size_t wanted = *room ? *room * 2 : 256;
        void *grown = reallocarray(list, wanted, size);

        if (grown)
                *room = wanted;
        return grown;
}

/* ---- the log --------------------------------------------------------------- */

static void check_records(struct checking *c, const struct segment *s, uint64_t offset,
                          struct span records, uint32_t count)
{
        while (records.len) {
                struct batch_view view;
                struct span record;
                struct batch_op op;

                if (batch_open(&records, &view, &record) < 0)
                        break;
                while (batch_next(&view, &op))
                        ;
                if (view.ops.failed)
                        break;
                c->check->records++;
                count--;
        }
        if (records.len || count)
                fault(c, "%s/%016llx.seg, octet %llu: a group holds what is no record",
                      log_folders[s->stream], (unsigned long long) s->number,
                      (unsigned long long) offset);
}

/* One group; false: there is none here. */
static bool check_group(struct checking *c, const struct segment *s, uint64_t *offset)
{
        struct log *l = &c->local->log;
        struct group_head head;
        char octets[LOG_HEAD], *records;

        if (*offset + LOG_BLOCK > s->size ||
            log_read(l, s->number, *offset, octets, sizeof octets) < 0 ||
            log_decode_head(l, s->number, octets, &head) < 0)
                return false;
        buffer_clear(&c->octets);
        if (buffer_reserve(&c->octets, (size_t) head.len + 1, &records) < 0) {
                c->result = -ENOMEM;
                return false;
        }
        if (log_read(l, s->number, *offset + LOG_HEAD, records, head.len) < 0 ||
            hash_span(span_make(records, head.len), log_seed(l, s->number)) != head.checksum)
                fault(c, "%s/%016llx.seg, octet %llu: group %llu is damaged",
                      log_folders[s->stream], (unsigned long long) s->number,
                      (unsigned long long) *offset, (unsigned long long) head.group);
        else
                check_records(c, s, *offset, span_make(records, head.len), head.records);
        c->check->groups++;
        *offset += log_part_size(head.len);
        return true;
}

/* Behind the last group of a segment there must be none. */
static void check_rest(struct checking *c, const struct segment *s, uint64_t offset)
{
        struct log *l = &c->local->log;
        struct group_head head;
        char *octets;

        buffer_clear(&c->octets);
        if (buffer_reserve(&c->octets, READ_STEP, &octets) < 0) {
                c->result = -ENOMEM;
                return;
        }
        for (uint64_t at = offset; at + LOG_BLOCK <= s->size; at += READ_STEP) {
                const uint64_t rest = (s->size - at) / LOG_BLOCK * LOG_BLOCK;
                const size_t n = rest < READ_STEP ? (size_t) rest : READ_STEP;

                if (log_read(l, s->number, at, octets, n) < 0)
                        return;
                for (size_t i = 0; i < n; i += LOG_BLOCK) {
                        if (log_decode_head(l, s->number, octets + i, &head) < 0)
                                continue;
                        fault(c, "%s/%016llx.seg, octet %llu: what stands before this group is "
                              "damaged", log_folders[s->stream], (unsigned long long) s->number,
                              (unsigned long long) (at + i));
                        return;
                }
        }
}

static void check_log(struct checking *c)
{
        for (enum log_stream i = 0; i < LOG_STREAMS; i++) {
                LIST_FOR_EACH(node, &c->local->log.streams[i]) {
                        const struct segment *s = LIST_OBJECT(node, struct segment, node);
                        uint64_t offset = LOG_BLOCK;

                        while (c->result == 0 && check_group(c, s, &offset))
                                ;
                        if (c->result == 0)
                                check_rest(c, s, offset);
                }
        }
}

/* ---- the index, page by page ------------------------------------------------- */

static bool collect(void *arg, struct span key, struct span value)
{
        struct checking *c = arg;

        c->result = write_u32(&c->page, (uint32_t) key.len);
        if (c->result == 0)
                c->result = write_u32(&c->page, (uint32_t) value.len);
        if (c->result == 0)
                c->result = buffer_append_span(&c->page, key);
        if (c->result == 0)
                c->result = buffer_append_span(&c->page, value);
        return c->result == 0 && ++c->page_count < PAGE;
}

/* Not within the scan: visitors ask the index themselves. */
static void visit_all(struct checking *c, struct span from, struct span to,
                      void (*visit)(struct checking *c, struct span key, struct span value))
{
        char next[KEYS_MAX + 1];

        while (c->result == 0) {
                const struct index_range range = {from, to, false};
                struct reader r;
                struct span key = {NULL, 0};
                int result;

                buffer_clear(&c->page);
                c->page_count = 0;
                result = index_scan(c->local->index, &range, true, collect, c);
                if (result < 0 && c->result == 0)
                        c->result = result;
                r = READER(buffer_span(&c->page));
                while (c->result == 0 && r.rest.len) {
                        const uint32_t key_len = read_u32(&r), value_len = read_u32(&r);

                        key = read_raw(&r, key_len);
                        visit(c, key, read_raw(&r, value_len));
                }
                if (c->page_count < PAGE || key.len >= sizeof next)
                        return;
                memcpy(next, key.p, key.len);
                next[key.len] = '\0';
                from = span_make(next, key.len + 1);
        }
}

/* ---- bodies ------------------------------------------------------------------ */

static struct segment_sum *find_sum(struct checking *c, uint64_t number)
{
        size_t low = 0, high = c->sum_count;

        while (low < high) {
                const size_t middle = low + (high - low) / 2;

                if (c->sums[middle].number == number)
                        return &c->sums[middle];
                if (c->sums[middle].number < number)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

static int compare_sums(const void *a, const void *b)
{
        const struct segment_sum *x = a, *y = b;

        return (x->number > y->number) - (x->number < y->number);
}

static void list_segments(struct checking *c)
{
        struct log *l = &c->local->log;

        c->sums = calloc(l->by_number.count + 1, sizeof *c->sums);
        if (!c->sums) {
                c->result = -ENOMEM;
                return;
        }
        for (enum log_stream i = 0; i < LOG_STREAMS; i++)
                LIST_FOR_EACH(node, &l->streams[i])
                        c->sums[c->sum_count++].number =
                                LIST_OBJECT(node, struct segment, node)->number;
        qsort(c->sums, c->sum_count, sizeof *c->sums, compare_sums);
}

static void check_file(struct checking *c, uint64_t id, const struct blob_place *place)
{
        char path[LOCAL_BLOB_PATH_MAX];
        const int file = io_open(c->local->io, local_blob_path(id, path), IO_READ_ONLY);

        if (file < 0)
                fault(c, "%s: %s", path, strerror(-file));
        else if (io_size(c->local->io, file) != (int64_t) place->size)
                fault(c, "%s: its size is not what it was", path);
        io_close(c->local->io, file);
}

static void check_octets(struct checking *c, uint64_t id, const struct blob_place *place)
{
        struct segment_sum *sum = find_sum(c, place->segment);
        char *octets;

        if (!sum || place->size > UINT32_MAX) {
                fault(c, "body %016llx: its segment %016llx is not there",
                      (unsigned long long) id, (unsigned long long) place->segment);
                return;
        }
        sum->blobs++;
        sum->octets += place->size;
        buffer_clear(&c->octets);
        if (buffer_reserve(&c->octets, (size_t) place->size + 1, &octets) < 0) {
                c->result = -ENOMEM;
                return;
        }
        if (log_read(&c->local->log, place->segment, place->offset, octets,
                     (size_t) place->size) < 0 ||
            apply_checksum(span_make(octets, (size_t) place->size)) != place->checksum)
                fault(c, "body %016llx: damaged in segment %016llx, octet %llu",
                      (unsigned long long) id, (unsigned long long) place->segment,
                      (unsigned long long) place->offset);
}

static void check_body(struct checking *c, struct span key, struct span value)
{
        const uint64_t id = key.len == 9 ? key_get_u64(key.p + 1) : 0;
        struct blob_place place;
        struct seen *grown;

        if (!id || apply_decode_place(value, &place) < 0 || !place.references) {
                fault(c, "body %016llx: its entry in the index is damaged",
                      (unsigned long long) id);
                return;
        }
        if (c->body_count == c->body_room) {
                grown = grow(c->bodies, &c->body_room, sizeof *grown);
                if (!grown) {
                        c->result = -ENOMEM;
                        return;
                }
                c->bodies = grown;
        }
        c->bodies[c->body_count++] = (struct seen) {id, place.references, 0};
        c->check->bodies++;
        c->check->body_octets += place.size;
        if (place.kind == BLOB_IN_FILE)
                check_file(c, id, &place);
        else
                check_octets(c, id, &place);
}

static void check_sums(struct checking *c)
{
        for (size_t i = 0; i < c->sum_count; i++) {
                const struct segment_sum *sum = &c->sums[i];
                const struct segment *s = log_segment(&c->local->log, sum->number);

                if (s->live_blobs != sum->blobs || s->live_octets != sum->octets)
                        fault(c, "segment %016llx: %llu bodies of %llu octets are counted, %llu of "
                              "%llu are there", (unsigned long long) sum->number,
                              (unsigned long long) s->live_blobs,
                              (unsigned long long) s->live_octets,
                              (unsigned long long) sum->blobs, (unsigned long long) sum->octets);
        }
}

static void refer(struct checking *c, uint64_t id, const char *who)
{
        size_t low = 0, high = c->body_count;

        while (low < high) {
                const size_t middle = low + (high - low) / 2;

                if (c->bodies[middle].id == id) {
                        c->bodies[middle].found++;
                        return;
                }
                if (c->bodies[middle].id < id)
                        low = middle + 1;
                else
                        high = middle;
        }
        fault(c, "body %016llx is not there; %s refers to it", (unsigned long long) id, who);
}

static void check_references(struct checking *c)
{
        for (size_t i = 0; i < c->body_count; i++)
                if (c->bodies[i].references != c->bodies[i].found)
                        fault(c, "body %016llx: %u references are counted, %u are there%s",
                              (unsigned long long) c->bodies[i].id, c->bodies[i].references,
                              c->bodies[i].found, c->bodies[i].found ? "" : ": nobody has it");
}

/* ---- mailboxes and queue ------------------------------------------------------- */

static struct box *find_box(struct checking *c, uint64_t id)
{
        struct box *grown;

        for (size_t i = c->box_count; i--;) /* the last one, nearly always */
                if (c->boxes[i].id == id)
                        return &c->boxes[i];
        if (c->box_count == c->box_room) {
                grown = grow(c->boxes, &c->box_room, sizeof *grown);
                if (!grown) {
                        c->result = -ENOMEM;
                        return NULL;
                }
                c->boxes = grown;
        }
        c->boxes[c->box_count] = (struct box) {.id = id};
        return &c->boxes[c->box_count++];
}

/* All entries of an account have been seen. */
static void end_account(struct checking *c)
{
        for (size_t i = 0; i < c->box_count; i++) {
                const struct box *b = &c->boxes[i];

                if (b->single_first && b->single_first <= b->run_last)
                        fault(c, "mailbox %llu of account %08x…: UID %u stands in a run, and "
                              "behind it", (unsigned long long) b->id,
                              key_get_u32((const char *) c->partition.octets), b->run_last);
                if (b->uid_next && b->uid_last >= b->uid_next)
                        fault(c, "mailbox %llu of account %08x…: UID %u is there, and would be "
                              "given again", (unsigned long long) b->id,
                              key_get_u32((const char *) c->partition.octets), b->uid_last);
        }
        if (c->kept_counted != c->kept_found || c->kept_octets_counted != c->kept_octets)
                fault(c, "account %08x…: %llu expunged messages of %llu octets are counted, %llu "
                      "of %llu are kept", key_get_u32((const char *) c->partition.octets),
                      (unsigned long long) c->kept_counted,
                      (unsigned long long) c->kept_octets_counted,
                      (unsigned long long) c->kept_found, (unsigned long long) c->kept_octets);
        c->kept_counted = c->kept_found = c->kept_octets = c->kept_octets_counted = 0;
        c->box_count = 0;
}

static void check_messages(struct checking *c, struct box *b, struct span value, bool is_run)
{
        struct reader r = READER(value);
        uint32_t last = is_run ? b->run_last : b->uid_last;

        while (r.rest.len) {
                struct message_entry e;

                if (account_decode_entry(&r, &e) < 0 || e.uid <= last) {
                        fault(c, "mailbox %llu: an entry behind UID %u is damaged",
                              (unsigned long long) b->id, last);
                        return;
                }
                last = e.uid;
                if (!is_run && !b->single_first)
                        b->single_first = e.uid;
                c->check->messages++;
                refer(c, e.blob_id, "a mailbox");
        }
        if (is_run)
                b->run_last = last;
        if (last > b->uid_last)
                b->uid_last = last;
}

static void check_kept(struct checking *c, struct span key, struct span value)
{
        const struct store_entry entry = {key, value};
        struct message_entry e;
        struct kept_key place;
        struct span name;
        struct reader r;

        if (account_kept_decode(&entry, &place, &name, &r) < 0) {
                fault(c, "an entry of expunged messages is damaged");
                return;
        }
        while (r.rest.len && account_decode_entry(&r, &e) == 0) {
                c->kept_found++;
                c->kept_octets += e.size;
                refer(c, e.blob_id, "an expunged message");
        }
}

static void check_account_entry(struct checking *c, struct span key, struct span value)
{
        const char letter = key.len >= 9 ? key.p[0] : 0;
        struct box *b;

        if (letter == 't')
                check_kept(c, key, value);
        if (span_equal(key, SPAN_LITERAL("ht")) && value.len >= 24) {
                c->kept_counted = key_get_u64(value.p);
                c->kept_octets_counted = key_get_u64(value.p + 8);
        }
        if (letter != 'e' && letter != 'r' && letter != 'm')
                return;
        b = find_box(c, key_get_u64(key.p + 1));
        if (!b)
                return;
        if (letter != 'm') {
                check_messages(c, b, value, letter == 'r');
        } else if (value.len < 4) {
                fault(c, "mailbox %llu: its entry is damaged", (unsigned long long) b->id);
        } else {
                b->uid_next = key_get_u32(value.p);
                c->check->mailboxes++;
        }
}

static void check_data(struct checking *c, struct span key, struct span value)
{
        const struct span name = span_skip(key, KEYS_HEAD);
        uint64_t blob_id = 0;

        if (key.len < KEYS_HEAD || key.p[KEYS_HEAD - 1] != KEYS_DATA)
                return;
        if (memcmp(key.p + 1, c->partition.octets, sizeof c->partition.octets) != 0) {
                end_account(c);
                memcpy(c->partition.octets, key.p + 1, sizeof c->partition.octets);
        }
        if (key.p[1] == PARTITION_ACCOUNT) {
                check_account_entry(c, name, value);
        } else if (key.p[1] == PARTITION_QUEUE && c->check->queue_entry) {
                if (c->check->queue_entry(c->check->arg, name, value, &blob_id) < 0)
                        fault(c, "an entry of the queue is damaged");
                else if (blob_id)
                        refer(c, blob_id, "the queue");
                c->check->queue_entries += blob_id != 0;
        }
}

static void add_digest(struct checking *c, struct span key, struct span value)
{
        c->digest = hash_span(value, hash_span(key, c->digest));
}

/* Of what is in both the index and one made anew: not of positions and segments. */
static uint64_t digest_of(struct checking *c)
{
        c->digest = 1;
        visit_all(c, SPAN_LITERAL("b"), SPAN_LITERAL("c"), add_digest);
        visit_all(c, SPAN_LITERAL("k"), SPAN_LITERAL("l"), add_digest);
        visit_all(c, SPAN_LITERAL("s"), SPAN_LITERAL("t"), add_digest);
        return c->digest;
}

/* ---- all of it ------------------------------------------------------------------ */

static const struct store_options quiet = {.directory_fd = -1, .is_quiet = true};

static void check_all(struct checking *c)
{
        list_segments(c);
        if (c->result == 0)
                check_log(c);
        visit_all(c, SPAN_LITERAL("b"), SPAN_LITERAL("c"), check_body);
        if (c->result == 0)
                check_sums(c);
        visit_all(c, SPAN_LITERAL("k"), SPAN_LITERAL("l"), check_data);
        if (c->result == 0) {
                end_account(c);
                check_references(c);
        }
}

static void checking_done(struct checking *c)
{
        free(c->bodies);
        free(c->sums);
        free(c->boxes);
        buffer_done(&c->octets);
        buffer_done(&c->scratch);
        buffer_done(&c->page);
}

/* ---- the index made anew ----------------------------------------------------------- */

static const char anew[] = "index.check", old[] = "index.old";

struct folder {
        struct io *io;
        const char *name;
};

static void remove_file(void *arg, const char *name)
{
        const struct folder *f = arg;
        char path[320];

        snprintf(path, sizeof path, "%s/%.200s", f->name, name);
        io_unlink(f->io, path);
}

static void remove_folder(struct io *io, const char *name)
{
        struct folder f = {io, name};

        io_list(io, name, remove_file, &f);
        io_rmdir(io, name);
}

static int open_folder(const char *path, struct io **ret_io, char *error)
{
        int r = io_real_new(path, -1, ret_io);

        if (r < 0) {
                snprintf(error, 256, "%.200s: %s", path, strerror(-r));
                return r;
        }
        r = io_lock(*ret_io, "lock");
        if (r < 0) {
                snprintf(error, 256, "%.180s: %s", path,
                         r == -EWOULDBLOCK ? "another process has this store open" : strerror(-r));
                io_free(*ret_io);
                return r == -EWOULDBLOCK ? -EBUSY : r;
        }
        return 0;
}

/* Opens the store with a new index in a folder of its own, which is filled from the
 * checkpoint and the log. -ENODATA: they are not enough. */
static int open_anew(const char *path, struct loop *loop, struct store **ret_store, char *error)
{
        char index_path[4096];
        struct index *index;
        struct io *io;
        int r = open_folder(path, &io, error);

        if (r < 0)
                return r;
        remove_folder(io, anew);
        snprintf(index_path, sizeof index_path, "%s/%s", path, anew);
        r = index_rocksdb_open(index_path, &index, error);
        if (r < 0) {
                io_free(io);
                return r;
        }
        r = local_open_with(io, index, &quiet, loop, ret_store, error);
        return r == -EBADMSG ? -ENODATA : r;
}

static void remove_anew(const char *path)
{
        char error[256];
        struct io *io;

        if (open_folder(path, &io, error) < 0)
                return;
        remove_folder(io, anew);
        io_free(io);
}

/* Where nobody ever needed to write the index down, the whole log says it. */
static int compare_rebuilt(struct checking *c, const char *path, uint64_t digest, char *error)
{
        struct loop *loop = loop_new();
        struct store *s;
        int r = loop ? open_anew(path, loop, &s, error) : -ENOMEM;

        if (r == 0) {
                c->local = (struct local *) s;
                if (digest_of(c) != digest)
                        fault(c, "the index is not what checkpoint and log say");
                c->check->was_rebuilt = true;
                store_close(s);
                r = c->result;
        } else if (r == -ENODATA && c->can_rebuild) {
                fault(c, "the index could not be made anew: %s", error);
                r = 0;
        } else if (r == -ENODATA) {
                r = 0; /* a store of an earlier release, never started by this one */
        }
        loop_free(loop);
        remove_anew(path);
        return r;
}

static void checking_init(struct checking *c, struct store_check *check)
{
        *c = (struct checking) {.check = check, .octets = BUFFER_INIT(UINT32_MAX),
                                .scratch = BUFFER_INIT(STORE_VALUE_MAX),
                                .page = BUFFER_INIT(PAGE_OCTETS)};
}

int store_check_opened(struct store *s, struct store_check *check)
{
        struct checking c;

        checking_init(&c, check);
        c.local = (struct local *) s;
        local_pause(c.local);
        check_all(&c);
        local_go_on(c.local);
        checking_done(&c);
        return c.result;
}

int store_check(const char *path, struct store_check *check, char *error)
{
        struct checking c;
        struct loop *loop = loop_new();
        struct store *s = NULL;
        char uri[4096];
        uint64_t digest;
        int r;

        checking_init(&c, check);
        snprintf(uri, sizeof uri, "local:%s", path);
        r = loop ? store_open(uri, &quiet, loop, &s, error) : -ENOMEM;
        if (r == 0) {
                c.local = (struct local *) s;
                check_all(&c);
                digest = digest_of(&c);
                c.can_rebuild = c.local->checkpoint.size || log_is_whole(&c.local->log);
                store_close(s);
                r = c.result;
                if (r == 0)
                        r = compare_rebuilt(&c, path, digest, error);
                if (r < 0)
                        snprintf(error, 256, "the index cannot be read: %s", strerror(-r));
        }
        loop_free(loop);
        checking_done(&c);
        return r;
}

/* ---- repair ---------------------------------------------------------------------- */

static int exchange(const char *path, char *error)
{
        struct io *io;
        int r = open_folder(path, &io, error);

        if (r < 0)
                return r;
        remove_folder(io, old);
        r = io_rename(io, "index", old);
        r = r == -ENOENT ? 0 : r;
        if (r == 0)
                r = io_rename(io, anew, "index");
        if (r == 0)
                r = io_sync_directory(io, "");
        if (r < 0)
                snprintf(error, 256, "%.200s/index: %s", path, strerror(-r));
        io_free(io);
        return r;
}

int store_check_rebuild(const char *path, char *error)
{
        struct loop *loop = loop_new();
        struct store *s;
        int r = loop ? open_anew(path, loop, &s, error) : -ENOMEM;

        if (r == 0)
                store_close(s);
        loop_free(loop);
        if (r == 0)
                return exchange(path, error);
        remove_anew(path);
        return r;
}
