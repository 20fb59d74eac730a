/* `hayauma send`, and what it is when called as `sendmail`: hands a message to
 * the running server as a local user. Options are those of sendmail(8) that
 * programs use. */
#pragma once

extern const char send_help[];
int send_run(int argc, char **argv);
