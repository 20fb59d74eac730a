/* `hayauma run` and what it starts, `hayauma process KIND NUMBER`. */
#pragma once

int run_command(int argc, char **argv);
int run_process_command(int argc, char **argv);
