/*
 * A simulated replica that is cheap enough not to be what is measured: OpenAI's API without a model, health and agent.
 *
 *     stub ADDRESS
 *
 * ADDRESS:8000  POST: an answer of 616 bytes, or, with "stream":true, server-sent events. Each event carries the time
 *               at which it was sent, as "t0":NANOSECONDS of the monotonic clock. Like a real replica behind its
 *               middleware, the head of a stream leaves with the first event.
 * ADDRESS:8081  GET /readyz: 200 or 503. GET /set?NAME=NUMBER&...: change the settings below. GET /stats, GET /reset.
 * ADDRESS:8082  the agent's line: a connection gets it and is closed.
 *
 * A body may hold <<NAME=NUMBER ...>>, which holds for that request alone.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "timers.h"

enum { OPENAI_PORT = 8000, HEALTH_PORT = 8081, AGENT_PORT = 8082 };
enum { MOST_CONNECTIONS = 16384, FIRST_BUFFER = 16384, LARGEST_REQUEST = 32 << 20, MOST_UNSENT = 262144 };

struct settings {
    long gap_us;      /* between two events */
    long chunks;      /* events of one stream */
    long chunk_bytes; /* length of an event's text */
    long delay_us;    /* before an answer that is no stream */
    long ttft_us;     /* before the first event */
    long ready;       /* what /readyz says, and the agent */
    long drain;       /* what the agent says */
    long hang;        /* take requests, and never answer */
    long slots;       /* maxconn in the agent's line */
    long usage_port;  /* where token counts are reported; 0: they are not */
};
static struct settings settings = {
    .gap_us = 5000, .chunks = 50, .chunk_bytes = 6, .ready = 1, .slots = 256,
};

struct connection {
    struct timer timer; /* first, so that a timer is its connection */
    int fd, port;
    char *in, *out;
    size_t in_used, in_size, out_used, out_size;
    bool busy, stream, hung;
    struct settings own;
    long index; /* of the next event */
    char tenant[72], id[72];
};

static struct {
    uint64_t posts, streams, done, aborted, first_post, last_post, ready_since;
    long running, peak;
} seen;

static struct connection *connections[MOST_CONNECTIONS];
static struct heap heap;
static int poller, reporter;
static const char *address;
static char answer[2048], text[65536];

static long number(const char *from, const char *end, const char *name, long fallback) {
    size_t length = strlen(name);
    for (const char *at = from; (at = memmem(at, (size_t)(end - at), name, length)) != NULL; at += length)
        if (at[length] == '=' && (at == from || strchr("?& <", at[-1])))
            return atol(at + length + 1);
    return fallback;
}

static void read_settings(struct settings *into, const char *from, const char *end) {
    into->gap_us = number(from, end, "gap_us", into->gap_us);
    into->chunks = number(from, end, "chunks", into->chunks);
    into->chunk_bytes = number(from, end, "chunk_bytes", into->chunk_bytes);
    into->delay_us = number(from, end, "delay_us", into->delay_us);
    into->ttft_us = number(from, end, "ttft_us", into->ttft_us);
    into->ready = number(from, end, "ready", into->ready);
    into->drain = number(from, end, "drain", into->drain);
    into->hang = number(from, end, "hang", into->hang);
    into->slots = number(from, end, "slots", into->slots);
    into->usage_port = number(from, end, "usage_port", into->usage_port);
    if (into->chunk_bytes > (long)sizeof text - 512)
        into->chunk_bytes = sizeof text - 512;
}

static void watch(struct connection *c, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = c->fd};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void write_out(struct connection *c, const char *data, size_t length) {
    if (c->out_used == 0) {
        ssize_t sent = send(c->fd, data, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; /* reading will tell that the connection is gone */
        if (sent > 0) {
            data += sent;
            length -= (size_t)sent;
        }
    }
    if (length == 0)
        return;
    if (c->out_used + length > c->out_size) {
        c->out_size = 2 * (c->out_used + length);
        c->out = realloc(c->out, c->out_size);
    }
    memcpy(c->out + c->out_used, data, length);
    c->out_used += length;
    watch(c, EPOLLIN | EPOLLOUT);
}

static void flush(struct connection *c) {
    ssize_t sent = send(c->fd, c->out, c->out_used, MSG_NOSIGNAL);
    if (sent > 0) {
        memmove(c->out, c->out + sent, c->out_used - (size_t)sent);
        c->out_used -= (size_t)sent;
    }
    if (c->out_used == 0)
        watch(c, EPOLLIN);
}

static void answer_page(struct connection *c, int status, const char *type, const char *body) {
    char page[4096];
    int length = snprintf(page, sizeof page,
                          "HTTP/1.1 %d Simulated\r\ncontent-length: %zu\r\ncontent-type: %s\r\nx-replica: %s\r\n\r\n%s",
                          status, strlen(body), type, address, body);
    write_out(c, page, (size_t)length);
}

/* Tell the gateway how many tokens the request had, as a replica's middleware does. */
static void report(struct connection *c) {
    struct sockaddr_in to;
    socklen_t size = sizeof to;
    if (c->own.usage_port == 0 || c->tenant[0] == 0 || getpeername(c->fd, (struct sockaddr *)&to, &size) != 0)
        return;
    char datagram[512];
    int length = snprintf(datagram, sizeof datagram,
                          "{\"version\":1,\"usage\":{\"id\":\"%s\",\"tenant\":\"%s\",\"prompt_tokens\":400,"
                          "\"generation_tokens\":%ld}}",
                          c->id, c->tenant, c->stream ? c->own.chunks : 40);
    to.sin_port = htons((uint16_t)c->own.usage_port);
    sendto(reporter, datagram, (size_t)length, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof to);
}

static void end_request(struct connection *c) {
    heap_remove(&heap, &c->timer);
    c->busy = c->hung = false;
    seen.running--;
    seen.done++;
    report(c);
}

static void drop(struct connection *c) {
    if (c->busy) {
        seen.running--;
        seen.aborted++;
    }
    heap_remove(&heap, &c->timer);
    close(c->fd);
    connections[c->fd] = NULL;
    free(c->in);
    free(c->out);
    free(c);
}

static void send_event(struct connection *c) {
    static const char head[] = "HTTP/1.1 200 OK\r\ndate: Sun, 22 Nov 2026 06:00:00 GMT\r\nserver: uvicorn\r\n"
                               "content-type: text/event-stream; charset=utf-8\r\nx-replica: %s\r\n"
                               "transfer-encoding: chunked\r\n\r\n";
    static char event[sizeof text + 512], chunk[sizeof event + 1024];
    int length = snprintf(event, sizeof event,
                          "data: {\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion."
                          "chunk\",\"created\":1790000000,\"model\":\"openai/gpt-oss-20b\",\"t0\":%020llu,\"choices\":[{\"index\":0,"
                          "\"delta\":{\"content\":\"%.*s\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                          (unsigned long long)now_ns(), (int)c->own.chunk_bytes, text);
    int used = c->index == 0 ? snprintf(chunk, sizeof chunk, head, address) : 0;
    used += snprintf(chunk + used, sizeof chunk - (size_t)used, "%x\r\n%s\r\n", length, event);
    if (++c->index == c->own.chunks)
        used += snprintf(chunk + used, sizeof chunk - (size_t)used, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
    write_out(c, chunk, (size_t)used);
}

/* What is due for a connection: its answer, or the next event of its stream. */
static void tick(struct connection *c) {
    if (!c->stream) {
        answer_page(c, 200, "application/json", answer);
        end_request(c);
        return;
    }
    if (c->out_used < MOST_UNSENT)
        send_event(c); /* who does not read gets nothing more */
    if (c->index == c->own.chunks) {
        end_request(c);
        return;
    }
    c->timer.due += (uint64_t)c->own.gap_us * 1000u;
    heap_settle(&heap, c->timer.place);
}

static void copy_header(const char *head, const char *name, char *into, size_t size) {
    const char *at = strcasestr(head, name);
    size_t length = at ? strcspn(at + strlen(name), "\r") : 0;
    if (length >= size)
        length = 0;
    if (at)
        memcpy(into, at + strlen(name), length);
    into[length] = 0;
}

static void begin_request(struct connection *c, const char *head, const char *body, const char *end) {
    uint64_t now = now_ns();
    if (seen.posts++ == 0)
        seen.first_post = now;
    seen.last_post = now;
    c->own = settings;
    const char *own = memmem(body, (size_t)(end - body), "<<", 2);
    const char *own_end = own ? memmem(own, (size_t)(end - own), ">>", 2) : NULL;
    if (own_end)
        read_settings(&c->own, own, own_end);
    c->stream = memmem(body, (size_t)(end - body), "\"stream\":true", 13) != NULL;
    copy_header(head, "\nx-gptoss-tenant: ", c->tenant, sizeof c->tenant);
    copy_header(head, "\nx-request-id: ", c->id, sizeof c->id);
    c->index = 0;
    c->busy = true;
    if (++seen.running > seen.peak)
        seen.peak = seen.running;
    seen.streams += c->stream;
    c->hung = c->own.hang != 0;
    if (c->hung)
        return;
    long wait_us = c->stream ? c->own.ttft_us : c->own.delay_us;
    c->timer.due = now + (uint64_t)wait_us * 1000u;
    heap_add(&heap, &c->timer);
    if (wait_us == 0)
        tick(c);
}

static void set(const char *from, const char *end) {
    struct settings before = settings;
    read_settings(&settings, from, end);
    if (settings.ready && !before.ready)
        seen.ready_since = now_ns();
    if (before.hang && !settings.hang) /* those that hung go on */
        for (int fd = 0; fd < MOST_CONNECTIONS; fd++)
            if (connections[fd] && connections[fd]->hung) {
                connections[fd]->hung = false;
                connections[fd]->timer.due = now_ns();
                heap_add(&heap, &connections[fd]->timer);
            }
}

static void give_page(struct connection *c, const char *path, const char *end) {
    char stats[512] = "{}";
    int status = 200;
    if (!strncmp(path, "/readyz", 7) || !strncmp(path, "/health", 7)) {
        status = settings.ready ? 200 : 503;
    } else if (!strncmp(path, "/set?", 5)) {
        set(path, end);
    } else if (!strncmp(path, "/reset", 6)) {
        seen.posts = seen.streams = seen.done = seen.aborted = seen.first_post = seen.last_post = 0;
        seen.peak = 0;
    } else if (!strncmp(path, "/state", 6)) {
        snprintf(stats, sizeof stats,
                 "{\"version\":1,\"start_id\":\"1\",\"sequence\":1,\"phase\":\"%s\",\"verdict\":{\"ready\":%s,"
                 "\"live\":true,\"reason\":\"simulated\"},\"uptime_seconds\":1.0,\"counters\":{},\"gauges\":{}}",
                 settings.ready ? "Ready" : "Loading", settings.ready ? "true" : "false");
    } else if (!strncmp(path, "/stats", 6)) {
        snprintf(stats, sizeof stats,
                 "{\"posts\":%llu,\"streams\":%llu,\"done\":%llu,\"aborted\":%llu,\"running\":%ld,\"peak\":%ld,"
                 "\"first_post_ns\":%llu,\"last_post_ns\":%llu,\"ready_since_ns\":%llu}",
                 (unsigned long long)seen.posts, (unsigned long long)seen.streams, (unsigned long long)seen.done,
                 (unsigned long long)seen.aborted, seen.running, seen.peak, (unsigned long long)seen.first_post,
                 (unsigned long long)seen.last_post, (unsigned long long)seen.ready_since);
    } else if (!strncmp(path, "/v1/models", 10)) {
        strcpy(stats, "{\"object\":\"list\",\"data\":[{\"id\":\"openai/gpt-oss-20b\",\"object\":\"model\",\"owned_by\":\"vllm\"}]}");
    } else if (strncmp(path, "/server_info", 12) && strncmp(path, "/get_server_info", 16) &&
               strncmp(path, "/get_model_info", 15)) {
        status = 404;
    }
    answer_page(c, status, "application/json", stats);
}

/* Take one request out of what has come; returns its length, or 0 if it is not complete. */
static size_t take_request(struct connection *c) {
    char *head_end = memmem(c->in, c->in_used, "\r\n\r\n", 4);
    if (c->busy || head_end == NULL)
        return 0;
    *head_end = 0; /* ends the head as a string, for as long as we look */
    const char *length_at = strcasestr(c->in, "\ncontent-length:");
    bool chunked = strcasestr(c->in, "\ntransfer-encoding: chunked") != NULL;
    char *body = head_end + 4, *end = body + (length_at ? atol(length_at + 16) : 0);
    if (chunked) {
        char *last = memmem(body, c->in_used - (size_t)(body - c->in), "0\r\n\r\n", 5);
        end = last ? last + 5 : NULL;
    }
    bool complete = end != NULL && end <= c->in + c->in_used;
    if (complete && !strncmp(c->in, "POST ", 5))
        begin_request(c, c->in, body, end);
    else if (complete)
        give_page(c, c->in + strcspn(c->in, " ") + 1, head_end);
    *head_end = '\r';
    return complete ? (size_t)(end - c->in) : 0;
}

static void on_readable(struct connection *c) {
    if (c->in_used + 1 >= c->in_size) {
        c->in_size = c->in_size ? 2 * c->in_size : FIRST_BUFFER;
        c->in = realloc(c->in, c->in_size);
    }
    ssize_t got = recv(c->fd, c->in + c->in_used, c->in_size - c->in_used - 1, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN) || c->in_used > LARGEST_REQUEST) {
        drop(c);
        return;
    }
    c->in_used += got > 0 ? (size_t)got : 0;
    for (size_t taken; c->in_used > 0 && (taken = take_request(c)) > 0;) {
        memmove(c->in, c->in + taken, c->in_used - taken);
        c->in_used -= taken;
    }
}

static void say_agent_line(int fd) {
    char line[64] = "drain\n";
    if (settings.ready && !settings.drain)
        snprintf(line, sizeof line, "up ready 100%% maxconn:%ld\n", settings.slots);
    send(fd, line, strlen(line), MSG_NOSIGNAL);
    close(fd);
}

static void on_connection(int listener, int port) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (port == AGENT_PORT) {
            say_agent_line(fd);
            continue;
        }
        if (fd >= MOST_CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct connection *c = calloc(1, sizeof *c);
        c->fd = fd;
        c->port = port;
        c->timer.place = NOWHERE;
        connections[fd] = c;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (inet_pton(AF_INET, address, &at.sin_addr) != 1 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0 ||
        listen(fd, 4096) != 0) {
        fprintf(stderr, "stub: cannot listen on %s:%d: %s\n", address, port, strerror(errno));
        exit(1);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    return fd;
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: stub ADDRESS\n");
        return 2;
    }
    address = arguments[1];
    signal(SIGPIPE, SIG_IGN);
    memset(text, 'x', sizeof text - 1);
    memcpy(text, " token", 6);
    snprintf(answer, sizeof answer,
             "{\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\"object\":\"chat.completion\",\"created\":1790000000,"
             "\"model\":\"openai/gpt-oss-20b\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The quick "
             "brown fox jumps over the lazy dog. A reply that is long enough to look like a short answer from a model, so "
             "that the JSON comes to about six hundred bytes in all.\",\"refusal\":null,\"tool_calls\":[],\"reasoning\":"
             "null},\"logprobs\":null,\"finish_reason\":\"stop\",\"stop_reason\":null}],\"usage\":{\"prompt_tokens\":400,"
             "\"total_tokens\":440,\"completion_tokens\":40,\"prompt_tokens_details\":null}}");
    heap.timers = calloc(MOST_CONNECTIONS, sizeof *heap.timers);
    poller = epoll_create1(EPOLL_CLOEXEC);
    reporter = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int ports[] = {OPENAI_PORT, HEALTH_PORT, AGENT_PORT}, listeners[3];
    for (int i = 0; i < 3; i++)
        listeners[i] = listen_on(ports[i]);
    /* Reports count only when they come from the replica's own address. */
    struct sockaddr_in own = {.sin_family = AF_INET};
    inet_pton(AF_INET, address, &own.sin_addr);
    bind(reporter, (struct sockaddr *)&own, sizeof own);
    seen.ready_since = now_ns();
    for (;;) {
        struct epoll_event events[512];
        struct timespec wait = {0}, *until = NULL;
        if (heap.count) {
            uint64_t now = now_ns(), due = heap.timers[0]->due, left = due > now ? due - now : 0;
            wait.tv_sec = (time_t)(left / 1000000000u);
            wait.tv_nsec = (long)(left % 1000000000u);
            until = &wait;
        }
        int ready = epoll_pwait2(poller, events, 512, until, NULL);
        uint64_t now = now_ns();
        while (heap.count && heap.timers[0]->due <= now)
            tick((struct connection *)heap.timers[0]);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd, listener = -1;
            for (int k = 0; k < 3; k++)
                listener = fd == listeners[k] ? k : listener;
            if (listener >= 0) {
                on_connection(fd, ports[listener]);
                continue;
            }
            struct connection *c = connections[fd];
            if (c && events[i].events & EPOLLOUT)
                flush(c);
            if (c && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                on_readable(c);
        }
    }
}
