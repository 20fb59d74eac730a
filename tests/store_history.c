/* Random histories (src/store/store_history.h) on a real disk, for
 * test_recorded_disk.py:
 *
 *   store_history run FOLDER HISTORY SEED CALLS    makes a store; writes down what was
 *                                                  done, with tests/record_disk.c preloaded
 *   store_history check HISTORY                    reads lines "FOLDER CUT": opens the store
 *                                                  there and says "good", or what is wrong */
#include "store/store_history.c"

#include <dlfcn.h>
#include <unistd.h>

#include "store/index.h"
#include "store/local.h"

enum { LOADED_AT_ONCE = 32 }; /* changes, of which a busy store has thousands */

static const struct store_options options = {
        .segment_size = 64 * 1024, .reserve_bytes = 4096, .directory_fd = -1};

static void die(const char *what)
{
        fprintf(stderr, "store_history: %s\n", what);
        exit(EXIT_FAILURE);
}

static size_t now(void *arg)
{
        size_t (*const record_count)(void) = (size_t(*)(void)) (uintptr_t) arg;

        return record_count();
}

static struct store *writing_store;

static bool write_file(void *arg, uint64_t blob_id, struct span octets)
{
        bool is_written;
        int fd;

        (void) arg;
        if (store_blob_lend(writing_store, blob_id, &fd) < 0)
                return false;
        is_written = write(fd, octets.p, octets.len) == (ssize_t) octets.len;
        close(fd);
        return is_written;
}

static struct store *open_store(const char *folder, struct loop *loop, char *error)
{
        char uri[4200];
        struct store *s;

        snprintf(uri, sizeof uri, "local:%s", folder);
        return store_open(uri, &options, loop, &s, error) < 0 ? NULL : s;
}

/* ---- what was done, as text ------------------------------------------------------------- */

static void save(const struct history *h, const char *path)
{
        FILE *f = fopen(path, "w");

        if (!f)
                die(path);
        fprintf(f, "n %" PRIu64 "\n", h->next_id);
        for (unsigned i = 0; i < HISTORY_PARTS; i++)
                for (size_t k = 0; k < h->parts[i].count; k++)
                        fprintf(f, "v %u %" PRIu64 " %zu %zu\n", i, h->parts[i].versions[k].digest,
                                h->parts[i].versions[k].begun_at,
                                h->parts[i].versions[k].acknowledged_at);
        for (size_t i = 0; i < h->joint_count; i++) {
                fprintf(f, "j %zu", h->joints[i].count);
                for (size_t k = 0; k < h->joints[i].count; k++)
                        fprintf(f, " %u %zu", h->joints[i].part[k], h->joints[i].version[k]);
                fputc('\n', f);
        }
        if (fclose(f) != 0)
                die(path);
}

static bool load_version(struct history *h, FILE *f)
{
        struct history_version v;
        unsigned part;
        size_t at;

        if (fscanf(f, "%u %" SCNu64 " %zu %zu\n", &part, &v.digest, &v.begun_at,
                   &v.acknowledged_at) != 4 || part >= HISTORY_PARTS)
                return false;
        at = add_version(h, part); /* which may move them */
        h->parts[part].versions[at] = v;
        return true;
}

static bool load_joint(struct history *h, FILE *f)
{
        struct history_joint *j;

        h->joints = need(reallocarray(h->joints, h->joint_count + 1, sizeof h->joints[0]));
        j = &h->joints[h->joint_count++];
        if (fscanf(f, "%zu", &j->count) != 1 || j->count > HISTORY_PARTS)
                return false;
        for (size_t i = 0; i < j->count; i++)
                if (fscanf(f, "%u %zu", &j->part[i], &j->version[i]) != 2 ||
                    j->part[i] >= HISTORY_PARTS)
                        return false;
        return true;
}

static void load(struct history *h, const char *path)
{
        FILE *f = fopen(path, "r");
        char kind;
        bool is_good = f;

        while (is_good && fscanf(f, " %c", &kind) == 1)
                is_good = kind == 'v'   ? load_version(h, f)
                          : kind == 'j' ? load_joint(h, f)
                                        : fscanf(f, "%" SCNu64, &h->next_id) == 1;
        if (!is_good)
                die(path);
        fclose(f);
}

/* ---- commands ----------------------------------------------------------------------------- */

static size_t zero(void *arg)
{
        (void) arg;
        return 0;
}

static int run(const char *folder, const char *path, uint64_t seed, size_t calls)
{
        void *const record_count = dlsym(RTLD_DEFAULT, "record_count");
        struct history h = {.loop = loop_new(), .now = now, .write_file = write_file,
                            .arg = record_count};
        char error[256];

        if (!record_count)
                die("record_disk.so is not preloaded");
        /* Both ways into the index: as files of its own, and through its memory. */
        index_rocksdb_set_load_min(seed % 2 ? LOADED_AT_ONCE : SIZE_MAX);
        h.store = writing_store = open_store(folder, h.loop, error);
        if (!h.store)
                die(error);
        atomic_store(&((struct local *) h.store)->reclaim.is_eager, true);
        history_begin(&h, seed);
        while (now(h.arg) < calls)
                if (!history_step(&h))
                        die(h.why);
        if (log_is_whole(&((struct local *) h.store)->log))
                die("no segment was used again: this says too little");
        history_end(&h);
        store_close(h.store);
        save(&h, path);
        history_done(&h);
        loop_free(h.loop);
        return EXIT_SUCCESS;
}

/* Says "good" or what is wrong. */
static void check(struct history *h, const char *folder, size_t cut)
{
        char error[256];
        struct store *s = open_store(folder, h->loop, error);

        if (!s) {
                printf("%s\n", error);
        } else {
                printf("%s\n", history_check(h, s, cut) ? "good" : h->why);
                store_close(s);
                history_checked(h);
        }
        fflush(stdout);
}

static int check_all_of(const char *path)
{
        struct history h = {.loop = loop_new(), .now = zero};
        char folder[4096];
        size_t cut;

        load(&h, path);
        while (scanf("%4095s %zu", folder, &cut) == 2)
                check(&h, folder, cut);
        history_done(&h);
        loop_free(h.loop);
        return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
        if (argc == 6 && strcmp(argv[1], "run") == 0)
                return run(argv[2], argv[3], strtoull(argv[4], NULL, 10),
                           strtoull(argv[5], NULL, 10));
        if (argc == 3 && strcmp(argv[1], "check") == 0)
                return check_all_of(argv[2]);
        die("run FOLDER HISTORY SEED CALLS, or check HISTORY with \"FOLDER CUT\" lines coming in");
}
