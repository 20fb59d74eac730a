#include "store/rocksdb_calls.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Debian's name of the version whose header this was compiled with. */
#ifndef ROCKSDB_LIBRARY
#error "meson.build says ROCKSDB_LIBRARY"
#endif

struct rocksdb_calls rdb;

static const struct {
        const char *name;
        void *call; /* where the pointer to it goes */
} calls[] = {
#define ROCKSDB_CALL_ROW(name) {"rocksdb_" #name, &rdb.name},
        ROCKSDB_CALLS(ROCKSDB_CALL_ROW)
#undef ROCKSDB_CALL_ROW
};

int rocksdb_calls_load(char *error)
{
        static void *library; /* kept: its code runs until the process ends */

        if (library)
                return 0;
        library = dlopen(ROCKSDB_LIBRARY, RTLD_NOW | RTLD_LOCAL);
        for (size_t i = 0; library && i < sizeof calls / sizeof calls[0]; i++) {
                void *found = dlsym(library, calls[i].name);

                memcpy(calls[i].call, &found, sizeof found);
                if (!found) {
                        dlclose(library);
                        library = NULL;
                }
        }
        if (library)
                return 0;
        snprintf(error, 256, "index: RocksDB cannot be loaded: %.200s", dlerror());
        return -ELIBACC;
}
