/* The file operations of the local: driver, so that a test can put a simulated
 * disk under it (io_sim.h). Paths are relative to the store's folder.
 *
 * All results are 0 or more, or a negative errno. What is written is durable
 * after io_sync() of the file; that a name exists, after io_sync_directory()
 * of its folder ("" is the store's own). Any thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/span.h"

enum {
        IO_CREATE = 1, IO_EXCLUSIVE = 2, IO_READ_ONLY = 4, IO_WRITE_ONLY = 8,
        /* Past the system's cache: opening or the first write says -EINVAL where that cannot
         * be done. Memory, sizes and places are of whole blocks of 4 KiB. */
        IO_DIRECT = 16,
};

struct io;

typedef void io_list_fn(void *arg, const char *name);

struct io_driver {
        int (*open)(struct io *io, const char *path, unsigned flags);
        void (*close)(struct io *io, int file);
        int64_t (*pread)(struct io *io, int file, void *out, size_t n, uint64_t at);
        int (*pwritev)(struct io *io, int file, struct iovec *parts, size_t count, uint64_t at);
        int (*allocate)(struct io *io, int file, uint64_t size);
        int (*truncate)(struct io *io, int file, uint64_t size);
        int (*sync)(struct io *io, int file);
        void (*begin_sync)(struct io *io, int file); /* or NULL */
        int64_t (*size)(struct io *io, int file);
        int (*rename)(struct io *io, const char *old_path, const char *new_path);
        int (*unlink)(struct io *io, const char *path);
        int (*mkdir)(struct io *io, const char *path);
        int (*rmdir)(struct io *io, const char *path);
        int (*sync_directory)(struct io *io, const char *path);
        int (*list)(struct io *io, const char *path, io_list_fn *each, void *arg);
        int (*space)(struct io *io, uint64_t *ret_free, uint64_t *ret_total);
        int (*lock)(struct io *io, const char *path);
        int (*has_no_writer)(struct io *io, const char *path);
        void (*free)(struct io *io);
};

struct io {
        const struct io_driver *driver;
        bool has_descriptors; /* a file is a descriptor, which may be handed out */
};

static inline int io_open(struct io *io, const char *path, unsigned flags)
{
        return io->driver->open(io, path, flags);
}
static inline void io_close(struct io *io, int file)
{
        if (file >= 0)
                io->driver->close(io, file);
}

/* Fewer than `n` only at the end of the file. */
static inline int64_t io_pread(struct io *io, int file, void *out, size_t n, uint64_t at)
{
        return io->driver->pread(io, file, out, n, at);
}

/* All of it; `parts` are spent. */
static inline int io_pwritev(struct io *io, int file, struct iovec *parts, size_t count,
                             uint64_t at)
{
        return io->driver->pwritev(io, file, parts, count, at);
}

/* Makes the file that long, its blocks set aside. */
static inline int io_allocate(struct io *io, int file, uint64_t size)
{
        return io->driver->allocate(io, file, size);
}
static inline int io_truncate(struct io *io, int file, uint64_t size)
{
        return io->driver->truncate(io, file, size);
}
static inline int io_sync(struct io *io, int file)
{
        return io->driver->sync(io, file);
}

/* Makes a later io_sync() shorter, where that is possible. */
static inline void io_begin_sync(struct io *io, int file)
{
        if (io->driver->begin_sync)
                io->driver->begin_sync(io, file);
}
static inline int64_t io_size(struct io *io, int file)
{
        return io->driver->size(io, file);
}
static inline int io_rename(struct io *io, const char *old_path, const char *new_path)
{
        return io->driver->rename(io, old_path, new_path);
}
static inline int io_unlink(struct io *io, const char *path)
{
        return io->driver->unlink(io, path);
}

/* 0 also when it is there already. */
static inline int io_mkdir(struct io *io, const char *path)
{
        return io->driver->mkdir(io, path);
}
static inline int io_rmdir(struct io *io, const char *path)
{
        return io->driver->rmdir(io, path);
}
static inline int io_sync_directory(struct io *io, const char *path)
{
        return io->driver->sync_directory(io, path);
}

/* Every name in the folder, without "." and "..", in no order. */
static inline int io_list(struct io *io, const char *path, io_list_fn *each, void *arg)
{
        return io->driver->list(io, path, each, arg);
}
static inline int io_space(struct io *io, uint64_t *ret_free, uint64_t *ret_total)
{
        return io->driver->space(io, ret_free, ret_total);
}

/* -EWOULDBLOCK: another process has it. Held until io_free(). */
static inline int io_lock(struct io *io, const char *path)
{
        return io->driver->lock(io, path);
}

/* 0, -EBUSY (somebody has it open for writing, or mapped so), -EOPNOTSUPP. */
static inline int io_has_no_writer(struct io *io, const char *path)
{
        return io->driver->has_no_writer(io, path);
}
static inline struct io *io_free(struct io *io)
{
        if (io)
                io->driver->free(io);
        return NULL;
}

/* The real one. `directory_fd` is copied; -1: `path` is opened, and made if
 * it is missing. */
int io_real_new(const char *path, int directory_fd, struct io **ret_io);
