/* `hayauma mailbox list|show|export|import`. */
#pragma once

extern const char mailbox_help[];
int mailbox_run(int argc, char **argv);
