/* What access asks of the keeper: mailboxes, first as they are and then each
 * change of them (keeper_view.c), mailboxes by name (keeper_view_folder.c),
 * changes and appends (keeper_view_change.c), bodies (keeper_view_body.c). */
#pragma once

#include "process/keeper/keeper.h"

/* Handlers of an access process's channel. */
void keeper_on_view_open(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_view_close(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_folder_order(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_change_order(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_append_order(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_blob_query(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_place_query(struct channel *ch, void *peer, const union ipc_message *m, int *fd);
void keeper_on_segment_query(struct channel *ch, void *peer, const union ipc_message *m, int *fd);

/* Credit came back: views go on being sent. */
void keeper_view_credit(struct channel *ch, void *peer);

/* The process is gone: so are its views. */
void keeper_view_forget(struct keeper_peer *peer);

/* An order of an access process, whose channel may have been replaced when the
 * answer is known. */
struct keeper_asker {
        struct keeper_peer *peer;
        uint64_t generation;
};
struct keeper_asker keeper_asker(struct keeper_peer *peer);

/* The channel to answer on, or NULL. */
struct channel *keeper_asker_channel(const struct keeper_asker *a);

/* Keywords of a mailbox as items; `b` is empty and holds them. */
struct ipc_items keeper_view_keywords(const struct account *a, uint64_t mailbox_id,
                                      struct buffer *b);

/* "a NUL b NUL": at most IPC_KEYWORDS_MAX words, into room for as many. */
size_t keeper_split_keywords(struct span text, struct span *ret);
