#include "ctl/why.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

#include "base/id.h"
#include "ctl/console.h"
#include "ctl/control_client.h"
#include "ctl/story.h"

const char why_help[] =
        "hayauma why ID|MESSAGE-ID|ADDRESS [-c FILE] [--json]\n"
        "\n"
        "Tells what became of a message and why: by the id that our 250 and the log\n"
        "name, by its Message-ID field, or of all messages to or from an address, of\n"
        "which the last hundred are told. For each recipient: the rule that decided and\n"
        "the place where it stands, the route, every attempt with the words of the other\n"
        "side, and where the message is now. --json prints one object a message.\n";

enum { MESSAGES_MAX = 100, IDS_MAX = 10000 };

struct why {
        struct story *story;
        struct control_client *client;
        int result; /* of the first record that could not be taken */
};

static void add_record(void *arg, struct span octets)
{
        struct why *w = arg;
        const int r = story_add(w->story, octets);

        if (r < 0 && w->result == 0)
                w->result = r;
}

static int ask(struct why *w, struct span key, int unsaid)
{
        return control_client_call(w->client, &(struct control_client_request) {
                .verb = "why",
                .arguments = {{ "key", key }},
                .octets = add_record,
                .arg = w,
                .unsaid = unsaid,
        });
}

/* A Message-ID may be given with or without its angle brackets: the other form
 * is asked for when the first is unknown. */
static int ask_both_ways(struct why *w, const char *key)
{
        const struct span text = span_from_string(key);
        const bool has_brackets = text.len > 2 && key[0] == '<' && key[text.len - 1] == '>';
        char with[1024];
        int status = ask(w, text, EX_NOINPUT);

        if (status == EX_NOINPUT && has_brackets)
                return ask(w, span_make(key + 1, text.len - 2), EX_OK);
        if (status != EX_NOINPUT)
                return status;
        snprintf(with, sizeof with, "<%.1000s>", key);
        return ask(w, strchr(key, '@') ? span_from_string(with) : text, EX_OK);
}

/* What was found by an address or Message-ID are parts; the whole story of each
 * message comes by its id. */
static int ask_each(struct why *w)
{
        static uint64_t ids[IDS_MAX];
        const size_t count = story_ids(w->story, ids, IDS_MAX);
        const size_t first = count > MESSAGES_MAX ? count - MESSAGES_MAX : 0;
        int status = EX_OK;

        if (first)
                console_fail(EX_OK, "%zu older messages are not told here", first);
        story_clear(w->story);
        for (size_t i = first; i < count && status == EX_OK; i++) {
                char id[ID_TEXT_LEN + 1];

                status = ask(w, span_from_string(id_format(ids[i], id)), EX_NOINPUT);
                if (status == EX_NOINPUT)
                        status = EX_OK; /* its day was dropped just now */
        }
        return status;
}

static int tell(struct why *w, const char *key, bool is_json)
{
        uint64_t id;
        int status;

        if (id_parse(span_from_string(key), &id) == 0) {
                status = ask(w, span_from_string(key), EX_OK);
        } else {
                status = ask_both_ways(w, key);
                if (status == EX_OK)
                        status = ask_each(w);
        }
        if (status != EX_OK)
                return status;
        if (is_json)
                story_print_json(w->story);
        else
                story_print(w->story, span_from_string(key));
        if (w->result < 0)
                return console_fail(EX_DATAERR, "a record could not be read, the story has gaps: "
                                    "%s", strerror(-w->result));
        return EX_OK;
}

int why_run(int argc, char **argv)
{
        const char *config_file = NULL;
        bool is_json = false;
        const struct console_option options[] = {
                CONSOLE_OPTION_CONFIG(&config_file),
                CONSOLE_OPTION_JSON(&is_json),
        };
        const int words = console_options(argc, argv, options, 2);
        struct why w = {0};
        struct config *c = NULL;
        int status;

        if (words != 1)
                return words < 0 ? EX_USAGE
                                 : console_fail(EX_USAGE, "say of what: a message id, a Message-ID "
                                                "or an address");
        status = console_config(config_file, &c);
        if (status == EX_OK)
                status = control_client_open(c, "keeper", &w.client);
        if (status == EX_OK) {
                w.story = story_new();
                status = w.story ? tell(&w, argv[1], is_json)
                                 : console_fail(EX_OSERR, "there is not enough memory");
        }
        story_free(w.story);
        control_client_close(w.client);
        config_free(c);
        return status;
}
