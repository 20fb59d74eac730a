/* Plays the sessions of tests/transcripts/edge/ (tests/transcripts/README.md says
 * how they are written) against the edge role with a fake keeper: replies, and
 * the decision record that is left of each message. */
#include <dirent.h>

#include "process/edge/edge_test_site.h"

enum { TEXT_MAX = 1 << 20, CLIENTS_MAX = 16 };

struct stage {
        const char *name;
        struct client clients[CLIENTS_MAX];
        size_t count;
        unsigned commits, refusals; /* records that were looked at */
        struct buffer record;       /* a line each step, of the last one; what is left of it */
};

static struct client *current(struct stage *s)
{
        return &s->clients[s->count - 1];
}

/* ---- what the client sends ---- */

static void add_text(struct buffer *out, struct span text)
{
        for (size_t i = 0; i < text.len; i++) {
                static const char names[] = "rn0\\", octets[] = "\r\n\0\\";
                const char *p = text.p + i;
                const char *found = *p == '\\' && i + 1 < text.len ? strchr(names, p[1]) : NULL;

                if (found) {
                        buffer_append(out, &octets[found - names], 1);
                        i++;
                } else if (*p == '{' && text.len - i > 3 && p[2] == '*') {
                        for (long n = strtol(p + 3, NULL, 10); n > 0; n--)
                                buffer_append(out, p + 1, 1);
                        i += span_find(span_skip(text, i), '}');
                } else {
                        buffer_append(out, p, 1);
                }
        }
}

static void send_line(struct stage *s, struct span text, bool with_line_end)
{
        struct buffer out = BUFFER_INIT(TEXT_MAX);

        add_text(&out, text);
        if (with_line_end)
                buffer_append_string(&out, "\r\n");
        say(current(s), buffer_span(&out));
        buffer_done(&out);
}

/* ---- what is heard and kept ---- */

static void expect_reply(struct stage *s, struct span text)
{
        char reply[1024];
        bool is_good;

        hear(current(s), reply, sizeof reply);
        if (span_equal(text, SPAN_LITERAL("-")))
                is_good = reply[0] == '\0' && current(s)->is_closed;
        else
                is_good = strncmp(reply, text.p, text.len) == 0;
        if (!is_good)
                print_error("%s\n  want %.*s\n  got  %s\n", s->name, (int) text.len, text.p, reply);
        CHECK(is_good, s->name);
}

static void put(struct buffer *b, const char *name, struct span value)
{
        if (value.len)
                buffer_printf(b, " %s=%.*s", name, (int) value.len, value.p);
}

static void describe(struct span record, struct buffer *out)
{
        struct decision_step step;
        struct reader r;
        uint64_t id;

        buffer_clear(out);
        CHECK(decision_open(record, &id, &r) == 0, "record");
        while (decision_next(&r, &step)) {
                buffer_append_string(out, decision_kind_name(step.kind));
                if (step.recipient != DECISION_MESSAGE)
                        buffer_printf(out, " %u", step.recipient);
                if (step.code)
                        buffer_printf(out, " %u %.*s", step.code, (int) step.enhanced.len,
                                      step.enhanced.p);
                put(out, "rule", step.rule);
                put(out, "origin", step.origin);
                put(out, "rcpt_to", step.rcpt_to);
                put(out, "next", step.next);
                put(out, "text", step.text);
                put(out, "detail", step.detail);
                buffer_append_string(out, "\n");
        }
        CHECK(!r.failed, "record is whole");
}

/* The next record that the keeper got, when nothing is left of the last. */
static void next_record(struct stage *s)
{
        if (s->record.len)
                return;
        for (int waited = 0; waited < 500 && keeper.commits == s->commits &&
             keeper.refusals == s->refusals; waited++)
                run();
        if (keeper.commits > s->commits)
                describe(buffer_span(&keeper.record), &s->record);
        else if (keeper.refusals > s->refusals)
                describe(buffer_span(&keeper.refused), &s->record);
        s->commits = keeper.commits;
        s->refusals = keeper.refusals;
}

/* A step of the record: all that is said of it must stand there, in that order;
 * "*" stands for anything. */
static void expect_step(struct stage *s, struct span text)
{
        struct span step = {NULL, 0}, rest, piece;
        bool is_good = true;

        next_record(s);
        rest = buffer_span(&s->record);
        span_split(&rest, '\n', &step);
        for (struct span want = text, have = step; is_good && want.len;) {
                const char *at;

                (void) span_split(&want, '*', &piece);
                at = piece.len ? memmem(have.p, have.len, piece.p, piece.len) : have.p;
                is_good = at && (piece.p != text.p || at == have.p);
                if (is_good)
                        have = span_skip(have, (size_t) (at - have.p) + piece.len);
        }
        if (!is_good)
                print_error("%s\n  want %.*s\n  got  %.*s\n", s->name, (int) text.len, text.p,
                            (int) step.len, step.p ? step.p : "");
        CHECK(is_good, s->name);
        buffer_consume(&s->record, step.len + 1);
}

/* ---- files ---- */

static void take_line(struct stage *s, struct span line)
{
        const struct span text = span_skip(line, 3);

        switch (line.len ? line.p[0] : '#') {
        case 'O':
        case '#':
                break;
        case 'C':
                send_line(s, text, line.p[1] == ':');
                break;
        case 'S':
                expect_reply(s, text);
                break;
        case 'D':
                expect_step(s, text);
                break;
        case 'N':
                CHECK(s->count < CLIENTS_MAX, s->name);
                s->clients[s->count++] = client_new();
                break;
        default:
                CHECK(false, s->name);
        }
}

static void play_file(const char *path)
{
        struct stage s = {.name = path, .record = BUFFER_INIT(TEXT_MAX)};
        struct buffer options = BUFFER_INIT(4096), text = BUFFER_INIT(TEXT_MAX);
        struct span rest, line;
        char block[4096];
        FILE *f = fopen(path, "r");
        size_t n;

        CHECK(f, path);
        while ((n = fread(block, 1, sizeof block, f)) > 0)
                buffer_append(&text, block, n);
        fclose(f);
        rest = buffer_span(&text);
        while (span_split(&rest, '\n', &line))
                if (line.len > 3 && line.p[0] == 'O')
                        buffer_printf(&options, "%.*s\n", (int) line.len - 3, line.p + 3);
        buffer_append(&options, "", 1);
        start(buffer_span(&options).p);
        s.clients[s.count++] = client_new();
        rest = buffer_span(&text);
        while (span_split(&rest, '\n', &line))
                take_line(&s, line);
        while (s.count)
                client_done(&s.clients[--s.count]);
        finish();
        buffer_done(&s.record);
        buffer_done(&options);
        buffer_done(&text);
}

static int is_transcript(const struct dirent *d)
{
        return span_ends_with_nocase(span_from_string(d->d_name), SPAN_LITERAL(".txt"));
}

TEST(sessions_and_their_records)
{
        static const char folder[] = HAYAUMA_SOURCE_ROOT "/tests/transcripts/edge";
        char path[4096];
        struct dirent **names;
        const int count = scandir(folder, &names, is_transcript, alphasort);

        CHECK(count > 0, folder);
        for (int i = 0; i < count; i++) {
                snprintf(path, sizeof path, "%s/%s", folder, names[i]->d_name);
                play_file(path);
                free(names[i]);
        }
        free(names);
}

TEST_MAIN()
