#include "process/sealed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static const int seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

int sealed_new(const char *name, struct span octets, int *ret_fd)
{
        _cleanup_(close_fd) int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = file_write_all(fd, octets.p, octets.len);
        if (r == 0 && fcntl(fd, F_ADD_SEALS, seals) < 0)
                r = -errno;
        if (r < 0)
                return r;
        *ret_fd = fd;
        fd = -1;
        return 0;
}

int sealed_map(int fd, size_t size_max, struct span *ret_octets)
{
        struct stat st;
        void *map;

        if (fstat(fd, &st) < 0)
                return -errno;
        if ((uint64_t) st.st_size > size_max)
                return -EMSGSIZE;
        if ((fcntl(fd, F_GET_SEALS) & seals) != seals)
                return -EBADMSG;
        if (st.st_size == 0) {
                *ret_octets = (struct span) {0};
                return 0;
        }
        map = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED)
                return -errno;
        *ret_octets = span_make(map, (size_t) st.st_size);
        return 0;
}

void sealed_unmap(struct span octets)
{
        if (octets.len)
                munmap((void *) (uintptr_t) octets.p, octets.len);
}
