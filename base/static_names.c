/* Names, in a binary without shared libraries (`make static`). Not part of the others.
 *
 * glibc resolves names by the modules that /etc/nsswitch.conf lists. "files" (/etc/hosts) and "dns" (/etc/resolv.conf)
 * are part of libc.a; any other one is a shared library of the machine, which would have to be of the very glibc that
 * this binary was linked with, and would bring a second C library into the process. So the list is fixed: files, then
 * dns, whatever the file says, and nothing is ever loaded. What is lost are the names that only other modules know:
 * mDNS (.local), systemd's containers, LDAP. musl, the other way to a static binary, has the same two sources; but
 * Debian's archives of the libraries are made for glibc.
 *
 * An empty root, as of an image FROM scratch that nobody mounts files into, has neither file. There "localhost" is
 * the loopback address, as RFC 6761 wants it, without a question to a server. */
#define _GNU_SOURCE
#include <netdb.h>
#include <nss.h>
#include <strings.h>
#include <unistd.h>

/* The linker's names for the two (--wrap). */
int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **result);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **result);

/* Before main(): libzookeeper asks for names, and for the user's, by itself. */
__attribute__((constructor)) static void fix_sources(void)
{
    (void)__nss_configure_lookup("hosts", "files dns");
    (void)__nss_configure_lookup("passwd", "files");
    (void)__nss_configure_lookup("services", "files");
    (void)__nss_configure_lookup("protocols", "files");
}

/* No node and no AI_PASSIVE: the loopback address. Of IPv4, unless IPv6 is asked for, as Java has it. */
static int loopback(const char *service, const struct addrinfo *hints, struct addrinfo **result)
{
    struct addrinfo plain = hints != NULL ? *hints : (struct addrinfo){.ai_family = AF_UNSPEC};
    plain.ai_flags &=
        ~(AI_PASSIVE | AI_CANONNAME | AI_ADDRCONFIG); /* which does not count loopback */
    plain.ai_family = plain.ai_family == AF_UNSPEC ? AF_INET : plain.ai_family;
    return __real_getaddrinfo(NULL, service, &plain, result);
}

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **result)
{
    if (node == NULL || service == NULL || strcasecmp(node, "localhost") != 0) {
        return __real_getaddrinfo(node, service, hints, result);
    }
    if (access("/etc/hosts", R_OK) != 0) {
        return loopback(service, hints, result);
    }
    int failed = __real_getaddrinfo(node, service, hints, result);
    return failed == 0 ? 0 : loopback(service, hints, result);
}
