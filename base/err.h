/* Errors, and checks of what must be true.
 *
 * One type for every error: 0 is fine; -1 and everything above 0 is an error code of the Kafka
 * protocol, as on the wire (protocol/error.h names them); -1000 and below is local to this
 * process: an errno as -1000 - errno, or one of the E_ codes here. An err is always checked. */
#ifndef OTTLA_BASE_ERR_H
#define OTTLA_BASE_ERR_H

#include <errno.h>
#include <stdbool.h>

typedef int err;

enum {
    OK = 0,
    E_LIMIT = -2000,     /* a bound would be exceeded */
    E_TRUNCATED = -2001, /* input ends too early */
    E_MALFORMED = -2002, /* input breaks a rule of its format */
    E_CORRUPT = -2003,   /* stored bytes fail their check */
    E_NOT_FOUND = -2004,
    E_EXISTS = -2005,
    E_VERSION = -2006, /* a conditional write met another version */
    E_CLOSED = -2007,  /* the thing is closed or shutting down */
    E_CONFIG = -2008,
    E_NOT_EMPTY = -2009,
    E_UNSUPPORTED = -2010,
    E_BUSY = -2011,
    E_SESSION = -2012, /* the coordination session is gone */
    E_UNKNOWN_OUTCOME = -2013,
};

#define NODISCARD __attribute__((warn_unused_result))

static inline err err_from_errno(int number)
{
    return -1000 - number;
}

/* Is it of this process, and no code of the protocol? */
static inline bool err_is_local(err e)
{
    return e <= -1000;
}

/* The errno in a local error, or 0 where there is none. */
static inline int err_to_errno(err e)
{
    return e <= -1000 && e > -2000 ? -1000 - e : 0;
}

/* Is the disk full, or this user's part of it? */
static inline bool err_is_no_room(err e)
{
    int number = err_to_errno(e);
    return number == ENOSPC || number == EDQUOT;
}

/* For an error that is deliberately passed over; the caller says why. */
static inline void err_ignore(err e)
{
    (void)e;
}

/* A short text for a local error; static or thread-local storage, valid until the next call. */
const char *err_text(err e);

/* Returns from the calling function when the expression is an error. */
#define TRY(expression)                                                                            \
    do {                                                                                           \
        err try_err_ = (expression);                                                               \
        if (try_err_ != OK) {                                                                      \
            return try_err_;                                                                       \
        }                                                                                          \
    } while (0)

/* What only a bug of ours can break; on in production. Never used on input. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            check_failed(#condition, __FILE__, __LINE__);                                          \
        }                                                                                          \
    } while (0)

__attribute__((noreturn, cold)) void check_failed(const char *condition, const char *file,
                                                  int line);

/* malloc and friends that do not return without memory: for small, bounded, long-lived things.
 * What a peer can size is allocated with plain malloc or from an arena, and its failure handled. */
void *xmalloc(unsigned long size);
void *xcalloc(unsigned long count, unsigned long size);
void *xrealloc(void *memory, unsigned long size);
char *xstrdup(const char *text);
__attribute__((format(printf, 1, 2))) char *xasprintf(const char *format, ...);

#endif
