/* A Kafka broker inside of your process: for tests, and for programs that bring their own.
 *
 *     char error[OTTLA_ERROR_BYTES];
 *     struct ottla *broker = ottla_start(NULL, error, sizeof(error));
 *     … ottla_address(broker) is what bootstrap.servers wants …
 *     ottla_stop(broker);
 *
 * Brokers are independent of each other; as many as you like may run at once. They have threads of their own, on which
 * no signal of yours is handled, and take no signals, exit nothing, and write nothing unless ottla_log_level() says so.
 * What remains of the process as a whole is that level; and a bug of ours that a broker finds in itself ends the process
 * by abort(), with one line on stderr. After fork() only the parent has brokers.
 *
 * All functions may be called on any thread; for one broker one at a time. Link with -lottla. */
#ifndef OTTLA_H
#define OTTLA_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define OTTLA_ERROR_BYTES 640

struct ottla;

/* Starts a broker and returns when it serves clients; NULL with one sentence in `error` (which may be NULL) if it cannot.
 * `options` is a list of "name=value" that ends with NULL, of the options of server.properties (OPTIONS.md); NULL: none.
 * Without `listeners` it listens on a free port of 127.0.0.1; without `log.dirs` all is in memory (in /dev/shm) and gone
 * with the broker; the other options are those of the file that Kafka ships. Neither files nor the environment are read. */
struct ottla *ottla_start(const char *const *options, char *error, size_t error_bytes);

/* "host:port" of its first listener. Valid until ottla_stop(). */
const char *ottla_address(const struct ottla *broker);

/* Makes a topic if it is not there, "name", "name:partitions" or "name:partitions:replication:compact", and returns when
 * it can be used. 0, or -1 with a sentence in `error`. */
int ottla_create_topic(struct ottla *broker, const char *topic, char *error, size_t error_bytes);

/* Stops it as SIGTERM stops a broker: what is in progress is answered, logs are closed. NULL is fine. */
void ottla_stop(struct ottla *broker);

/* Of all brokers of the process, on standard error: "OFF" (as it begins), "ERROR", "WARN", "INFO", "DEBUG". 0, or -1 if
 * there is no such level. */
int ottla_log_level(const char *level);

const char *ottla_version(void);

#ifdef __cplusplus
}
#endif

#endif
