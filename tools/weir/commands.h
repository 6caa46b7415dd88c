/* SPDX-License-Identifier: MIT */
/*
 * commands.h - What the commands of the binary `weir` share with its dispatcher.
 *
 * A command is one function in its own file, cmd_<id>.c; its name is the id with dashes
 * for underscores. It gets its own argument vector (argv[0] is the command's name) and
 * returns an exit status.
 * WR_COMMANDS is the only list of them: the dispatcher, `weir --help` and the
 * near-miss hint come from it, in this order.
 */
#ifndef WR_TOOLS_COMMANDS_H
#define WR_TOOLS_COMMANDS_H

enum wr_exit {
	WR_EXIT_OK = 0,
	WR_EXIT_FAILED = 1,
	WR_EXIT_USAGE = 2,
	WR_EXIT_INTERRUPTED = 130, /* 128 + SIGINT, after everything is cleaned up */
};

#define WR_COMMANDS(X)                                                                        \
	X(doctor, "doctor", "what this machine gives and what to change")                     \
	X(mkmodel, "mkmodel", "write a Qwen3-VL-shaped checkpoint with pseudo-random values") \
	X(inspect, "inspect", "show a model's tensors and groups")                            \
	X(verify, "verify", "compare every tensor read by the engine with plain reads")       \
	X(load, "load", "read a whole model cold into memory and time it")                    \
	X(stream, "stream", "run passes over a model under a memory budget")                  \
	X(replay, "replay", "run a recorded trace through cache policies")                    \
	X(top, "top", "watch a running host, or look at one that crashed")                    \
	X(exporter, "exporter", "serve the metrics of running hosts to Prometheus")           \
	X(trace, "trace", "see what the kernel sees of a process: waits, misses, I/O")        \
	X(bench, "bench", "measure against peers and limits")                                 \
	X(pool_map, "pool-map", "draw what a memory pool looked like over time")

#define WR_COMMAND_DECLARE(id, name, help) int cmd_##id(int argc, char **argv);
WR_COMMANDS(WR_COMMAND_DECLARE)

#endif /* WR_TOOLS_COMMANDS_H */
