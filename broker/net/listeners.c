/* The texts, each a list with commas:
 *
 *   listeners                          NAME://host:port, NAME://[v6 address]:port
 *   advertised.listeners               the same; names of listeners, a controller's left out
 *   listener.security.protocol.map     NAME:PROTOCOL
 *   controller.listener.names          NAME
 *   max.connections.per.ip.overrides   address:count
 *
 * Names count without case and are kept in capitals, as Kafka does. */
#define _GNU_SOURCE
#include "broker/net/listeners.h"

#include "base/refuse.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where a refusal is written. */
struct refusal {
    char *reason;
    size_t size;
};

struct item {
    const char *text;
    size_t len;
};

static bool next_item(const char **at, struct item *item)
{
    if (*at == NULL) {
        return false;
    }
    *at += strspn(*at, ", \t");
    *item = (struct item){.text = *at, .len = strcspn(*at, ", \t")};
    *at += item->len;
    return item->len > 0;
}

static bool is_text(struct item item, const char *text)
{
    return item.len == strlen(text) && strncasecmp(item.text, text, item.len) == 0;
}

static bool parse_port(const char *text, int *port)
{
    char *end = NULL;
    long number = strtol(text, &end, 10);
    *port = (int)number;
    return *text >= '0' && *text <= '9' && *end == '\0' && number <= 65535;
}

static err parse_url(const char *option, struct item item, struct listener *out,
                     const struct refusal *to)
{
    char text[LISTENER_HOST_MAX + LISTENER_NAME_MAX];
    if (item.len >= sizeof(text)) {
        return refuse(to->reason, to->size, "option %s: \"%.80s…\" is too long", option, item.text);
    }
    snprintf(text, sizeof(text), "%.*s", (int)item.len, item.text);
    char *host = strstr(text, "://");
    size_t name_len = host == NULL ? 0 : (size_t)(host - text);
    char *colon = host == NULL ? NULL : strrchr(host + 3, ':');
    if (colon == NULL || name_len == 0 || name_len >= LISTENER_NAME_MAX ||
        colon - host - 3 >= LISTENER_HOST_MAX || !parse_port(colon + 1, &out->port)) {
        return refuse(to->reason, to->size,
                      "option %s: \"%s\" is not allowed; it must be NAME://host:port", option,
                      text);
    }
    host += 3;
    size_t host_len = (size_t)(colon - host);
    if (host_len >= 2 && host[0] == '[' && host[host_len - 1] == ']') {
        host++;
        host_len -= 2;
    }
    for (size_t i = 0; i < name_len; i++) {
        out->name[i] = text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 'a' + 'A') : text[i];
    }
    out->name[name_len] = '\0';
    snprintf(out->host, sizeof(out->host), "%.*s", (int)host_len, host);
    out->conns_max = INT32_MAX;
    out->conns_rate_max = INT32_MAX;
    return OK;
}

static bool is_controller_listener(const struct listeners_config *config, const char *name)
{
    const char *at = config->controller_names;
    for (struct item item; next_item(&at, &item);) {
        if (is_text(item, name)) {
            return true;
        }
    }
    return false;
}

/* The protocol that the map gives a listener. */
static err take_protocol(const struct listeners_config *config, struct listener *listener,
                         const struct refusal *to)
{
    const char *at = config->protocol_map;
    size_t name_len = strlen(listener->name);
    for (struct item item; next_item(&at, &item);) {
        struct item name = {.text = item.text, .len = strcspn(item.text, ":")};
        if (!is_text(name, listener->name) || item.len <= name_len) {
            continue;
        }
        struct item protocol = {.text = item.text + name_len + 1, .len = item.len - name_len - 1};
        listener->security_protocol =
            security_protocol_of((struct str){.data = protocol.text, .len = protocol.len});
        if (listener->security_protocol < 0) {
            return refuse(to->reason, to->size,
                          "option listener.security.protocol.map: \"%.*s\" is no security "
                          "protocol; it must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
                          (int)protocol.len, protocol.text);
        }
        return OK;
    }
    return refuse(to->reason, to->size,
                  "option listener.security.protocol.map: no protocol for listener %s",
                  listener->name);
}

static struct listener *find(const struct listeners *listeners, const char *name)
{
    for (size_t i = 0; i < listeners->count; i++) {
        if (strcmp(listeners->all[i].name, name) == 0) {
            return &listeners->all[i];
        }
    }
    return NULL;
}

static err parse_listeners(const struct listeners_config *config, struct listeners *out,
                           const struct refusal *to)
{
    const char *at = config->listeners;
    bool controllers = false;
    for (struct item item; next_item(&at, &item);) {
        struct listener one = {0};
        TRY(parse_url("listeners", item, &one, to));
        if (is_controller_listener(config, one.name)) {
            controllers = true;
            continue;
        }
        if (find(out, one.name) != NULL) {
            return refuse(to->reason, to->size, "option listeners: %s is there twice", one.name);
        }
        TRY(take_protocol(config, &one, to));
        out->all = xrealloc(out->all, (out->count + 1) * sizeof(*out->all));
        out->all[out->count++] = one;
    }
    if (out->count > 0) {
        return OK;
    }
    return controllers ? refuse(to->reason, to->size,
                                "option listeners: all are in controller.listener.names; at least "
                                "one NAME://host:port for clients is needed")
                       : refuse(to->reason, to->size,
                                "option listeners: at least one NAME://host:port is needed");
}

static err check_advertised(const struct listeners *listeners, const struct listener *one,
                            const struct refusal *to)
{
    const struct listener *listener = find(listeners, one->name);
    if (listener == NULL) {
        return refuse(to->reason, to->size, "option advertised.listeners: %s is not in listeners",
                      one->name);
    }
    if (listener->advertised_host[0] != '\0') {
        return refuse(to->reason, to->size, "option advertised.listeners: %s is there twice",
                      one->name);
    }
    if (strcmp(one->host, "0.0.0.0") == 0) {
        return refuse(to->reason, to->size,
                      "option advertised.listeners: %s: clients cannot connect to 0.0.0.0; name a "
                      "host that they can reach",
                      one->name);
    }
    return OK;
}

static err parse_advertised(const struct listeners_config *config, struct listeners *out,
                            const struct refusal *to)
{
    const char *at = config->advertised;
    for (struct item item; next_item(&at, &item);) {
        struct listener one = {0};
        TRY(parse_url("advertised.listeners", item, &one, to));
        if (is_controller_listener(config, one.name)) {
            continue;
        }
        TRY(check_advertised(out, &one, to));
        if (one.host[0] == '\0') {
            config->host_name(one.host);
        }
        struct listener *listener = find(out, one.name);
        snprintf(listener->advertised_host, sizeof(listener->advertised_host), "%s", one.host);
        listener->advertised_port = one.port;
    }
    return OK;
}

/* What brokers use among themselves must be there, and be advertised where anything is. */
static err check_inter_broker(const struct listeners_config *config,
                              const struct listeners *listeners, const struct refusal *to)
{
    if (config->inter_broker == NULL) {
        return OK;
    }
    bool any = false;
    bool found = false;
    for (size_t i = 0; i < listeners->count; i++) {
        const struct listener *one = &listeners->all[i];
        any |= one->advertised_host[0] != '\0';
        found |= strcasecmp(one->name, config->inter_broker) == 0 &&
                 (config->advertised == NULL || one->advertised_host[0] != '\0');
    }
    return found ? OK
                 : refuse(to->reason, to->size, "option %s: %s is not in %s",
                          config->inter_broker_option, config->inter_broker,
                          any ? "advertised.listeners" : "listeners");
}

static err parse_ip_overrides(const struct listeners_config *config, struct listeners *out,
                              const struct refusal *to)
{
    const char *at = config->ip_overrides;
    for (struct item item; next_item(&at, &item);) {
        const char *colon = memrchr(item.text, ':', item.len);
        size_t len = colon == NULL ? 0 : (size_t)(colon - item.text);
        char *end = NULL;
        long limit = colon == NULL ? -1 : strtol(colon + 1, &end, 10);
        if (len == 0 || len >= IP_ADDRESS_MAX || end != item.text + item.len || end == colon + 1 ||
            limit < 0) {
            return refuse(to->reason, to->size,
                          "option max.connections.per.ip.overrides: \"%.*s\" is not allowed; it "
                          "must be address:count",
                          (int)item.len, item.text);
        }
        out->ip_overrides =
            xrealloc(out->ip_overrides, (out->ip_overrides_n + 1) * sizeof(*out->ip_overrides));
        struct ip_override *added = &out->ip_overrides[out->ip_overrides_n++];
        struct item address = {.text = item.text, .len = len};
        snprintf(added->address, sizeof(added->address), "%.*s", (int)len, item.text);
        if (is_text(address, "localhost")) {
            snprintf(added->address, sizeof(added->address), "127.0.0.1");
        }
        added->conns_max = limit > INT32_MAX ? INT32_MAX : (int32_t)limit;
    }
    return OK;
}

err listeners_parse(const struct listeners_config *config, struct listeners *out, char *reason,
                    size_t reason_size)
{
    const struct refusal to = {.reason = reason, .size = reason_size};
    *out = (struct listeners){0};
    TRY(parse_listeners(config, out, &to));
    TRY(parse_advertised(config, out, &to));
    TRY(check_inter_broker(config, out, &to));
    return parse_ip_overrides(config, out, &to);
}

void listeners_deinit(struct listeners *listeners)
{
    free(listeners->all);
    free(listeners->ip_overrides);
    *listeners = (struct listeners){0};
}
