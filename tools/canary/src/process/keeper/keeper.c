#include "process/keeper/keeper.h"
#include "process/process.h"
