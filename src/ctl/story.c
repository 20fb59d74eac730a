#include "ctl/story.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/arena.h"
#include "base/id.h"
#include "ctl/console.h"
#include "policy/decision.h"

/* A step, with the message it is of. */
struct told {
        uint64_t message_id;
        size_t order; /* of coming, among steps of one time */
        struct decision_step step;
};

struct story {
        struct arena arena; /* the records, which the steps borrow from */
        struct told *steps;
        size_t count, room;
};

struct story *story_new(void)
{
        struct story *s = calloc(1, sizeof *s);

        if (s)
                s->arena = ARENA_INIT(STORY_BYTES_MAX);
        return s;
}

struct story *story_free(struct story *s)
{
        if (s) {
                arena_done(&s->arena);
                free(s->steps);
                free(s);
        }
        return NULL;
}

void story_clear(struct story *s)
{
        s->count = 0;
        arena_clear(&s->arena);
}

static int add_step(struct story *s, const struct told *t)
{
        if (s->count == s->room) {
                const size_t room = s->room ? s->room * 2 : 256;
                struct told *steps = reallocarray(s->steps, room, sizeof *steps);

                if (!steps)
                        return -ENOMEM;
                s->steps = steps;
                s->room = room;
        }
        s->steps[s->count] = *t;
        s->steps[s->count].order = s->count;
        s->count++;
        return 0;
}

int story_add(struct story *s, struct span record)
{
        const struct span copy = arena_copy(&s->arena, record);
        struct told t = {0};
        struct reader r;
        int result;

        if (!copy.p)
                return -EMSGSIZE;
        result = decision_open(copy, &t.message_id, &r);
        while (result == 0 && decision_next(&r, &t.step))
                result = add_step(s, &t);
        return result == 0 && r.failed ? -EBADMSG : result;
}

size_t story_ids(const struct story *s, uint64_t *ret_ids, size_t room)
{
        size_t count = 0;

        for (size_t i = 0; i < s->count && count < room; i++) {
                size_t k = count; /* from the end: steps of a message come together */

                while (k > 0 && ret_ids[k - 1] != s->steps[i].message_id)
                        k--;
                if (k == 0)
                        ret_ids[count++] = s->steps[i].message_id;
        }
        return count;
}

/* ---- in order ----------------------------------------------------------- */

/* Ids grow with time, so messages stand in the order they came. */
static int compare_steps(const void *a, const void *b)
{
        const struct told *x = a, *y = b;

        if (x->message_id != y->message_id)
                return x->message_id < y->message_id ? -1 : 1;
        if (x->step.at_us != y->step.at_us)
                return x->step.at_us < y->step.at_us ? -1 : 1;
        return x->order < y->order ? -1 : x->order > y->order;
}

/* The steps of one message: [*position, end). False when there is none left. */
static bool next_message(const struct story *s, size_t *position, size_t *ret_end)
{
        size_t end = *position;

        while (end < s->count && s->steps[end].message_id == s->steps[*position].message_id)
                end++;
        *ret_end = end;
        return end > *position;
}

static void sort_steps(struct story *s)
{
        if (s->count)
                qsort(s->steps, s->count, sizeof *s->steps, compare_steps);
}

/* ---- for people --------------------------------------------------------- */

static void print_words(const char *before, struct span words)
{
        if (!words.len)
                return;
        fputs(before, stdout);
        console_text(words);
}

static void print_rule(const char *before, const struct decision_step *step)
{
        print_words(before, step->rule);
        if (step->rule.len && step->origin.len) {
                print_words(" (", step->origin);
                putchar(')');
        }
}

static void print_reply(const char *before, const struct decision_step *step)
{
        const char *blank = "";

        if (!step->code && !step->enhanced.len && !step->text.len)
                return;
        fputs(before, stdout);
        if (step->code) {
                printf("%u", step->code);
                blank = " ";
        }
        if (step->enhanced.len) {
                print_words(blank, step->enhanced);
                blank = " ";
        }
        print_words(blank, step->text);
}

/* What a step of each kind says, in the words of a postmaster. */
static void print_sentence(const struct decision_step *step)
{
        switch (step->kind) {
        case DECISION_RECEIVED:
                print_words("from ", step->host);
                break;
        case DECISION_ACCEPTED:
        case DECISION_ROUTED:
                print_rule("by ", step);
                print_words(", goes to ", step->next);
                print_reply(", answered ", step);
                break;
        case DECISION_REFUSED:
                print_rule("by ", step);
                print_reply(", answered ", step);
                break;
        case DECISION_RULE:
                print_rule("", step);
                print_reply(" says ", step);
                print_words(", next is ", step->next);
                break;
        case DECISION_COMMITTED:
                printf("safe on disk");
                print_reply(", answered ", step);
                break;
        case DECISION_ATTEMPT:
        case DECISION_RELAYED:
                print_words(step->kind == DECISION_ATTEMPT ? "tried " : "taken by ",
                            step->host.len ? step->host : step->next);
                /* Without a code they are our own words, not those of the host. */
                print_reply(step->code ? ", which said " : ": ", step);
                break;
        case DECISION_STORED:
                print_words("in the mailbox of ", step->next);
                break;
        case DECISION_BOUNCED:
                print_words("returned to the sender by message ", step->next);
                print_reply(", because of ", step);
                break;
        case DECISION_NOTIFIED:
                print_words("the sender is told by message ", step->next);
                print_reply(": ", step);
                break;
        default:
                print_rule("by ", step);
                print_reply(" because of ", step);
                print_words(", next is ", step->next);
                break;
        }
        print_words("; ", step->detail);
}

static void print_time(uint64_t at_us)
{
        char text[CONSOLE_TIME_MAX];

        printf("%s.%03u", console_time(at_us, text), (unsigned) (at_us / 1000 % 1000));
}

static void print_step(const struct decision_step *step)
{
        printf("    ");
        print_time(step->at_us);
        printf("  %-10s ", decision_kind_name(step->kind));
        print_sentence(step);
        putchar('\n');
}

/* The recipient's address, from the first step that has it. */
static struct span recipient_name(const struct told *steps, size_t count, uint32_t recipient)
{
        for (size_t i = 0; i < count; i++)
                if (steps[i].step.recipient == recipient && steps[i].step.rcpt_to.len)
                        return steps[i].step.rcpt_to;
        return SPAN_LITERAL("(a recipient without a name)");
}

static void print_recipient(const struct told *steps, size_t count, uint32_t recipient)
{
        const char *state = "";

        for (size_t i = 0; i < count; i++)
                if (steps[i].step.recipient == recipient)
                        state = decision_kind_name(steps[i].step.kind);
        printf("  to ");
        console_text(recipient_name(steps, count, recipient));
        printf(": %s\n", state);
        for (size_t i = 0; i < count; i++)
                if (steps[i].step.recipient == recipient)
                        print_step(&steps[i].step);
}

/* The recipient above `after` that comes next, or DECISION_MESSAGE. */
static uint32_t next_recipient(const struct told *steps, size_t count, uint32_t least)
{
        uint32_t found = DECISION_MESSAGE;

        for (size_t i = 0; i < count; i++)
                if (steps[i].step.recipient >= least && steps[i].step.recipient < found)
                        found = steps[i].step.recipient;
        return found;
}

/* Whether a recipient, or any of all of them (DECISION_MESSAGE), was ever called
 * that: an alias leads to other names. */
static bool was_called(const struct told *steps, size_t count, uint32_t recipient,
                       struct span about)
{
        for (size_t i = 0; i < count && about.len; i++)
                if ((recipient == DECISION_MESSAGE || steps[i].step.recipient == recipient) &&
                    span_equal_nocase(steps[i].step.rcpt_to, about))
                        return true;
        return false;
}

static void print_message(const struct told *steps, size_t count, struct span about)
{
        const bool is_about_recipient = was_called(steps, count, DECISION_MESSAGE, about);
        char id[ID_TEXT_LEN + 1];
        uint32_t recipient;

        printf("Message %s\n", id_format(steps[0].message_id, id));
        for (size_t i = 0; i < count; i++)
                if (steps[i].step.recipient == DECISION_MESSAGE)
                        print_step(&steps[i].step);
        recipient = next_recipient(steps, count, 0);
        while (recipient != DECISION_MESSAGE) {
                if (!is_about_recipient || was_called(steps, count, recipient, about))
                        print_recipient(steps, count, recipient);
                recipient = next_recipient(steps, count, recipient + 1);
        }
}

void story_print(struct story *s, struct span about)
{
        size_t at = 0, end;

        sort_steps(s);
        while (next_message(s, &at, &end)) {
                if (at)
                        putchar('\n');
                print_message(s->steps + at, end - at, about);
                at = end;
        }
}

/* ---- for programs ------------------------------------------------------- */

/* Octets that are not UTF-8 become "?": JSON has no others. */
static json_t *string_of(struct span s)
{
        json_t *text = json_stringn(s.p ? s.p : "", s.len);
        char *copy;

        if (text)
                return text;
        copy = malloc(s.len);
        for (size_t i = 0; copy && i < s.len; i++)
                copy[i] = (unsigned char) s.p[i] > 126 ? '?' : s.p[i];
        text = copy ? json_stringn(copy, s.len) : NULL;
        free(copy);
        return text;
}

static json_t *json_step(const struct decision_step *step)
{
        const struct {
                const char *name;
                struct span text;
        } texts[] = {
                { "rcpt_to", step->rcpt_to },   { "rule", step->rule }, { "origin", step->origin },
                { "enhanced", step->enhanced }, { "text", step->text }, { "next", step->next },
                { "host", step->host },         { "detail", step->detail },
        };
        json_t *row = json_object();

        json_object_set_new(row, "at", json_integer((json_int_t) step->at_us));
        json_object_set_new(row, "kind", json_string(decision_kind_name(step->kind)));
        if (step->recipient != DECISION_MESSAGE)
                json_object_set_new(row, "recipient", json_integer(step->recipient));
        if (step->code)
                json_object_set_new(row, "code", json_integer(step->code));
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
                if (texts[i].text.len)
                        json_object_set_new(row, texts[i].name, string_of(texts[i].text));
        return row;
}

void story_print_json(struct story *s)
{
        size_t at = 0, end;

        sort_steps(s);
        while (next_message(s, &at, &end)) {
                json_t *row = json_object(), *steps = json_array();
                char id[ID_TEXT_LEN + 1];

                json_object_set_new(row, "id", json_string(id_format(s->steps[at].message_id, id)));
                for (size_t i = at; i < end; i++)
                        json_array_append_new(steps, json_step(&s->steps[i].step));
                json_object_set_new(row, "steps", steps);
                console_json(row);
                at = end;
        }
}
