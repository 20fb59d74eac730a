/* The genericstable: addresses that senders are rewritten to.
 *
 *   taro              Taro.Yamada@example.jp
 *   root@mx1.example  postmaster@example.jp
 *
 * In a snapshot key and value are as they stand. */
#include "config/table.h"
#include "message/address.h"

static int parse_entry(struct table_lines *t, struct span entry, struct snapshot_build *b)
{
        struct address address;
        struct span key, value;

        if (!table_split_entry(t, entry, &key, &value))
                return 0;
        if (address_parse(key, true, &address) < 0 || address.is_literal) {
                table_error(t, "\"%.*s\" is no key; write a local name or an address",
                            TABLE_TEXT(key));
                return 0;
        }
        if (address_parse(value, true, &address) < 0) {
                table_error(t, "\"%.*s\" is no address; write it like taro@example.jp",
                            TABLE_TEXT(value));
                return 0;
        }
        return snapshot_build_add(b, SNAPSHOT_GENERICSTABLE, key, value, t->line);
}

int table_genericstable_parse(struct span text, struct span name, struct snapshot_build *b,
                              struct buffer *error)
{
        struct table_lines t = TABLE_LINES(text, name, error);

        return table_each_entry(&t, SNAPSHOT_GENERICSTABLE, b, parse_entry);
}
