/* SPDX-License-Identifier: MIT */
/**
 * weir/log.h - Where the library's messages go.
 *
 * The library never prints. What it wants to tell goes to one function of the
 * host's, for the whole process; until one is set, nowhere. A message says what
 * happened, to what, and the code; a failure that a call returns is not told a
 * second time as an error.
 */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include <weir/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * enum weir_log_level - How much a message matters.
 * @WEIR_LOG_NONE:  As a limit: nothing at all.
 * @WEIR_LOG_ERROR: Something asked for does not work and no call could say so.
 * @WEIR_LOG_WARN:  It works, but slower or smaller than this machine could.
 * @WEIR_LOG_INFO:  Choices made once: the I/O backend, the page size, and why.
 * @WEIR_LOG_DEBUG: What helps to find a fault in weir itself.
 *
 * Since: 0.1
 */
enum weir_log_level {
	WEIR_LOG_NONE = 0,
	WEIR_LOG_ERROR = 1,
	WEIR_LOG_WARN = 2,
	WEIR_LOG_INFO = 3,
	WEIR_LOG_DEBUG = 4,
};

/**
 * weir_log_fn - A host's function that takes messages.
 * @arg:    As given to weir_log_set().
 * @level:  One of enum weir_log_level, never WEIR_LOG_NONE.
 * @module: Short name of the part of weir that speaks, such as "io"; static.
 * @text:   One line without a newline, at most 511 bytes, valid during the call.
 *
 * Called on whatever thread has something to say, by several at once. It must
 * not call weir, except weir_strerror(); messages raised while it runs on the
 * same thread are dropped.
 */
typedef void (*weir_log_fn)(void *arg, int level, const char *module, const char *text);

/**
 * weir_log_set() - Choose who gets the messages of this process.
 * @fn:        The function, or NULL for silence (the state at start).
 * @arg:       Passed to @fn as it is.
 * @max_level: The least important level that @fn wants; WEIR_LOG_NONE is silence.
 *
 * When this returns, the function set before is no longer running and will not
 * be called again, so its @arg may be freed.
 *
 * Context: Any thread, but not from inside a weir_log_fn. Takes no lock. Waits
 *          for calls of the previous function to return.
 * Return:  0, -EINVAL (no such level), -EDEADLK (called from inside a weir_log_fn).
 * Since:   0.1
 */
WEIR_API int weir_log_set(weir_log_fn fn, void *arg, int max_level) WEIR_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* WEIR_LOG_H */
