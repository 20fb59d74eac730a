#include "process/process.h"
#include "strange/why.h"
