/* `hayauma tls`: makes certificates, requests for them, and an authority of
 * one's own. Works with the server down; nothing here talks to it. */
#pragma once

int tls_run(int argc, char **argv);
extern const char tls_help[];
