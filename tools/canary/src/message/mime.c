#include "base/good.h"
#include "net/loop.h"
#include <sys/socket.h>
#include <string.h>
