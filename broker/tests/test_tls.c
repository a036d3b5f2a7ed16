/* TLS under connections: a loop on a thread of its own, and clients of OpenSSL that block.
 *
 * The layer above is made up: a frame is echoed, except those that begin with
 *   P  parked for a moment, then echoed
 *   W  answered with who the client is
 *   F  answered with a file range between two bytes of memory */
#define _GNU_SOURCE
#include "broker/net/conn.h"

#include "broker/net/listeners.h"
#include "broker/security/tls_context.h"
#include "broker/security/tls_slot.h"
#include "broker/tests/net_util.h"
#include "broker/tests/tls_util.h"
#include "storage/file_cache.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>

enum { FRAME_MAX = 100 << 20, FILE_BYTES = 300000, PARKED_BYTES = 64, HALF_N = 300 };

static struct {
    struct loop *loop;
    struct net_loop net;
    pthread_t thread;
    int listener_fd;
    int port;
    char dir[64];
    struct file_cache *files;
    struct listener listener;
    atomic_int frames_n;
    atomic_int opened_n;
    atomic_int gone_n;
    struct conn *parked;
    struct timer unpark;
    uint8_t parked_frame[PARKED_BYTES];
    size_t parked_len;
    struct loop_task task;
    int to_open;
    struct identity ca;
    struct identity stranger_ca;
    struct identity server;
    char ca_path[128];
    char server_path[128];
    char reason[512];
} t;

/* ---- the layer above ---- */

static void answer_file(struct conn *conn)
{
    struct open_file *file = NULL;
    char path[128];
    snprintf(path, sizeof(path), "%s/file", t.dir);
    CU_ASSERT_EQUAL(file_cache_acquire(t.files, path, NULL, &file), OK);
    writer_i32(conn_out(conn), FILE_BYTES - 1000 + 2);
    writer_i8(conn_out(conn), '<');
    writer_splice(conn_out(conn), file, 1000, FILE_BYTES - 1000);
    writer_i8(conn_out(conn), '>');
}

static void on_unpark(struct timer *timer)
{
    (void)timer;
    struct conn *conn = t.parked;
    t.parked = NULL;
    if (conn != NULL) {
        put_frame(conn_out(conn), t.parked_frame, t.parked_len);
        conn_resume(conn);
    }
}

static enum frame_result on_frame(void *context, struct conn *conn, uint8_t *frame, size_t len)
{
    (void)context;
    atomic_fetch_add(&t.frames_n, 1);
    struct str name = conn_session(conn)->principal.name;
    switch (len == 0 ? '\0' : frame[0]) {
    case 'P':
        memcpy(t.parked_frame, frame, len);
        t.parked_len = len;
        t.parked = conn;
        timer_start(t.loop, &t.unpark, 5);
        return FRAME_PARKED;
    case 'W':
        put_frame(conn_out(conn), name.data, name.len);
        break;
    case 'F':
        answer_file(conn);
        break;
    default:
        put_frame(conn_out(conn), frame, len);
        break;
    }
    return FRAME_DONE;
}

static void on_close(void *context, struct conn *conn)
{
    (void)context;
    (void)conn;
    t.parked = NULL;
}

static void on_gone(void *context, struct conn *conn)
{
    (void)context;
    (void)conn;
    atomic_fetch_add(&t.gone_n, 1);
}

/* ---- one loop ---- */

static void *loop_thread(void *argument)
{
    (void)argument;
    loop_run(t.loop);
    net_loop_deinit(&t.net);
    return NULL;
}

static char *in_dir(char *path, const char *name)
{
    snprintf(path, 128, "%s/%s", t.dir, name);
    return path;
}

/* As the options' defaults are, with PEM. */
static struct tls_texts texts_of_server(void)
{
    return (struct tls_texts){.keys = {.type = "PEM", .location = t.server_path},
                              .trust = {.type = "PEM", .location = t.ca_path},
                              .client_auth = "none",
                              .cipher_suites = "",
                              .enabled_protocols = "TLSv1.2,TLSv1.3",
                              .principal_rules = "DEFAULT",
                              .endpoint_identification = "https"};
}

static struct tls_context *context_made(const struct tls_texts *texts, enum tls_side side)
{
    struct tls_context *context = NULL;
    const struct store_refusal to = {t.reason, sizeof(t.reason)};
    t.reason[0] = '\0';
    err e = tls_context_new(texts, side, "SSL", &context, &to);
    CU_ASSERT_EQUAL_FATAL(e, OK);
    return context;
}

static void context_refused(const struct tls_texts *texts, enum tls_side side, const char *part)
{
    struct tls_context *context = NULL;
    const struct store_refusal to = {t.reason, sizeof(t.reason)};
    CU_ASSERT_EQUAL(tls_context_new(texts, side, "SSL", &context, &to), E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(t.reason, part));
}

static void make_identities(void)
{
    temp_dir_make(t.dir);
    t.ca = identity_make("ca", NULL);
    t.stranger_ca = identity_make("nobody", NULL);
    t.server = identity_make("localhost", &t.ca);
    pem_file(in_dir(t.ca_path, "ca.pem"), NULL, t.ca.certificate, NULL);
    pem_file(in_dir(t.server_path, "server.pem"), t.server.key, t.server.certificate, NULL);
}

static void free_identities(void)
{
    identity_free(&t.ca);
    identity_free(&t.stranger_ca);
    identity_free(&t.server);
    temp_dir_remove(t.dir);
}

static void listen_here(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    t.listener_fd = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_EQUAL_FATAL(bind(t.listener_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    CU_ASSERT_EQUAL_FATAL(listen(t.listener_fd, 1000), 0);
    socklen_t len = sizeof(address);
    getsockname(t.listener_fd, (struct sockaddr *)&address, &len);
    t.port = ntohs(address.sin_port);
}

static void begin_with(const struct tls_texts *(*change)(struct tls_texts *texts))
{
    static const struct net_limits LIMITS = {.frame_bytes_max = FRAME_MAX,
                                             .idle_ms = 600000,
                                             .partial_idle_ms = 30000,
                                             .send_buffer_bytes = -1,
                                             .receive_buffer_bytes = -1};
    struct conn_handler handler = {.on_frame = on_frame, .on_close = on_close, .context = &t};
    memset(&t, 0, sizeof(t));
    make_identities();
    struct tls_texts texts = texts_of_server();
    if (change != NULL) {
        (void)change(&texts);
    }
    t.listener.security_protocol = PROTOCOL_SSL;
    t.listener.tls = tls_slot_new(context_made(&texts, TLS_SERVER));
    t.unpark.fire = on_unpark;
    t.files = file_cache_new(fs_system(), 10);
    MUST(loop_new(clock_system(), sockets_system(), &t.loop));
    net_loop_init(&t.net, t.loop, &handler, &LIMITS, NULL);
    t.net.on_conn_gone = on_gone;
    listen_here();
    pthread_create(&t.thread, NULL, loop_thread, NULL);
}

static void begin(void)
{
    begin_with(NULL);
}

static void end(void)
{
    loop_stop(t.loop);
    pthread_join(t.thread, NULL);
    loop_free(t.loop);
    close(t.listener_fd);
    tls_slot_free(t.listener.tls);
    file_cache_free(t.files);
    free_identities();
}

static void on_open_task(struct loop_task *task)
{
    (void)task;
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);
    getpeername(t.to_open, (struct sockaddr *)&peer, &len);
    conn_open(&t.net, t.to_open, &t.listener, &peer);
    atomic_fetch_add(&t.opened_n, 1);
}

static int open_conn(void)
{
    int client = client_connect(t.port);
    int opened = atomic_load(&t.opened_n);
    t.to_open = accept4(t.listener_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    CU_ASSERT_FATAL(t.to_open >= 0);
    t.task.run = on_open_task;
    loop_post(t.loop, &t.task);
    EVENTUALLY(atomic_load(&t.opened_n) > opened);
    return client;
}

/* ---- clients ---- */

static SSL_CTX *client_context(int version)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, version);
    SSL_CTX_set_max_proto_version(context, version);
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context), t.ca.certificate);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return context;
}

static SSL *client_over(SSL_CTX *context, int fd)
{
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, fd);
    return ssl;
}

/* A client that has shaken hands. `as` NULL: without a certificate. The context is given away. */
static SSL *client_new(int version, const struct identity *as)
{
    SSL_CTX *context = client_context(version);
    if (as != NULL) {
        SSL_CTX_use_certificate(context, as->certificate);
        SSL_CTX_use_PrivateKey(context, as->key);
    }
    SSL *ssl = client_over(context, open_conn());
    SSL_CTX_free(context);
    ERR_clear_error();
    return ssl;
}

static void client_end(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN); /* its session is still good */
    SSL_free(ssl);
    close(fd);
}

static bool send_all(SSL *ssl, const void *data, size_t len)
{
    size_t n = 0;
    while (len > 0 && SSL_write_ex(ssl, data, len, &n) == 1) {
        data = (const uint8_t *)data + n;
        len -= n;
    }
    return len == 0;
}

static bool receive_all(SSL *ssl, void *data, size_t len)
{
    size_t n = 0;
    while (len > 0 && SSL_read_ex(ssl, data, len, &n) == 1) {
        data = (uint8_t *)data + n;
        len -= n;
    }
    return len == 0;
}

static bool frame_is(SSL *ssl, const void *expected, size_t expected_len)
{
    uint8_t size[4];
    if (!receive_all(ssl, size, 4) || load_u32(size) != expected_len) {
        return false;
    }
    uint8_t *data = xmalloc(expected_len + 1);
    bool same = receive_all(ssl, data, expected_len) && memcmp(data, expected, expected_len) == 0;
    free(data);
    return same;
}

static bool says(SSL *ssl, const char *text)
{
    struct writer w;
    writer_init(&w, 1000);
    put_frame(&w, text, strlen(text));
    bool sent = send_all(ssl, w.data, w.len);
    writer_deinit(&w);
    return sent;
}

static bool hears(SSL *ssl, const char *text)
{
    return frame_is(ssl, text, strlen(text));
}

static const int VERSIONS[] = {TLS1_2_VERSION, TLS1_3_VERSION};

/* The code of the alert that the other side has sent; 0: none. Reads, since with 1.3 it comes late. */
static int alert_of(SSL *ssl)
{
    char byte;
    ERR_clear_error();
    if (SSL_connect(ssl) == 1) {
        (void)SSL_read(ssl, &byte, 1);
    }
    int reason = ERR_GET_REASON(ERR_peek_error());
    return reason > SSL_AD_REASON_OFFSET ? reason - SSL_AD_REASON_OFFSET : 0;
}

/* ---- bytes ---- */

static void test_echo(void)
{
    begin();
    for (size_t v = 0; v < 2; v++) {
        SSL *ssl = client_new(VERSIONS[v], NULL);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        CU_ASSERT(says(ssl, "one") && hears(ssl, "one"));
        CU_ASSERT(says(ssl, "W") && hears(ssl, "ANONYMOUS"));
        CU_ASSERT_EQUAL(SSL_shutdown(ssl), 0);
        CU_ASSERT_EQUAL(SSL_shutdown(ssl), 1); /* its goodbye has come */
        client_end(ssl);
    }
    EVENTUALLY(atomic_load(&t.gone_n) == 2);
    end();
}

/* Fifty frames in one record, and the same where each answer but the last waits: what is left in TLS is told by no
 * poller. */
static void test_many_in_one_record(void)
{
    begin();
    SSL *ssl = client_new(TLS1_3_VERSION, NULL);
    CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
    for (int round = 0; round < 2; round++) {
        struct writer w;
        writer_init(&w, 10000);
        char text[16];
        for (int i = 0; i < 50; i++) {
            snprintf(text, sizeof(text), "%c%d", round == 0 ? 'n' : 'P', i);
            put_frame(&w, text, strlen(text));
        }
        CU_ASSERT(send_all(ssl, w.data, w.len));
        for (int i = 0; i < 50; i++) {
            snprintf(text, sizeof(text), "%c%d", round == 0 ? 'n' : 'P', i);
            CU_ASSERT_FATAL(hears(ssl, text));
        }
        writer_deinit(&w);
    }
    client_end(ssl);
    end();
}

/* Frames of all sizes, answered in order. What is sent fits into the sockets' buffers and this side's memory. */
static void test_sizes(void)
{
    begin();
    struct seeded_random random;
    seeded_random_init(&random, 12);
    static uint8_t frame[600000];
    for (size_t v = 0; v < 2; v++) {
        SSL *ssl = client_new(VERSIONS[v], NULL);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        for (int i = 0; i < 300; i++) {
            struct writer w;
            writer_init(&w, 1 << 30);
            size_t max = i % 30 == 0 ? sizeof(frame) : i % 3 == 0 ? 40000 : 900;
            size_t len = 1 + random_below(&random.random, (uint32_t)max - 1);
            memset(frame, '0' + i % 10, len);
            put_frame(&w, frame, len);
            put_frame(&w, frame, 10 < len ? 10 : len);
            CU_ASSERT(send_all(ssl, w.data, w.len));
            CU_ASSERT_FATAL(frame_is(ssl, frame, len));
            CU_ASSERT_FATAL(frame_is(ssl, frame, 10 < len ? 10 : len));
            writer_deinit(&w);
        }
        client_end(ssl);
    }
    end();
}

static void test_file_ranges(void)
{
    begin();
    static uint8_t content[FILE_BYTES];
    static uint8_t expected[FILE_BYTES - 1000 + 2];
    char path[128];
    for (size_t i = 0; i < sizeof(content); i++) {
        content[i] = (uint8_t)(i * 7 + i / 256);
    }
    file_put(in_dir(path, "file"), content, sizeof(content));
    expected[0] = '<';
    memcpy(expected + 1, content + 1000, FILE_BYTES - 1000);
    expected[sizeof(expected) - 1] = '>';
    for (size_t v = 0; v < 2; v++) {
        SSL *ssl = client_new(VERSIONS[v], NULL);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        for (int i = 0; i < 20;
             i++) { /* more than the sockets take: it must go on where it stopped */
            CU_ASSERT(says(ssl, "F") && says(ssl, "x"));
        }
        sleep_ms(50);
        for (int i = 0; i < 20; i++) {
            CU_ASSERT_FATAL(frame_is(ssl, expected, sizeof(expected)));
            CU_ASSERT_FATAL(hears(ssl, "x"));
        }
        client_end(ssl);
    }
    end();
}

/* ---- one byte at a time ---- */

static bool trickle(SSL *ssl, int fd)
{
    char byte;
    BIO *out = SSL_get_wbio(ssl);
    while (BIO_read(out, &byte, 1) == 1) {
        if (!client_send(fd, &byte, 1)) {
            return false;
        }
    }
    return true;
}

static bool take_some(SSL *ssl, int fd)
{
    char bytes[512];
    ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
    return n > 0 && BIO_write(SSL_get_rbio(ssl), bytes, (int)n) == n;
}

/* The handshake, and then a frame in 28 records, byte by byte. */
static void test_byte_by_byte(void)
{
    begin();
    for (size_t v = 0; v < 2; v++) {
        SSL_CTX *context = client_context(VERSIONS[v]);
        SSL *ssl = SSL_new(context);
        SSL_CTX_free(context);
        SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        int fd = open_conn();
        while (SSL_connect(ssl) != 1) {
            CU_ASSERT_FATAL(trickle(ssl, fd) && take_some(ssl, fd));
        }
        static const char FRAME[] = "\0\0\0\030abcdefghijklmnopqrstuvwx";
        for (size_t i = 0; i < 28; i++) {
            CU_ASSERT_EQUAL(SSL_write(ssl, FRAME + i, 1), 1);
            CU_ASSERT(trickle(ssl, fd));
        }
        char answer[28];
        size_t got = 0;
        while (got < sizeof(answer)) {
            int n = SSL_read(ssl, answer + got, (int)(sizeof(answer) - got));
            got += n > 0 ? (size_t)n : 0;
            CU_ASSERT_FATAL(n > 0 || take_some(ssl, fd));
        }
        CU_ASSERT_EQUAL(memcmp(answer, FRAME, 28), 0);
        SSL_free(ssl);
        close(fd);
    }
    end();
}

/* ---- who is who ---- */

static const struct tls_texts *require(struct tls_texts *texts)
{
    texts->client_auth = "required";
    texts->principal_rules = "RULE:^CN=(Carol)$/mapped-$1/L,RULE:^CN=(dave)$/$1/";
    return texts;
}

static const struct tls_texts *request(struct tls_texts *texts)
{
    texts->client_auth = "requested";
    return texts;
}

static void test_client_auth(void)
{
    begin_with(require);
    struct identity carol = identity_make("Carol", &t.ca);
    struct identity stranger = identity_make("Carol", &t.stranger_ca);
    struct identity late = identity_make_full("Carol", NULL, &t.ca, -1);
    struct identity eve = identity_make("eve", &t.ca);
    for (size_t v = 0; v < 2; v++) {
        SSL *ssl = client_new(VERSIONS[v], &carol);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        CU_ASSERT(says(ssl, "W") && hears(ssl, "mapped-carol"));
        client_end(ssl);
        /* In 1.3 the alert of a missing certificate is RFC 8446's own. */
        int missing = v == 0 ? SSL_AD_BAD_CERTIFICATE : TLS13_AD_CERTIFICATE_REQUIRED;
        CU_ASSERT_EQUAL(alert_of(ssl = client_new(VERSIONS[v], NULL)), missing);
        client_end(ssl);
        CU_ASSERT_EQUAL(alert_of(ssl = client_new(VERSIONS[v], &stranger)),
                        SSL_AD_CERTIFICATE_UNKNOWN);
        client_end(ssl);
        CU_ASSERT_EQUAL(alert_of(ssl = client_new(VERSIONS[v], &late)), SSL_AD_CERTIFICATE_EXPIRED);
        client_end(ssl);
        ssl = client_new(VERSIONS[v], &eve); /* no rule applies: closed after the handshake */
        CU_ASSERT_EQUAL(SSL_connect(ssl), 1);
        CU_ASSERT(!says(ssl, "W") || !hears(ssl, "eve"));
        client_end(ssl);
    }
    identity_free(&carol);
    identity_free(&stranger);
    identity_free(&late);
    identity_free(&eve);
    end();
}

static void test_requested(void)
{
    begin_with(request);
    struct identity carol = identity_make("Carol", &t.ca);
    for (size_t v = 0; v < 2; v++) {
        SSL *ssl = client_new(VERSIONS[v], NULL);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        CU_ASSERT(says(ssl, "W") && hears(ssl, "ANONYMOUS"));
        client_end(ssl);
        ssl = client_new(VERSIONS[v], &carol);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        CU_ASSERT(says(ssl, "W") && hears(ssl, "CN=Carol"));
        client_end(ssl);
    }
    identity_free(&carol);
    end();
}

/* A ticket brings the certificate of the first time with it. */
static void test_tickets(void)
{
    begin_with(require);
    struct identity carol = identity_make("Carol", &t.ca);
    for (size_t v = 0; v < 2; v++) {
        SSL *ssl = client_new(VERSIONS[v], &carol);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        CU_ASSERT(says(ssl, "W") && hears(ssl, "mapped-carol"));
        SSL_SESSION *session = SSL_get1_session(ssl);
        CU_ASSERT_EQUAL(SSL_SESSION_get_max_early_data(session), 0);
        client_end(ssl);
        ssl = client_new(VERSIONS[v], NULL);
        SSL_set_session(ssl, session);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        CU_ASSERT_EQUAL(SSL_session_reused(ssl), 1);
        CU_ASSERT(says(ssl, "W") && hears(ssl, "mapped-carol"));
        client_end(ssl);
        /* It is none of a context that has come in the place of the old one. */
        struct tls_texts texts = texts_of_server();
        tls_slot_replace(t.listener.tls, context_made(&texts, TLS_SERVER));
        ssl = client_new(VERSIONS[v], NULL);
        SSL_set_session(ssl, session);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        CU_ASSERT_EQUAL(SSL_session_reused(ssl), 0);
        client_end(ssl);
        (void)require(&texts);
        tls_slot_replace(t.listener.tls, context_made(&texts, TLS_SERVER));
        SSL_SESSION_free(session);
    }
    identity_free(&carol);
    end();
}

/* Another context for new connections; those that live keep theirs. */
static void test_replaced(void)
{
    begin();
    SSL *old = client_new(TLS1_3_VERSION, NULL);
    CU_ASSERT_EQUAL_FATAL(SSL_connect(old), 1);
    struct identity fresh = identity_make("localhost", &t.ca);
    pem_file(t.server_path, fresh.key, fresh.certificate, NULL);
    struct tls_texts texts = texts_of_server();
    tls_slot_replace(t.listener.tls, context_made(&texts, TLS_SERVER));
    SSL *young = client_new(TLS1_3_VERSION, NULL);
    CU_ASSERT_EQUAL_FATAL(SSL_connect(young), 1);
    CU_ASSERT_EQUAL(X509_cmp(SSL_get0_peer_certificate(young), fresh.certificate), 0);
    CU_ASSERT(says(young, "b") && hears(young, "b"));
    CU_ASSERT(says(old, "a") && hears(old, "a"));
    client_end(old);
    client_end(young);
    identity_free(&fresh);
    end();
}

/* ---- what is agreed on ---- */

static const struct tls_texts *only_12(struct tls_texts *texts)
{
    texts->enabled_protocols = "TLSv1.1, TLSv1.2"; /* the older one is passed over */
    return texts;
}

static void test_protocols(void)
{
    begin_with(only_12);
    SSL *ssl = client_new(TLS1_2_VERSION, NULL);
    CU_ASSERT_EQUAL(SSL_connect(ssl), 1);
    client_end(ssl);
    CU_ASSERT_EQUAL(alert_of(ssl = client_new(TLS1_3_VERSION, NULL)), SSL_AD_PROTOCOL_VERSION);
    client_end(ssl);
    ssl = client_new(TLS1_1_VERSION, NULL);
    SSL_set_security_level(ssl, 0);
    CU_ASSERT_EQUAL(alert_of(ssl), SSL_AD_PROTOCOL_VERSION);
    client_end(ssl);
    struct tls_texts texts = texts_of_server();
    texts.enabled_protocols = "TLSv1.1";
    context_refused(&texts, TLS_SERVER,
                    "option ssl.enabled.protocols: \"TLSv1.1\" is not allowed; it must be of "
                    "TLSv1.2, TLSv1.3");
    texts.enabled_protocols = "TLSv1.2,TLS1.3";
    context_refused(&texts, TLS_SERVER, "option ssl.enabled.protocols");
    end();
}

static const struct tls_texts *one_cipher_each(struct tls_texts *texts)
{
    texts->cipher_suites = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_AES_128_GCM_SHA256";
    return texts;
}

static void test_ciphers(void)
{
    begin_with(one_cipher_each);
    for (size_t v = 0; v < 2; v++) {
        SSL *ssl = client_new(VERSIONS[v], NULL);
        CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
        CU_ASSERT_STRING_EQUAL(SSL_CIPHER_standard_name(SSL_get_current_cipher(ssl)),
                               v == 0 ? "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
                                      : "TLS_AES_128_GCM_SHA256");
        client_end(ssl);
    }
    struct tls_texts texts = texts_of_server();
    texts.cipher_suites = "SSL_RSA_WITH_3DES_EDE_CBC_SHA,AES128-SHA";
    context_refused(&texts, TLS_SERVER, "option ssl.cipher.suites: \"");
    texts.cipher_suites = "TLS_AES_128_GCM_SHA256";
    texts.enabled_protocols = "TLSv1.2";
    context_refused(&texts, TLS_SERVER, "has none for ssl.enabled.protocols");
    end();
}

static bool agree(struct tls_context *server, struct tls_context *client, const char *host)
{
    SSL *a = tls_context_connection(server, NULL);
    SSL *b = tls_context_connection(client, host);
    BIO *of_a = NULL;
    BIO *of_b = NULL;
    CU_ASSERT_EQUAL_FATAL(BIO_new_bio_pair(&of_a, 1 << 16, &of_b, 1 << 16), 1);
    SSL_set_bio(a, of_a, of_a);
    SSL_set_bio(b, of_b, of_b);
    for (int i = 0; i < 20 && !(SSL_is_init_finished(a) && SSL_is_init_finished(b)); i++) {
        (void)SSL_do_handshake(b);
        (void)SSL_do_handshake(a);
    }
    bool done = SSL_is_init_finished(a) && SSL_is_init_finished(b);
    SSL_free(a);
    SSL_free(b);
    ERR_clear_error();
    return done;
}

/* This broker as a client of others. */
static void test_identification(void)
{
    memset(&t, 0, sizeof(t));
    make_identities();
    struct tls_texts texts = texts_of_server();
    struct tls_context *server = context_made(&texts, TLS_SERVER);
    struct tls_context *client = context_made(&texts, TLS_CLIENT);
    CU_ASSERT(agree(server, client, "localhost"));
    CU_ASSERT(agree(server, client, "127.0.0.1"));
    CU_ASSERT(!agree(server, client, "example.org"));
    CU_ASSERT(!agree(server, client, "127.0.0.2"));
    tls_context_release(client);
    texts.endpoint_identification = "";
    client = context_made(&texts, TLS_CLIENT);
    CU_ASSERT(agree(server, client, "example.org"));
    const char *why = NULL;
    CU_ASSERT(tls_contexts_agree(server, client, &why));
    tls_context_release(client);
    pem_file(t.ca_path, NULL, t.stranger_ca.certificate, NULL);
    client = context_made(&texts, TLS_CLIENT);
    CU_ASSERT(!agree(server, client, "localhost"));
    CU_ASSERT(!tls_contexts_agree(server, client, &why));
    CU_ASSERT_PTR_NOT_NULL(why);
    texts.endpoint_identification = "ldaps";
    context_refused(&texts, TLS_CLIENT, "option ssl.endpoint.identification.algorithm: \"ldaps\"");
    tls_context_release(client);
    tls_context_release(server);
    free_identities();
}

/* ---- attacks ---- */

/* What is no TLS is answered as by Java. */
static void test_plaintext(void)
{
    begin();
    static const char ASKED[] = "\0\0\0\021\0\022\0\0\0\0\0\1\0\7console";
    static const uint8_t ALERT[] = {0x15, 3, 3, 0, 2, 2, 0x50};
    int fd = open_conn();
    uint8_t answer[sizeof(ALERT)];
    CU_ASSERT(client_send(fd, ASKED, sizeof(ASKED) - 1));
    CU_ASSERT(client_receive(fd, answer, sizeof(answer)));
    CU_ASSERT_EQUAL(memcmp(answer, ALERT, sizeof(ALERT)), 0);
    CU_ASSERT(client_sees_end(fd));
    close(fd);
    CU_ASSERT_EQUAL(atomic_load(&t.frames_n), 0);
    end();
}

/* A hello of 128 KiB is refused when it is announced; one of a record's size is waited for. */
static void test_announced_hello(void)
{
    begin();
    int fd = open_conn();
    CU_ASSERT(client_send(fd, "\x16\x03\x01\x40\x00\x01\x01\xff\x00", 9));
    CU_ASSERT(client_sees_end(fd));
    close(fd);
    fd = open_conn();
    CU_ASSERT(client_send(fd, "\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb", 9));
    struct timeval little = {.tv_usec = 50000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &little, sizeof(little));
    CU_ASSERT(!client_sees_end(fd));
    close(fd);
    end();
}

static void test_renegotiation(void)
{
    begin();
    SSL *ssl = client_new(TLS1_2_VERSION, NULL);
    CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
    CU_ASSERT(says(ssl, "a") && hears(ssl, "a"));
    CU_ASSERT_EQUAL(SSL_renegotiate(ssl), 1);
    ERR_clear_error();
    CU_ASSERT(SSL_do_handshake(ssl) != 1);
    client_end(ssl);
    SSL *other = client_new(TLS1_2_VERSION, NULL);
    CU_ASSERT_EQUAL(SSL_connect(other), 1);
    client_end(other);
    end();
}

/* Many that begin and stop; who comes after them is served at once. */
static void test_half_handshakes(void)
{
    begin();
    int half[HALF_N];
    for (int i = 0; i < HALF_N; i++) {
        half[i] = open_conn();
        CU_ASSERT(client_send(half[i], "\026", 1));
    }
    int64_t begun_ms = now_ms();
    SSL *ssl = client_new(TLS1_3_VERSION, NULL);
    CU_ASSERT_EQUAL_FATAL(SSL_connect(ssl), 1);
    CU_ASSERT(says(ssl, "a") && hears(ssl, "a"));
    CU_ASSERT(now_ms() - begun_ms < 2000);
    client_end(ssl);
    for (int i = 0; i < HALF_N; i++) {
        close(half[i]);
    }
    EVENTUALLY(atomic_load(&t.gone_n) == HALF_N + 1);
    end();
}

SUITE("tls", TEST(test_echo), TEST(test_many_in_one_record), TEST(test_sizes),
      TEST(test_file_ranges), TEST(test_byte_by_byte), TEST(test_client_auth), TEST(test_requested),
      TEST(test_tickets), TEST(test_replaced), TEST(test_protocols), TEST(test_ciphers),
      TEST(test_identification), TEST(test_plaintext), TEST(test_announced_hello),
      TEST(test_renegotiation), TEST(test_half_handshakes))
