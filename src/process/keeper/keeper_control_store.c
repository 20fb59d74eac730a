/* backup.begin, backup.end: the command line copies the files it is told of; the
 * keeper itself may write nowhere but below the state folder. */
#include <errno.h>
#include <stdlib.h>
#include <sysexits.h>

#include <jansson.h>

#include "process/keeper/keeper_control.h"

static void send_file(struct control_session *s, const struct store_backup_file *file)
{
        json_t *row = json_pack("{s:s%, s:s%, s:I}", "path", file->path.p, file->path.len, "to",
                                file->to.p, file->to.len, "size", (json_int_t) file->size);
        char *text = row ? json_dumps(row, JSON_COMPACT) : NULL;

        if (text)
                CHANNEL_SEND(s->channel, control_row, -1, .json = span_from_string(text));
        free(text);
        json_decref(row);
}

static void got_files(void *arg, int result, const struct store_backup_file *files, size_t count)
{
        struct control_session *s = arg;

        s->has_backup = result == 0;
        for (size_t i = 0; i < count && result == 0 && s->channel; i++)
                send_file(s, &files[i]);
        if (result == -EBUSY)
                control_end(s, EX_TEMPFAIL, "another backup is being made");
        else
                control_end_errno(s, result, "preparing the backup");
}

void control_store_backup_begin(struct control_session *s)
{
        if (s->has_backup)
                control_end(s, EX_PROTOCOL, "this backup has begun already");
        else
                store_backup_begin(s->keeper->store, got_files, s);
}

void control_store_backup_end(struct control_session *s)
{
        if (s->has_backup)
                store_backup_end(s->keeper->store);
        s->has_backup = false;
        control_end(s, EX_OK, "");
}
