#include "process/process.h"

/* One row a role. A kind without a row is not started by the supervisor. */
const struct process_role *const process_roles[PROCESS_KIND_END] = {
        [PROCESS_SUPERVISOR] = NULL, /* it is `hayauma run` itself */
        [PROCESS_RESOLVER] = &resolver_role,
        [PROCESS_COMPILER] = &compiler_role,
        [PROCESS_AGENT] = &agent_role,
        [PROCESS_DIRECTORY] = &directory_role,
        [PROCESS_WORKER] = &worker_role,
        [PROCESS_RELAY] = &relay_role,
        [PROCESS_KEEPER] = &keeper_role,
        [PROCESS_ACCESS] = &access_role,
        [PROCESS_EDGE] = &edge_role,
};
