#include "base/pragma.h"
#include "base/purpose.h"
