/* Checks of whole structures, for which a walk is too long in production: on in debug builds (debug,
 * asan, tsan, fuzz). Written as `if (DEBUG_CHECKS) { thing_check(thing); }`, so that they always
 * compile; what is cheap is a plain CHECK (base/err.h). */
#ifndef OTTLA_BASE_CHECK_H
#define OTTLA_BASE_CHECK_H

#ifdef OTTLA_DEBUG
enum { DEBUG_CHECKS = 1 };
#else
enum { DEBUG_CHECKS = 0 };
#endif

#endif
