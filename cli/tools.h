/* The tools: each takes the arguments after its name, says what it has to say on stdout and stderr, and returns the
 * exit status. cli/tools.def lists them. */
#ifndef OTTLA_CLI_TOOLS_H
#define OTTLA_CLI_TOOLS_H

#include "base/bytes.h"

#define TOOL(name, function, summary) int function(int argc, char **argv);
#include "cli/tools.def"
#undef TOOL

#endif
