#include "process/meters_area.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "policy/meters.h"

static const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

static int format(int fd, size_t size)
{
        void *area;

        if (ftruncate(fd, (off_t) size) < 0)
                return -errno;
        area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (area == MAP_FAILED)
                return -errno;
        meters_format(area, size, hash_seed());
        munmap(area, size);
        return fcntl(fd, F_ADD_SEALS, seals) < 0 ? -errno : 0;
}

int meters_area_new(int *ret_fd)
{
        const int fd = memfd_create("meters", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = format(fd, meters_size(METERS_CLIENTS));
        if (r < 0) {
                close(fd);
                return r;
        }
        *ret_fd = fd;
        return 0;
}

int meters_area_map(int fd, void **ret_area, size_t *ret_size)
{
        struct stat st;
        void *area;

        if (fstat(fd, &st) < 0)
                return -errno;
        if ((fcntl(fd, F_GET_SEALS) & seals) != seals || st.st_size <= 0)
                return -EBADMSG;
        area = mmap(NULL, (size_t) st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (area == MAP_FAILED)
                return -errno;
        *ret_area = area;
        *ret_size = (size_t) st.st_size;
        return 0;
}
