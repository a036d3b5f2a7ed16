/* A client that does nothing but log in: a connection, SaslHandshake, SaslAuthenticate as often as the mechanism needs, and
 * the end of it; one after another, on threads.
 *
 *   login_client mechanism=PLAIN|SCRAM-SHA-256|SCRAM-SHA-512 port=N user=U password=P [name=value...]
 *
 *   threads=4
 *   seconds=3
 *   pid=0     a process whose CPU time over the run is told: the broker's
 *
 * What a client of SCRAM makes of its password is made once, as clients that keep it do. Prints one line of JSON. */
#define _GNU_SOURCE
#include "bench/client.h"
#include "base/err.h"
#include "base/reader.h"
#include "base/writer.h"
#include "broker/security/base64.h"
#include "broker/security/scram.h"

#include <netinet/in.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { THREADS_MAX = 64, FRAME_MAX = 4096 };

struct options {
    struct sockaddr_in address;
    const char *mechanism;
    const char *user;
    const char *password;
    int threads;
    double seconds;
    int pid;
};

struct client {
    const struct options *options;
    enum scram_mechanism scram; /* SCRAM_UNKNOWN: PLAIN */
    pthread_t thread;
    int64_t count;
    double until_s;
    uint8_t frame[FRAME_MAX]; /* of an answer */
    size_t len;
    uint8_t salted[SCRAM_KEY_MAX];
    bool salted_made;
};

/* ---- frames ---- */

static void transmit(int fd, struct writer *w)
{
    store_u32(w->data, (uint32_t)(w->len - 4));
    if (w->failed || send(fd, w->data, w->len, MSG_NOSIGNAL) != (ssize_t)w->len) {
        die("send");
    }
}

static void receive(struct client *client, int fd)
{
    read_fully(fd, client->frame, 4);
    size_t size = load_u32(client->frame);
    if (size < 6 || size > FRAME_MAX - 4) {
        die("an answer that is none");
    }
    read_fully(fd, client->frame + 4, size);
    client->len = 4 + size;
}

static void begin(struct writer *w, int16_t key)
{
    writer_clear(w);
    writer_i32(w, 0);
    writer_i16(w, key);
    writer_i16(w, 0);
    writer_i32(w, 1);
    writer_i16(w, -1);
}

static void put_text(struct writer *w, const char *text)
{
    writer_i16(w, (int16_t)strlen(text));
    writer_bytes(w, text, strlen(text));
}

/* Returns what SaslAuthenticate answers. */
static struct str authenticate(struct client *client, int fd, struct writer *w, const void *token,
                               size_t len)
{
    begin(w, 36);
    writer_i32(w, (int32_t)len);
    writer_bytes(w, token, len);
    transmit(fd, w);
    receive(client, fd);
    struct reader r = reader_of(bytes_of(client->frame + 8, client->len - 8));
    int16_t error = reader_i16(&r);
    int16_t text = reader_i16(&r);
    (void)reader_bytes(&r, text < 0 ? 0 : (size_t)text);
    int32_t size = reader_i32(&r);
    struct bytes told = reader_bytes(&r, size < 0 ? 0 : (size_t)size);
    if (error != 0 || r.failed) {
        die("the login is refused");
    }
    return (struct str){(const char *)told.data, told.len};
}

/* ---- logins ---- */

static void log_in_plain(struct client *client, int fd, struct writer *w)
{
    char message[FRAME_MAX];
    const struct options *o = client->options;
    int len = snprintf(message, sizeof(message), "%c%s%c%s", 0, o->user, 0, o->password);
    (void)authenticate(client, fd, w, message, (size_t)len);
}

static void log_in_scram(struct client *client, int fd, struct writer *w)
{
    char first[FRAME_MAX];
    char auth[FRAME_MAX];
    char final[FRAME_MAX];
    char text[BASE64_SIZE(SCRAM_KEY_MAX)];
    uint8_t proof[SCRAM_KEY_MAX];
    struct scram_server_first challenge;
    const struct options *o = client->options;
    int len = snprintf(first, sizeof(first), "n,,n=%s,r=%lx%lx", o->user,
                       (unsigned long)client->count, (unsigned long)client->thread);
    struct str told = authenticate(client, fd, w, first, (size_t)len);
    if (scram_server_first_parse(told, &challenge) != OK) {
        die("no challenge");
    }
    if (!client->salted_made) {
        client->salted_made = true;
        scram_salt_password(client->scram, bytes_of(o->password, strlen(o->password)),
                            bytes_of(challenge.salt, challenge.salt_len), challenge.iterations,
                            client->salted);
    }
    int bare = snprintf(final, sizeof(final), "c=biws,r=%.*s", (int)challenge.nonce.len,
                        challenge.nonce.data);
    len = snprintf(auth, sizeof(auth), "%s,%.*s,%s", first + 3, (int)told.len, told.data, final);
    scram_client_proof(client->scram, client->salted, (struct str){auth, (size_t)len}, proof);
    base64_encode(BASE64_PADDED, bytes_of(proof, scram_key_len(client->scram)), text);
    len = bare + snprintf(final + bare, sizeof(final) - (size_t)bare, ",p=%s", text);
    (void)authenticate(client, fd, w, final, (size_t)len);
}

static void log_in(struct client *client, struct writer *w)
{
    const struct linger linger = {.l_onoff = 1}; /* no port waits for stragglers */
    int fd = connect_to(&client->options->address);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    begin(w, 17);
    store_u16(w->data + 6, 1); /* version 1 */
    put_text(w, client->options->mechanism);
    transmit(fd, w);
    receive(client, fd);
    if (load_u16(client->frame + 8) != 0) {
        die("the mechanism is refused");
    }
    if (client->scram == SCRAM_UNKNOWN) {
        log_in_plain(client, fd, w);
    } else {
        log_in_scram(client, fd, w);
    }
    close(fd);
    client->count++;
}

static void *run(void *argument)
{
    struct client *client = argument;
    struct writer w;
    writer_init(&w, FRAME_MAX);
    while (now_s() < client->until_s) {
        log_in(client, &w);
    }
    writer_deinit(&w);
    return NULL;
}

static struct options read_options(int argc, char **argv)
{
    struct options o = {.mechanism = "PLAIN", .threads = 4, .seconds = 3};
    o.address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 1; i < argc; i++) {
        const char *value = NULL;
        if (option_is(argv[i], "port", &value)) {
            o.address.sin_port = htons((uint16_t)atoi(value));
        } else if (option_is(argv[i], "mechanism", &value)) {
            o.mechanism = value;
        } else if (option_is(argv[i], "user", &value)) {
            o.user = value;
        } else if (option_is(argv[i], "password", &value)) {
            o.password = value;
        } else if (option_is(argv[i], "threads", &value)) {
            o.threads = atoi(value);
        } else if (option_is(argv[i], "seconds", &value)) {
            o.seconds = atof(value);
        } else if (option_is(argv[i], "pid", &value)) {
            o.pid = atoi(value);
        } else {
            die(argv[i]);
        }
    }
    if (o.user == NULL || o.password == NULL || o.threads < 1 || o.threads > THREADS_MAX) {
        die("user, password, and 1 to 64 threads are needed");
    }
    return o;
}

int main(int argc, char **argv)
{
    static struct client clients[THREADS_MAX];
    struct options o = read_options(argc, argv);
    double cpu_before = cpu_of_s(o.pid);
    double begin_s = now_s();
    int64_t count = 0;
    for (int i = 0; i < o.threads; i++) {
        clients[i].options = &o;
        clients[i].scram = scram_mechanism_of(str_of(o.mechanism));
        clients[i].until_s = begin_s + o.seconds;
        CHECK(pthread_create(&clients[i].thread, NULL, run, &clients[i]) == 0);
    }
    for (int i = 0; i < o.threads; i++) {
        pthread_join(clients[i].thread, NULL);
        count += clients[i].count;
    }
    printf("{\"logins\": %lld, \"seconds\": %.3f, \"cpu_s\": %.4f}\n", (long long)count,
           now_s() - begin_s, cpu_of_s(o.pid) - cpu_before);
    return 0;
}
