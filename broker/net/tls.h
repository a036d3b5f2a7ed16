/* TLS on one socket: a handshake, then bytes in and out. All on one loop's thread; nothing here waits.
 *
 * Its socket is asked through the table of base/sockets.h, so that it works on a network in memory too. */
#ifndef OTTLA_BROKER_NET_TLS_H
#define OTTLA_BROKER_NET_TLS_H

#include "base/err.h"
#include "base/sockets.h"

struct tls;
struct tls_context;

/* What the TLS connections of one loop share. Made when the first of them is. */
struct tls_pool;
void tls_pool_free(struct tls_pool *pool); /* NULL is fine */
enum { TLS_RECORD_BYTES = 16 << 10 };
/* Where a record's bytes may be put together: TLS_RECORD_BYTES of them. */
uint8_t *tls_pool_record(struct tls_pool *pool);

/* Takes the reference to `context` over, in any case. `host`: whom a client means to reach. NULL: no memory. */
struct tls *tls_new(struct tls_pool **pool, struct tls_context *context, const char *host,
                    struct sockets *sockets, int fd);
/* Says goodbye to the other side, if the handshake is done and nothing has failed. The socket stays open. */
void tls_free(struct tls *tls); /* NULL is fine */

enum tls_progress { TLS_DONE, TLS_WANTS_READ, TLS_WANTS_WRITE, TLS_FAILED };
/* One step. TLS_FAILED: the other side was told, and what arrived of it meanwhile is thrown away, so that closing
 * does not take the alert back. */
enum tls_progress tls_handshake(struct tls *tls);
bool tls_is_ready(const struct tls *tls);
/* Why it has failed; as long as it is there. */
const char *tls_why(const struct tls *tls);
/* Is it TLS that has failed, and not the socket under it? */
bool tls_has_reason(const struct tls *tls);
/* The name of the other side's principal, malloc'd; NULL: it has shown no certificate. E_NOT_FOUND: it has one
 * that no rule applies to. */
NODISCARD err tls_principal(const struct tls *tls, char **name);

/* As the sockets' functions: EAGAIN when nothing goes now, 0 at the end. A call receives from the socket at most
 * once. */
ssize_t tls_receive(struct tls *tls, void *data, size_t len);
/* Is there more that tls_receive() would give, though the socket may have nothing? */
bool tls_holds_input(const struct tls *tls);
/* What was offered must be offered again after EAGAIN: as much or more, which may have moved. At most one
 * record is sent. `more`: something follows at once. */
ssize_t tls_send(struct tls *tls, const void *data, size_t len, bool more);
/* Must the socket be writable before anything can be received? */
bool tls_wants_write(const struct tls *tls);

#endif
