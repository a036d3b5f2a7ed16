/* Names of certificates as text, as Java prints them: RFC 2253's order and escapes, without spaces, e.g.
 * "CN=Carol,OU=data,O=Acme,C=NL". (reference: security §2) */
#ifndef OTTLA_BROKER_SECURITY_DN_H
#define OTTLA_BROKER_SECURITY_DN_H

#include <openssl/x509.h>
#include <stdbool.h>

/* Malloc'd, UTF-8; NULL: the name is broken. */
char *dn_text(const X509_NAME *name);
/* The alternative names of a certificate, sorted, each once, each with the number of its kind, as Java prints them:
 * "[[2, localhost], [7, 127.0.0.1]]". Malloc'd. */
char *dn_alternatives_text(const X509 *certificate);
/* Has `fresh` all the alternative names of `old`? */
bool dn_alternatives_cover(const X509 *fresh, const X509 *old);

#endif
