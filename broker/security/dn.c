/* What Java (X500Principal.getName) does with a name: the last part first; of each part the keyword where RFC
 * 2253 has one (CN, L, ST, O, OU, C, STREET, DC, UID), else the number of the type, and the value as the hexadecimal
 * digits of its encoding; parts that stand together keep their order, with '+' between. A value has a
 * backslash before each of ,=+<>#;"\ and before blanks at its ends. */
#define _GNU_SOURCE
#include "broker/security/dn.h"

#include "base/writer.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DN_BYTES_MAX = 64 << 10, OID_TEXT_MAX = 128 };

static const char *keyword(const ASN1_OBJECT *type)
{
    switch (OBJ_obj2nid(type)) {
    case NID_commonName:
        return "CN";
    case NID_localityName:
        return "L";
    case NID_stateOrProvinceName:
        return "ST";
    case NID_organizationName:
        return "O";
    case NID_organizationalUnitName:
        return "OU";
    case NID_countryName:
        return "C";
    case NID_streetAddress:
        return "STREET";
    case NID_domainComponent:
        return "DC";
    case NID_userId:
        return "UID";
    default:
        return NULL;
    }
}

static void put(struct writer *out, const char *text)
{
    writer_bytes(out, text, strlen(text));
}

static void put_escaped(struct writer *out, const char *value, size_t len)
{
    size_t first = 0;
    size_t last = len;
    while (first < len && value[first] == ' ') {
        first++;
    }
    while (last > first && value[last - 1] == ' ') {
        last--;
    }
    for (size_t i = 0; i < len; i++) {
        if (value[i] == '\0') {
            put(out, "\\00");
            continue;
        }
        if (i < first || i >= last || strchr(",=+<>#;\"\\", value[i]) != NULL) {
            writer_i8(out, '\\');
        }
        writer_i8(out, (int8_t)value[i]);
    }
}

/* False: it is no text. */
static bool put_value(struct writer *out, const ASN1_STRING *value)
{
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, value);
    if (len < 0) {
        return false;
    }
    put_escaped(out, (const char *)text, (size_t)len);
    OPENSSL_free(text);
    return true;
}

static bool put_encoding(struct writer *out, const ASN1_STRING *value)
{
    ASN1_TYPE any = {.type = ASN1_STRING_type(value)};
    any.value.asn1_string = (ASN1_STRING *)(uintptr_t)value;
    unsigned char *der = NULL;
    int len = i2d_ASN1_TYPE(&any, &der);
    if (len < 0) {
        return false;
    }
    writer_i8(out, '#');
    for (int i = 0; i < len; i++) {
        char digits[3];
        snprintf(digits, sizeof(digits), "%02x", der[i]);
        put(out, digits);
    }
    OPENSSL_free(der);
    return true;
}

static bool put_part(struct writer *out, const X509_NAME_ENTRY *part)
{
    const ASN1_OBJECT *type = X509_NAME_ENTRY_get_object(part);
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(part);
    const char *word = keyword(type);
    char oid[OID_TEXT_MAX];
    if (word == NULL && OBJ_obj2txt(oid, sizeof(oid), type, 1) <= 0) {
        return false;
    }
    put(out, word != NULL ? word : oid);
    writer_i8(out, '=');
    return word != NULL ? put_value(out, value) : put_encoding(out, value);
}

char *dn_text(const X509_NAME *name)
{
    struct writer out;
    writer_init(&out, DN_BYTES_MAX);
    bool good = true;
    int end = X509_NAME_entry_count(name);
    while (good && end > 0) {
        int set = X509_NAME_ENTRY_set(X509_NAME_get_entry(name, end - 1));
        int first = end - 1;
        while (first > 0 && X509_NAME_ENTRY_set(X509_NAME_get_entry(name, first - 1)) == set) {
            first--;
        }
        for (int i = first; good && i < end; i++) {
            if (out.len > 0) {
                writer_i8(&out, i > first ? '+' : ',');
            }
            good = put_part(&out, X509_NAME_get_entry(name, i));
        }
        end = first;
    }
    writer_i8(&out, '\0');
    if (!good || out.failed) {
        writer_deinit(&out);
        return NULL;
    }
    free(out.splices);
    return (char *)out.data;
}

/* ---- alternative names ---- */

struct names {
    char **all;
    size_t count;
};

static char *alternative(const GENERAL_NAME *name)
{
    switch (name->type) {
    case GEN_EMAIL:
    case GEN_DNS:
    case GEN_URI:
        return xasprintf("[%d, %.*s]", name->type, ASN1_STRING_length(name->d.ia5),
                         (const char *)ASN1_STRING_get0_data(name->d.ia5));
    case GEN_DIRNAME: {
        char *dn = dn_text(name->d.directoryName);
        char *text = xasprintf("[%d, %s]", name->type, dn == NULL ? "" : dn);
        free(dn);
        return text;
    }
    case GEN_IPADD: {
        char address[INET6_ADDRSTRLEN] = "";
        int len = ASN1_STRING_length(name->d.iPAddress);
        if (len == 4 || len == 16) {
            inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress),
                      address, sizeof(address));
        }
        return xasprintf("[%d, %s]", name->type, address);
    }
    default:
        return NULL;
    }
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct names alternatives(const X509 *certificate)
{
    struct names names = {0};
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        char *text = alternative(sk_GENERAL_NAME_value(all, i));
        if (text != NULL) {
            names.all = xrealloc(names.all, (names.count + 1) * sizeof(*names.all));
            names.all[names.count++] = text;
        }
    }
    GENERAL_NAMES_free(all);
    if (names.count > 0) {
        qsort(names.all, names.count, sizeof(*names.all), compare_names);
    }
    return names;
}

static void names_deinit(struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->all[i]);
    }
    free(names->all);
}

char *dn_alternatives_text(const X509 *certificate)
{
    struct names names = alternatives(certificate);
    struct writer out;
    writer_init(&out, DN_BYTES_MAX);
    writer_i8(&out, '[');
    const char *before = NULL;
    for (size_t i = 0; i < names.count; i++) {
        if (before == NULL || strcmp(before, names.all[i]) != 0) {
            put(&out, before == NULL ? "" : ", ");
            put(&out, names.all[i]);
        }
        before = names.all[i];
    }
    put(&out, "]");
    writer_i8(&out, '\0');
    names_deinit(&names);
    free(out.splices);
    if (out.failed) {
        free(out.data);
        return xstrdup("[…]");
    }
    return (char *)out.data;
}

bool dn_alternatives_cover(const X509 *fresh, const X509 *old)
{
    struct names of_fresh = alternatives(fresh);
    struct names of_old = alternatives(old);
    bool cover = true;
    for (size_t i = 0; cover && i < of_old.count; i++) {
        cover = of_fresh.count > 0 && bsearch(&of_old.all[i], of_fresh.all, of_fresh.count,
                                              sizeof(*of_fresh.all), compare_names) != NULL;
    }
    names_deinit(&of_fresh);
    names_deinit(&of_old);
    return cover;
}
