/* The second pass over a configuration: what no option can say alone. */
#pragma once

#include "base/arena.h"
#include "config/config.h"
#include "config/syntax.h"

/* Adds an error for each contradiction. `settings` tell which line to name. */
void config_check(const struct config *c, const struct syntax_setting *settings,
                  struct syntax_errors *errors, struct arena *arena);
