/* Key stores and trust stores: what is read, what is refused and with which words, what may follow what. */
#define _GNU_SOURCE
#include "broker/security/stores.h"

#include "broker/security/dn.h"
#include "broker/tests/tls_util.h"

/* By keytool of JDK 17: "CN=legacy,O=Acme" in the form before 8u301, its safe encrypted with RC2 of 40 bits; and one of
 * Java's own format. Passwords: changeit. */
static const char LEGACY_P12[] =
    "MIIDZgIBAzCCAx8GCSqGSIb3DQEHAaCCAxAEggMMMIIDCDCB3QYJKoZIhvcNAQcBoIHPBIHMMIHJ"
    "MIHGBgsqhkiG9w0BDAoBAqB3MHUwKQYKKoZIhvcNAQwBAzAbBBTFaeu9iOq44cUqwOd+vExFsM6Z"
    "AgIDAMNQBEiWuHfEBtneC2PeLBck4ZkqBgzwrFNOq5Nojy4PUst4chlt3Qg5q2z87Fs6x1X7NBkm"
    "HMKgbK9ydjztKsXrj8lar6GHdkOcMRsxPjAZBgkqhkiG9w0BCRQxDB4KAGsAYQBmAGsAYTAhBgkq"
    "hkiG9w0BCRUxFAQSVGltZSAxNzk2MDI1MzAzNDI3MIICJAYJKoZIhvcNAQcGoIICFTCCAhECAQAw"
    "ggIKBgkqhkiG9w0BBwEwKQYKKoZIhvcNAQwBBjAbBBRftiEvbYmcBlp+rRpcYBtMTO1gbQIDAMNQ"
    "gIIB0CI/8CaEvhDo30r8+lLFRduk/XWSMIbr+4jmZU9+WenFM9yn6lZ4ELdqkZ3b9Ej9l9KSSH+S"
    "R7oXqaW/Jin78DUgUu3WpNzuOC81pzqCoiYCkr2O0swALK24HqeAv08HYAxJRqw5KHSOcezm/NNn"
    "cglZWTu10Ck69fvF8tW5eEyPCl26IKRPtu5t3sF/JsgbblXcWJQUaMahQyOT8r6ZwDjtHqMSrQpg"
    "TW06bqUcXvJ4MGdPRaZhSL088PaL/WDWTyLWdbV81Q5xpXvX1g4a6BeIUCSpxchkNruNtpiAp2z5"
    "3UjSI5QGPNRJoVfmmC3frEzu63Rmhn2eZ/U2ZN0E1jePEJ1kyN0ve1EecAF8BxEtrT1M8Nv3DL3O"
    "TDlqOaKdn3vSHTUsNjM8Ww9rzonJlYOV9GCzfED8h1VGgdNYtQQrK2Wh59jwmCj3I3rLW/wdkhxA"
    "ZDLWeoJhuF1lIN0iW6IhZtREf/9NclFyr7iULlaFZKrY4F2bGF89TXKi8fG/x3bdXvBTQODtVGnT"
    "hCcN3SWIxECUuMMAM5AqjfOzDgjfU763EPo7tiESDqaOoSMgb4dd/oNe8HG2YXdMdr4Xh6VP0EZk"
    "ScAW/F2TiZDuc3r0MD4wITAJBgUrDgMCGgUABBQJc3L+4cA/LRmeQGMGeVFzJmdO1wQUFerNNy2w"
    "NyxVViaxwcQ7QP2qrY8CAwGGoA==";
static const char JKS[] =
    "/u3+7QAAAAIAAAABAAAAAQAFa2Fma2EAAAGiK3NI1AAAAH8wfTAOBgorBgEEASoCEQEBBQAEa8pR"
    "lCwFYL9n6FYoylRpoFMMiq27rcFNdXewUUNbiG+Wnnumg7UccsBZmH/FH/ywmOwEuklMSpL/ToUP"
    "b4k0k3jMp1tNcILSsh9HdwK+MUy45q/JNo8PC3gYMmzp6OBqTdJI3xb0VC1fDmBIAAAAAQAFWC41"
    "MDkAAAE2MIIBMjCB2KADAgECAgkAyr8ociv7OsIwCgYIKoZIzj0EAwIwDDEKMAgGA1UEAxMBajAg"
    "Fw0yNjExMzAwNzU1MDVaGA8yMTI2MTEwNjA3NTUwNVowDDEKMAgGA1UEAxMBajBZMBMGByqGSM49"
    "AgEGCCqGSM49AwEHA0IABP744PI/NpWfk5p9ibz5GG/lLHczetpIJQskQrkAMvOXHPKqq6pUd7B/"
    "anyIVTnvmrzLTnmwDeBtZN9iDdiEFVmjITAfMB0GA1UdDgQWBBSDUGGH/J5kQytCW2HNjMBbeU0s"
    "sTAKBggqhkjOPQQDAgNJADBGAiEAqO7KtAc9ukHDuYieoVB/mOWiYx5OoCrKIk5Xl3X7+CwCIQD3"
    "Sz7EylMnI/r07ZL03NgJBn1WBRLGyh2z7ntwK5jqDAzsX7+Tmwns96Aa+yoavX+EAa7m";

static char dir[64];
static char reason[512];
static const struct store_refusal to = {reason, sizeof(reason)};
static struct identity ca;
static struct identity one;

static char *at(const char *name)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static void put_base64(const char *path, const char *text)
{
    uint8_t data[2048];
    int n = EVP_DecodeBlock(data, (const uint8_t *)text, (int)strlen(text));
    CU_ASSERT_FATAL(n > 0 && (size_t)n <= sizeof(data));
    file_put(path, data,
             (size_t)n - (text[strlen(text) - 1] == '=') - (text[strlen(text) - 2] == '='));
}

static void begin(void)
{
    temp_dir_make(dir);
    reason[0] = '\0';
    ca = identity_make("ca", NULL);
    one = identity_make("one", &ca);
}

static void end(void)
{
    identity_free(&ca);
    identity_free(&one);
    temp_dir_remove(dir);
}

static struct tls_store *keys_of(const struct store_texts *texts)
{
    struct tls_store *store = NULL;
    reason[0] = '\0';
    CU_ASSERT_EQUAL(key_store_load(texts, &store, &to), OK);
    CU_ASSERT_STRING_EQUAL(reason, "");
    CU_ASSERT_PTR_NOT_NULL(store);
    return store;
}

static void keys_refused(const struct store_texts *texts, const char *part)
{
    struct tls_store *store = NULL;
    reason[0] = '\0';
    CU_ASSERT_EQUAL(key_store_load(texts, &store, &to), E_CONFIG);
    CU_ASSERT_PTR_NULL(store);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, part));
    if (strstr(reason, part) == NULL) {
        printf("\"%s\" lacks \"%s\"\n", reason, part);
    }
    CU_ASSERT_PTR_NULL(strstr(reason, "hush"));
}

static void trust_refused(const struct store_texts *texts, const char *part)
{
    struct tls_store *store = NULL;
    reason[0] = '\0';
    CU_ASSERT_EQUAL(trust_store_load(texts, &store, &to), E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(reason, part));
}

/* Is it the key of `one`, with its certificate first and `ca` after it? */
static void is_one(struct tls_store *store)
{
    CU_ASSERT_EQUAL_FATAL(store->entries_n, 1);
    const struct store_entry *entry = &store->entries[0];
    CU_ASSERT_EQUAL(EVP_PKEY_eq(entry->key, one.key), 1);
    CU_ASSERT_EQUAL_FATAL(sk_X509_num(entry->chain), 2);
    CU_ASSERT_EQUAL(X509_cmp(sk_X509_value(entry->chain, 0), one.certificate), 0);
    CU_ASSERT_EQUAL(X509_cmp(sk_X509_value(entry->chain, 1), ca.certificate), 0);
    store_free(store);
}

/* With these words before each; malloc'd. */
static char *chain_text(const char *first, const char *second)
{
    char *a = pem_of_certificate(one.certificate);
    char *b = pem_of_certificate(ca.certificate);
    char *chain = xasprintf("%s%s%s%s", first, a, second, b);
    free(a);
    free(b);
    return chain;
}

/* ---- PEM ---- */

static void test_pem_file(void)
{
    begin();
    pem_file(at("k.pem"), one.key, ca.certificate, one.certificate); /* any order */
    struct store_texts texts = {.type = "PEM", .location = at("k.pem")};
    struct tls_store *store = keys_of(&texts);
    CU_ASSERT(store->modified_ns > 0);
    is_one(store);
    end();
}

static void test_pem_encrypted(void)
{
    static const int PBES[] = {0, NID_pbe_WithSHA1And3_Key_TripleDES_CBC};
    begin();
    char *chain = chain_text("", "");
    for (size_t i = 0; i < 2; i++) {
        char *key = pem_of_key(one.key, "hush", PBES[i]);
        struct store_texts texts = {
            .type = "PEM", .key = key, .certificates = chain, .key_password = "hush"};
        is_one(keys_of(&texts));
        texts.key_password = "hushed";
        keys_refused(&texts, "option ssl.keystore.key: its private key is encrypted, and "
                             "ssl.key.password does not open it");
        texts.key_password = NULL;
        keys_refused(&texts, "ssl.key.password is not set");
        free(key);
    }
    free(chain);
    end();
}

/* A properties file may have joined the lines by blanks. */
static void test_pem_in_one_line(void)
{
    begin();
    char *key = pem_of_key(one.key, NULL, 0);
    char *chain = chain_text("junk before ", " \n# and between ");
    for (char *c = key; *c != '\0'; c++) {
        *c = *c == '\n' ? ' ' : *c;
    }
    struct store_texts texts = {.type = "PEM", .key = key, .certificates = chain};
    is_one(keys_of(&texts));
    free(key);
    free(chain);
    end();
}

static void test_pem_wrong(void)
{
    begin();
    struct identity other = identity_make("other", &ca);
    struct store_texts texts = {.type = "PEM", .location = at("k.pem")};
    keys_refused(&texts, "Failed to load SSL keystore ");
    pem_file(at("k.pem"), NULL, one.certificate, NULL);
    keys_refused(&texts, "No matching PRIVATE KEY entries in PEM file");
    pem_file(at("k.pem"), other.key, one.certificate, NULL);
    keys_refused(&texts, "its private key does not belong to any of its certificates");
    file_put(at("k.pem"), "nothing", 7);
    keys_refused(&texts, "No matching CERTIFICATE entries in PEM file");
    static const char BROKEN[] = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
    file_put(at("k.pem"), BROKEN, strlen(BROKEN));
    keys_refused(&texts, "is no base64");
    /* The dashes of a beginning are not those of an end. */
    texts =
        (struct store_texts){.type = "PEM", .certificates = "-----BEGIN CERTIFICATE-----END --"};
    trust_refused(&texts, "No matching CERTIFICATE entries in PEM file");
    identity_free(&other);
    end();
}

static void test_old_key_form(void)
{
    begin();
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey_traditional(bio, one.key, NULL, NULL, 0, NULL, NULL);
    char *key = bio_text(bio);
    char *chain = pem_of_certificate(one.certificate);
    struct store_texts texts = {.type = "PEM", .key = key, .certificates = chain};
    keys_refused(&texts, "is not of PKCS#8; convert it: openssl pkcs8 -topk8");
    free(key);
    free(chain);
    end();
}

/* ---- PKCS12 and JKS ---- */

static void p12_put(const char *path, const char *password, int key_nid, int certificate_nid)
{
    STACK_OF(X509) *above = sk_X509_new_null();
    sk_X509_push(above, ca.certificate);
    PKCS12 *p12 = PKCS12_create(password, "kafka", one.key, one.certificate, above, key_nid,
                                certificate_nid, 2048, 2048, 0);
    CU_ASSERT_PTR_NOT_NULL_FATAL(p12);
    uint8_t *der = NULL;
    int len = i2d_PKCS12(p12, &der);
    file_put(path, der, (size_t)len);
    OPENSSL_free(der);
    PKCS12_free(p12);
    sk_X509_free(above);
}

static void test_pkcs12(void)
{
    begin();
    static const int NIDS[] = {NID_aes_256_cbc, NID_pbe_WithSHA1And3_Key_TripleDES_CBC};
    for (size_t i = 0; i < 2; i++) {
        p12_put(at("k.p12"), "hush", NIDS[i], NIDS[i]);
        struct store_texts texts = {.type = "PKCS12", .location = at("k.p12"), .password = "hush"};
        struct tls_store *store = keys_of(&texts);
        CU_ASSERT_STRING_EQUAL(store->entries[0].alias, "kafka");
        is_one(store);
        texts.type = "JKS"; /* the default, for what keytool calls so today */
        is_one(keys_of(&texts));
        texts.password = "hushed";
        keys_refused(&texts, "keystore password was incorrect");
    }
    end();
}

static void test_legacy_pkcs12(void)
{
    begin();
    put_base64(at("l.p12"), LEGACY_P12);
    struct store_texts texts = {.type = "PKCS12", .location = at("l.p12"), .password = "changeit"};
    struct tls_store *store = keys_of(&texts);
    CU_ASSERT_EQUAL_FATAL(store->entries_n, 1);
    char *dn = dn_text(X509_get_subject_name(sk_X509_value(store->entries[0].chain, 0)));
    CU_ASSERT_STRING_EQUAL(dn, "CN=legacy,O=Acme");
    free(dn);
    store_free(store);
    struct tls_store *trust = NULL;
    CU_ASSERT_EQUAL(trust_store_load(&texts, &trust, &to), OK);
    store_free(trust);
    texts.password = "hush";
    keys_refused(&texts, "keystore password was incorrect");
    end();
}

static void test_jks(void)
{
    begin();
    put_base64(at("k.jks"), JKS);
    struct store_texts texts = {.type = "JKS", .location = at("k.jks"), .password = "changeit"};
    keys_refused(&texts, "k.jks is of Java's own format, which is not read; convert it: keytool "
                         "-importkeystore -srckeystore ");
    trust_refused(&texts, "-deststoretype PKCS12");
    file_put(at("k.jks"), "abcdef", 6);
    keys_refused(&texts, "it is no store of PKCS12");
    end();
}

/* ---- what goes together ---- */

static void test_key_texts(void)
{
    struct store_texts t = {.type = "JKS", .key = "k"};
    keys_refused(&t, "SSL private key can be specified only for PEM, but key store type is JKS.");
    t = (struct store_texts){.type = "PEM", .key = "k"};
    keys_refused(&t, "SSL private key is specified, but certificate chain is not specified.");
    t = (struct store_texts){.type = "PEM", .key = "k", .certificates = "c", .location = "l"};
    keys_refused(&t, "Both SSL key store location and separate private key are specified.");
    t = (struct store_texts){.type = "PEM", .key = "k", .certificates = "c", .password = "hush"};
    keys_refused(&t,
                 "option ssl.keystore.password: SSL key store password cannot be specified with "
                 "PEM format, only key password may be specified");
    t = (struct store_texts){.type = "PEM", .certificates = "c"};
    keys_refused(&t, "SSL certificate chain is specified, but private key is not specified");
    t = (struct store_texts){.type = "PEM", .location = "l", .password = "hush"};
    keys_refused(&t, "SSL key store password cannot be specified with PEM format");
    t = (struct store_texts){.type = "PKCS12", .password = "hush"};
    keys_refused(&t, "SSL key store is not specified, but key store password is specified.");
    t = (struct store_texts){.type = "PKCS12", .location = "l"};
    keys_refused(&t, "SSL key store is specified, but key store password is not specified.");
    t = (struct store_texts){.type = "BCFKS", .location = "l"};
    keys_refused(&t,
                 "option ssl.keystore.type: \"BCFKS\" is not allowed; it must be PKCS12 or PEM");
    struct tls_store *store = NULL;
    t = (struct store_texts){.type = "JKS"};
    CU_ASSERT_EQUAL(key_store_load(&t, &store, &to), OK);
    CU_ASSERT_PTR_NULL(store);
}

static void test_trust_texts(void)
{
    struct store_texts t = {.type = "JKS", .certificates = "c"};
    trust_refused(&t, "can be specified only for PEM, but trust store type is JKS.");
    t = (struct store_texts){.type = "PEM", .certificates = "c", .location = "l"};
    trust_refused(&t,
                  "Both SSL trust store location and separate trust certificates are specified.");
    t = (struct store_texts){.type = "PEM", .location = "l", .password = "hush"};
    trust_refused(&t, "SSL trust store password cannot be specified for PEM format.");
    t = (struct store_texts){.type = "JKS", .password = "hush"};
    trust_refused(&t, "SSL trust store is not specified, but trust store password is specified.");
}

static void test_trust(void)
{
    begin();
    pem_file(at("t.pem"), NULL, ca.certificate, one.certificate);
    struct store_texts texts = {.type = "PEM", .location = at("t.pem")};
    struct tls_store *store = NULL;
    CU_ASSERT_EQUAL(trust_store_load(&texts, &store, &to), OK);
    CU_ASSERT_EQUAL_FATAL(store->entries_n, 2);
    CU_ASSERT_PTR_NULL(store->entries[0].key);
    store_free(store);
    end();
}

/* ---- one after another ---- */

static struct tls_store *store_of(const struct identity *identity)
{
    struct tls_store *store = store_new();
    STACK_OF(X509) *chain = sk_X509_new_null();
    X509_up_ref(identity->certificate);
    EVP_PKEY_up_ref(identity->key);
    sk_X509_push(chain, identity->certificate);
    store_add(store, "kafka", identity->key, chain);
    return store;
}

static void successor_is(const struct identity *old, const struct identity *fresh, bool names,
                         bool alternatives, const char *sentence)
{
    struct tls_store *a = store_of(old);
    struct tls_store *b = store_of(fresh);
    reason[0] = '\0';
    err e = store_check_successor(a, b, names, alternatives, &to);
    CU_ASSERT_EQUAL(e, *sentence == '\0' ? OK : E_CONFIG);
    CU_ASSERT_STRING_EQUAL(reason, sentence);
    store_free(a);
    store_free(b);
}

static void test_successors(void)
{
    begin();
    struct identity old = identity_make_full("x", "DNS:a,DNS:b", &ca, 2);
    struct identity same = identity_make_full("x", "DNS:b,DNS:c,DNS:a", &ca, 2);
    struct identity fewer = identity_make_full("x", "DNS:a", &ca, 2);
    struct identity other = identity_make_full("y", "DNS:a,DNS:b", &ca, 2);
    successor_is(&old, &same, false, false, "");
    successor_is(
        &old, &fewer, false, false,
        "Keystore SubjectAltNames do not match:  existing={alias=kafka, SAN=[[2, a], [2, b]]}, "
        "new={alias=kafka, SAN=[[2, a]]}");
    successor_is(&old, &fewer, false, true, "");
    successor_is(&old, &other, false, false,
                 "Keystore DistinguishedName does not match:  existing={alias=kafka, DN=CN=x}, "
                 "new={alias=kafka, DN=CN=y}");
    successor_is(&old, &other, true, false, "");
    struct tls_store *a = store_of(&old);
    struct tls_store *none = store_new();
    CU_ASSERT_EQUAL(store_check_successor(a, none, true, true, &to), E_CONFIG);
    CU_ASSERT_STRING_EQUAL(reason, "Keystore entries do not match, existing store contains 1 "
                                   "entries, new store contains 0 entries");
    store_free(a);
    store_free(none);
    identity_free(&old);
    identity_free(&same);
    identity_free(&fewer);
    identity_free(&other);
    end();
}

/* ---- names, as Java prints them ---- */

static void dn_is(const char *const *parts, const char *expected)
{
    X509_NAME *name = X509_NAME_new();
    for (; *parts != NULL; parts += 2) {
        name_add(name, parts[0], parts[1]);
    }
    char *text = dn_text(name);
    CU_ASSERT_STRING_EQUAL(text, expected);
    free(text);
    X509_NAME_free(name);
}

static void test_names(void)
{
    dn_is((const char *[]){"C", "NL", "O", "Acme", "OU", "data", "CN", "Carol", NULL},
          "CN=Carol,OU=data,O=Acme,C=NL");
    dn_is((const char *[]){"CN", "a,b=c+d<e>f#g;h\"i \\ z", NULL},
          "CN=a\\,b\\=c\\+d\\<e\\>f\\#g\\;h\\\"i \\\\ z");
    dn_is((const char *[]){"CN", "#lead", NULL}, "CN=\\#lead");
    dn_is((const char *[]){"CN", " sp ace ", NULL}, "CN=\\ sp ace\\ ");
    dn_is((const char *[]){"CN", "x", "emailAddress", "a@b.c", NULL},
          "1.2.840.113549.1.9.1=#16056140622e63,CN=x");
    dn_is((const char *[]){"DC", "org", "DC", "ex", "UID", "u1", "CN", "q", NULL},
          "CN=q,UID=u1,DC=ex,DC=org");
    dn_is((const char *[]){"CN", "Zoë", "ST", "NH", "L", "A", "street", "S 1", "serialNumber", "12",
                           NULL},
          "2.5.4.5=#13023132,STREET=S 1,L=A,ST=NH,CN=Zoë");
    X509_NAME *pair = X509_NAME_new();
    X509_NAME_add_entry_by_txt(pair, "O", MBSTRING_UTF8, (const uint8_t *)"c", -1, -1, 0);
    X509_NAME_add_entry_by_txt(pair, "CN", MBSTRING_UTF8, (const uint8_t *)"b", -1, -1, 0);
    X509_NAME_add_entry_by_txt(pair, "OU", MBSTRING_UTF8, (const uint8_t *)"a", -1, -1, -1);
    char *text = dn_text(pair);
    CU_ASSERT_STRING_EQUAL(text, "CN=b+OU=a,O=c");
    free(text);
    X509_NAME_free(pair);
}

SUITE("stores", TEST(test_pem_file), TEST(test_pem_encrypted), TEST(test_pem_in_one_line),
      TEST(test_pem_wrong), TEST(test_old_key_form), TEST(test_pkcs12), TEST(test_legacy_pkcs12),
      TEST(test_jks), TEST(test_key_texts), TEST(test_trust_texts), TEST(test_trust),
      TEST(test_successors), TEST(test_names))
