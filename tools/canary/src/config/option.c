#include "config/option.h"

#include "option.h"
#include "base/good.h"
#include <rocksdb/c.h>
