#include "config/option.h"
#include "net/loop.h"
