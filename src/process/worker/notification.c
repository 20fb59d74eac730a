#include "process/worker/notification.h"

#include <errno.h>
#include <stdio.h>

#include "base/id.h"
#include "base/utf8.h"
#include "message/dsn.h"
#include "message/header.h"
#include "route/route.h"

enum {
        RECIPIENTS_MAX = 100, /* of one order, as the schema says */
        /* Whose text does not go back: a report is lines, and travels without a
         * promise of TLS (RFC 8689 section 5). */
        NO_TEXT = ENVELOPE_BINARY | ENVELOPE_REQUIRETLS,
};

/* How much is told; tried from the first on until it fits. */
static const struct {
        bool has_text, has_header;
        size_t reply_max;
        size_t recipients_max;
} fits[] = {
        { true, true, IPC_TEXT_MAX, RECIPIENTS_MAX },
        { false, true, IPC_TEXT_MAX, RECIPIENTS_MAX },
        { false, false, IPC_TEXT_MAX, RECIPIENTS_MAX },
        { false, false, 200, RECIPIENTS_MAX },
        { false, false, 200, 20 },
};

static size_t take_recipients(const struct ipc_dsn_order *order, size_t reply_max,
                              size_t recipients_max, struct dsn_recipient *ret)
{
        struct reader items = ipc_items_read(order->recipients);
        struct ipc_dsn_recipient each;
        size_t count = 0;

        while (count < recipients_max && ipc_next_dsn_recipient(&items, &each))
                ret[count++] = (struct dsn_recipient) {
                        .rcpt_to = each.rcpt_to,
                        .orcpt = each.orcpt,
                        .host = each.host,
                        .code = each.code,
                        .enhanced = each.enhanced,
                        .text = span_first(each.text, reply_max),
                };
        return count;
}

int notification_format(const struct ipc_dsn_order *order, struct span hostname,
                        enum status_language language, uint64_t now_us, struct buffer *out)
{
        char message_id[ID_TEXT_LEN + 1], id[ID_TEXT_LEN + 32];
        struct dsn_recipient recipients[RECIPIENTS_MAX];
        struct dsn d = {
                .action = order->action,
                .now_us = now_us,
                .arrived_us = order->arrived_us,
                .retry_until_us = order->retry_until_us,
                .hostname = hostname,
                .mail_from = order->mail_from,
                .envid = order->envid,
                .recipients = recipients,
                /* RFC 3461 section 4.3: RET is about failures alone. */
                .returns_full = order->action == DSN_FAILED &&
                                order->flags & ENVELOPE_RET_FULL && !(order->flags & NO_TEXT),
                .is_smtputf8 = !utf8_is_ascii(order->mail_from),
                .may_be_8bit = true,
                .language = language,
        };
        int r = -EMSGSIZE;

        d.message_id = span_from_string(id_format(order->message_id, message_id));
        snprintf(id, sizeof id, "%s.%llx", message_id, (unsigned long long) now_us);
        d.id = span_from_string(id);
        for (size_t i = 0; r == -EMSGSIZE && i < sizeof fits / sizeof fits[0]; i++) {
                size_t body;
                const size_t header = header_len(order->original, &body);

                buffer_clear(out);
                d.original = fits[i].has_text     ? order->original
                             : fits[i].has_header ? span_first(order->original, header)
                                                  : (struct span) {0};
                /* A full frame is one that was cut. */
                d.is_original_cut = !fits[i].has_text || order->original.len == IPC_BODY_PART_MAX;
                d.recipient_count = take_recipients(order, fits[i].reply_max,
                                                    fits[i].recipients_max, recipients);
                r = dsn_format(&d, out);
        }
        return r;
}

uint32_t notification_flags(const struct ipc_dsn_order *order, struct span text)
{
        uint32_t flags = utf8_is_ascii(text) ? 0 : ENVELOPE_8BIT;

        if (!utf8_is_ascii(order->mail_from))
                flags |= ENVELOPE_SMTPUTF8;
        return flags;
}
