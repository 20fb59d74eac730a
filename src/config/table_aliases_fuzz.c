/* Any octets as aliases, and as a list that they include: what is good has only
 * recipients that can be understood, and command lines that an agent can split. */
#include "config/command_line.h"
#include "config/table_fuzz.h"
#include "message/address.h"

static void check_program(struct span line)
{
        struct buffer words = BUFFER_INIT(4096);
        const char *why = NULL;
        size_t count = 0;

        if (command_line_split(line, &words, &count, &why) < 0 || count == 0 ||
            words.data[0] != '/')
                abort();
        buffer_done(&words);
}

static void check(const struct snapshot *s, struct span key)
{
        const struct span include = SPAN(":include:/");
        struct span list, word;

        if (!s || !snapshot_get(s, SNAPSHOT_ALIASES, key, &list, NULL))
                return;
        while (list.len && span_split(&list, '\n', &word)) {
                struct address address;

                if (word.len && word.p[0] == '|')
                        check_program(span_skip(word, 1));
                if (span_starts_with_nocase(word, include) ||
                    (word.len && (word.p[0] == '|' || word.p[0] == '/')))
                        continue;
                if (word.len && word.p[0] == '\\')
                        word = span_skip(word, 1);
                if (address_parse(word, true, &address) < 0)
                        abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const struct span text = span_make((const char *) data, size);
        struct snapshot *s = fuzz_compile(table_aliases_parse, text);

        check(s, SPAN_LITERAL("a"));
        check(s, SPAN_LITERAL("root"));
        snapshot_close(s);
        s = fuzz_compile(table_include_parse, text);
        check(s, SPAN_LITERAL(":include:table"));
        snapshot_close(s);
        return 0;
}
