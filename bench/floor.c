/* The physical floor: a server that does what no broker can leave out, and nothing else.
 *
 *   floor PORT DIRECTORY [durable]
 *
 * For a produce request: receive it, checksum the batch, inflate it if it is compressed and look at
 * nothing of it, give it its offset, one pwrite, one answer. For a fetch: one answer's head, one sendfile. With `durable`, one fdatasync over all that
 * came in a turn of the loop, before its answers. What a real broker costs above this is what it
 * decides.
 *
 * The whole batch is received before it is written, as a broker must, whose checksum comes first;
 * but the checksum runs over each piece while it is still in the cache.
 *
 * It trusts its client, which is bench/load: one request under way per connection, produce v7,
 * fetch v4 and metadata v4, one partition, one batch. All batches of a topic are alike, so that
 * where an offset stands is a division. A topic is a file without a name in DIRECTORY, gone when we
 * end. Prints "ready" when it listens. One thread, epoll; it never closes down. */
#define _GNU_SOURCE
#include "base/crc32c.h"
#include "protocol/batch.h"
#include "protocol/codec.h"
#include "protocol/inflate.h"
#include "protocol/messages.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TOPICS_MAX = 16,
    RECV_BYTES = 128 << 10,
    ANSWER_MAX = 512,
    PRODUCE_KEY = 0,
    FETCH_KEY = 1,
    METADATA_KEY = 3,
    METADATA_VERSION = 4,
};

struct topic {
    char name[256];
    int fd;
    int64_t size_bytes;
    int64_t next_offset;
    int64_t batch_bytes; /* of every batch */
    int64_t batch_records;
    bool dirty; /* written in this turn */
};

struct link_state {
    int fd;
    uint8_t *frame; /* a request, its length first */
    size_t len;
    size_t cap;
    size_t crc_at; /* up to where the checksum has come; 0: the batch's header is not here yet */
    size_t batch_at;
    uint32_t crc;
    uint8_t answer[ANSWER_MAX];
    size_t answer_len;
    struct topic *fetched; /* bytes of its file follow the answer */
    off_t file_at;
    size_t file_len;
};

struct server {
    const char *directory;
    bool durable;
    int epoll_fd;
    int listen_fd;
    struct topic topics[TOPICS_MAX];
    int topics_n;
};

__attribute__((noreturn)) static void die(const char *what)
{
    perror(what);
    exit(1);
}

static struct topic *find_topic(struct server *s, struct bytes name)
{
    for (int i = 0; i < s->topics_n; i++) {
        if (strlen(s->topics[i].name) == name.len &&
            memcmp(s->topics[i].name, name.data, name.len) == 0) {
            return &s->topics[i];
        }
    }
    if (s->topics_n == TOPICS_MAX || name.len >= sizeof(s->topics[0].name)) {
        die("topics");
    }
    struct topic *t = &s->topics[s->topics_n++];
    memcpy(t->name, name.data, name.len);
    t->fd = open(s->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (t->fd < 0) {
        die("open");
    }
    return t;
}

static struct bytes read_string(struct reader *r)
{
    int16_t len = reader_i16(r);
    return reader_bytes(r, len < 0 ? 0 : (size_t)len);
}

/* A reader behind the request's header. */
static struct reader body_of(const struct link_state *l)
{
    struct reader r = reader_of(bytes_of(l->frame, l->len));
    (void)reader_bytes(&r, 4 + 2 + 2 + 4);
    (void)read_string(&r);
    return r;
}

/* ---- answers ---- */

static uint8_t *put(struct link_state *l, size_t len)
{
    if (l->answer_len + len > ANSWER_MAX) {
        die("answer");
    }
    uint8_t *at = l->answer + l->answer_len;
    l->answer_len += len;
    return at;
}

static void put_i32(struct link_state *l, int32_t v)
{
    store_u32(put(l, 4), (uint32_t)v);
}

static void put_i64(struct link_state *l, int64_t v)
{
    store_u64(put(l, 8), (uint64_t)v);
}

static void put_string(struct link_state *l, struct bytes text)
{
    store_u16(put(l, 2), (uint16_t)text.len);
    memcpy(put(l, text.len), text.data, text.len);
}

/* Length, to be set at the end, and the correlation id. */
static void begin_answer(struct link_state *l)
{
    l->answer_len = 0;
    put_i32(l, 0);
    memcpy(put(l, 4), l->frame + 8, 4);
}

static void end_answer(struct link_state *l)
{
    store_u32(l->answer, (uint32_t)(l->answer_len - 4 + l->file_len));
}

/* ---- requests ---- */

/* The reader of a produce request, up to its records; the name of the topic. */
static struct reader records_of(const struct link_state *l, struct bytes *topic)
{
    struct reader r = body_of(l);
    (void)read_string(&r);             /* transactional id */
    (void)reader_bytes(&r, 2 + 4 + 4); /* acks, timeout, topics */
    *topic = read_string(&r);
    (void)reader_bytes(&r, 4 + 4 + 4); /* partitions, index, length of the records */
    return r;
}

/* Extends the checksum over what has come. */
static void hash_some(struct link_state *l)
{
    if (l->crc_at == 0) {
        struct bytes topic;
        struct reader r = records_of(l, &topic);
        if (reader_left(&r) < BATCH_HEADER_BYTES) {
            return;
        }
        l->batch_at = (size_t)(r.next - l->frame);
        l->crc_at = l->batch_at + 21;
        l->crc = 0;
    }
    l->crc = crc32c(l->crc, l->frame + l->crc_at, l->len - l->crc_at);
    l->crc_at = l->len;
}

static void inflate(enum codec codec, struct bytes payload)
{
    struct bytes piece = {0};
    struct inflater *f = inflater_new(codec, payload, 0);
    do {
        if (f == NULL || inflater_next(f, &piece) != OK) {
            die("inflate");
        }
    } while (piece.len > 0);
    inflater_free(f);
}

static void produce(struct server *s, struct link_state *l)
{
    struct bytes name;
    (void)records_of(l, &name);
    struct topic *t = find_topic(s, name);
    uint8_t *data = l->frame + l->batch_at;
    size_t len = l->len - l->batch_at;
    struct batch batch;
    batch_parse(data, &batch);
    if (batch.crc != l->crc) {
        die("crc");
    }
    if (batch_codec(&batch) != CODEC_NONE) {
        inflate(batch_codec(&batch), bytes_of(data + BATCH_HEADER_BYTES, len - BATCH_HEADER_BYTES));
    }
    int64_t base_offset = t->next_offset;
    batch_set_base_offset(data, base_offset);
    batch_set_leader_epoch(data, 0);
    if (pwrite(t->fd, data, len, t->size_bytes) != (ssize_t)len) {
        die("pwrite");
    }
    t->size_bytes += (int64_t)len;
    t->next_offset += batch.count;
    t->batch_bytes = (int64_t)len;
    t->batch_records = batch.count;
    t->dirty = true;
    begin_answer(l);
    put_i32(l, 1);
    put_string(l, name);
    put_i32(l, 1);
    put_i32(l, 0);
    store_u16(put(l, 2), 0);
    put_i64(l, base_offset);
    put_i64(l, -1);
    put_i64(l, 0);
    put_i32(l, 0);
    end_answer(l);
}

/* As many bytes as are asked for, as brokers do, which may cut the last batch; one batch at least.
 */
static void fetch(struct server *s, struct link_state *l)
{
    struct reader r = body_of(l);
    (void)reader_bytes(&r, 4 + 4 + 4 + 4 + 1 + 4);
    struct bytes name = read_string(&r);
    struct topic *t = find_topic(s, name);
    (void)reader_bytes(&r, 4 + 4);
    int64_t offset = reader_i64(&r);
    int64_t max_bytes = reader_i32(&r);
    if (t->batch_records == 0) {
        die("a fetch from an empty topic");
    }
    int64_t from = offset / t->batch_records * t->batch_bytes;
    int64_t len = max_bytes > t->batch_bytes ? max_bytes : t->batch_bytes;
    len = len > t->size_bytes - from ? t->size_bytes - from : len;
    l->fetched = t;
    l->file_at = from;
    l->file_len = (size_t)len;
    begin_answer(l);
    put_i32(l, 0);
    put_i32(l, 1);
    put_string(l, name);
    put_i32(l, 1);
    put_i32(l, 0);
    store_u16(put(l, 2), 0);
    put_i64(l, t->next_offset);
    put_i64(l, t->next_offset);
    put_i32(l, 0);
    put_i32(l, (int32_t)len);
    end_answer(l);
}

static void metadata(struct server *s, struct link_state *l)
{
    struct reader r = body_of(l);
    (void)reader_i32(&r);
    struct bytes name = read_string(&r);
    (void)find_topic(s, name);
    struct metadata_response_partition partition;
    metadata_response_partition_init(&partition);
    struct metadata_response_topic topic;
    metadata_response_topic_init(&topic);
    topic.name = (struct str){.data = (const char *)name.data, .len = name.len};
    topic.partitions = &partition;
    topic.partitions_n = 1;
    struct metadata_response response;
    metadata_response_init(&response);
    response.topics = &topic;
    response.topics_n = 1;
    struct writer w;
    writer_init(&w, ANSWER_MAX);
    if (message_encode(&metadata_response_message, METADATA_VERSION, &response, &w) != OK) {
        die("encode");
    }
    begin_answer(l);
    memcpy(put(l, w.len), w.data, w.len);
    end_answer(l);
    writer_deinit(&w);
}

static void handle(struct server *s, struct link_state *l)
{
    l->fetched = NULL;
    l->file_len = 0;
    uint16_t key = load_u16(l->frame + 4);
    if (key == PRODUCE_KEY) {
        produce(s, l);
    } else if (key == FETCH_KEY) {
        fetch(s, l);
    } else if (key == METADATA_KEY) {
        metadata(s, l);
    } else {
        die("request");
    }
    l->len = 0;
    l->crc_at = 0;
}

/* ---- connections ---- */

static void close_link(struct link_state *l)
{
    close(l->fd);
    free(l->frame);
    free(l);
}

/* True when a whole request is there; NULL in *link when it has gone. */
static bool receive(struct link_state **link)
{
    struct link_state *l = *link;
    for (;;) {
        size_t whole = l->len < 4 ? RECV_BYTES : 4 + (size_t)load_u32(l->frame);
        if (l->cap < whole) {
            l->cap = whole;
            l->frame = xrealloc(l->frame, l->cap);
        }
        size_t room = l->len < 4 ? RECV_BYTES - l->len : whole - l->len;
        room = room > RECV_BYTES ? RECV_BYTES : room;
        ssize_t n = recv(l->fd, l->frame + l->len, room, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            return false;
        }
        if (n <= 0) {
            close_link(l);
            *link = NULL;
            return false;
        }
        l->len += (size_t)n;
        if (l->len < 6) {
            continue;
        }
        if (load_u16(l->frame + 4) == PRODUCE_KEY) {
            hash_some(l);
        }
        if (l->len == 4 + (size_t)load_u32(l->frame)) {
            return true;
        }
    }
}

static void answer(struct link_state *l)
{
    int flags = MSG_NOSIGNAL | (l->file_len > 0 ? MSG_MORE : 0);
    if (send(l->fd, l->answer, l->answer_len, flags) != (ssize_t)l->answer_len) {
        return; /* gone; the next receive says so */
    }
    while (l->file_len > 0) {
        ssize_t n = sendfile(l->fd, l->fetched->fd, &l->file_at, l->file_len);
        if (n <= 0) {
            return;
        }
        l->file_len -= (size_t)n;
    }
}

static void accept_one(struct server *s)
{
    struct link_state *l = xcalloc(1, sizeof(*l));
    int one = 1;
    l->fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (l->fd < 0) {
        die("accept");
    }
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};
    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, l->fd, &event);
}

static void sync_topics(struct server *s)
{
    for (int i = 0; i < s->topics_n; i++) {
        if (s->topics[i].dirty && s->durable && fdatasync(s->topics[i].fd) != 0) {
            die("fdatasync");
        }
        s->topics[i].dirty = false;
    }
}

static void turn(struct server *s)
{
    struct epoll_event events[128];
    struct link_state *ready[128];
    int ready_n = 0;
    int n = epoll_wait(s->epoll_fd, events, 128, -1);
    for (int i = 0; i < n; i++) {
        struct link_state *l = events[i].data.ptr;
        if (l == NULL) {
            accept_one(s);
        } else if (receive(&l)) {
            handle(s, l);
            ready[ready_n++] = l;
        }
    }
    sync_topics(s);
    for (int i = 0; i < ready_n; i++) {
        answer(ready[i]);
    }
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: floor PORT DIRECTORY [durable]\n");
        return 2;
    }
    static struct server s;
    s.directory = argv[2];
    s.durable = argc > 3 && strcmp(argv[3], "durable") == 0;
    s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    s.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int one = 1;
    setsockopt(s.listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(argv[1])),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(s.listen_fd, (const struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(s.listen_fd, 128) != 0) {
        die("listen");
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(s.epoll_fd, EPOLL_CTL_ADD, s.listen_fd, &event);
    printf("ready\n");
    fflush(stdout);
    for (;;) {
        turn(&s);
    }
}
