/*
 * Load on an OpenAI API, and what clients saw of it, as one JSON object.
 *
 *     load ADDRESS PORT CONNECTIONS [--requests N] [--rate PER_SECOND] [--seconds S] [--stream] [--stagger-us US]
 *          [--bodies BYTES,BYTES,...] [--key KEY] [--patience S]
 *
 * Without a rate the loop is closed: each connection sends its next request when the last is answered, until all
 * requests are sent or the time is up. With a rate it is open: requests are due at fixed times, whatever became of the
 * others, and latency counts from when a request was due. Bodies take turns. After the time, requests under way have
 * `patience` seconds to end. Times are in microseconds, stamps in nanoseconds of the monotonic clock.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
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

enum { BUFFER = 262144, MOST_BODIES = 64, LATE_NS = 2000000000 };

struct request {
    char *bytes;
    size_t length;
};

struct connection {
    int fd;
    bool busy, used; /* used: it has carried an answer */
    struct request *request;
    size_t sent, got, seen; /* bytes of the request, of the answer, and those already looked at */
    char answer[BUFFER];
    size_t head; /* its length; 0: not complete yet */
    long length; /* content-length; -1: none */
    bool chunked, closes, finished, broken; /* finished: [DONE] came; broken: an error event came */
    int status;
    long events;
    uint64_t began, due, last_got, last_sent;
};

struct sample {
    double *values;
    size_t count, size;
};

static struct {
    long ok, refused, failed, unconnected, unanswered, incomplete, cut, dropped, stuck, events;
    long codes[600];
    uint64_t first_error, last_error, first_ok, last_ok;
} total;
static struct sample latency, ttft, event_delay, jitter, ended_at;

static const char *address = "", *key = "sk-bench-0123456789abcdef";
static int port, connection_count, poller;
static long wanted = 1L << 60, stagger_us;
static double rate, seconds = 10, patience = 15;
static bool streams;
static struct connection *all;
static struct request requests[MOST_BODIES];
static int request_count, next_request;

static void note(struct sample *sample, double value) {
    if (sample->count == sample->size) {
        sample->size = sample->size ? 2 * sample->size : 4096;
        sample->values = realloc(sample->values, sample->size * sizeof *sample->values);
    }
    sample->values[sample->count++] = value;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(struct sample *sample, double share) {
    return sample->count ? sample->values[(size_t)(share * (double)(sample->count - 1))] : -1;
}

static void note_error(long *counter) {
    total.last_error = now_ns();
    if (total.first_error == 0)
        total.first_error = total.last_error;
    ++*counter;
}

static void make_request(size_t bytes) {
    char *body = malloc(bytes + 1024);
    size_t used = (size_t)sprintf(body, "{\"model\":\"openai/gpt-oss-20b\",\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int word = 0; used + 64 < bytes; word++)
        used += (size_t)sprintf(body + used, "lorem ipsum %d ", word);
    used += (size_t)sprintf(body + used, "\"}],\"max_tokens\":50,\"temperature\":0%s}", streams ? ",\"stream\":true" : "");
    struct request *request = &requests[request_count++];
    request->bytes = malloc(used + 1024);
    request->length = (size_t)sprintf(request->bytes,
                                      "POST /v1/chat/completions HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: "
                                      "application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n",
                                      address, port, key, used);
    memcpy(request->bytes + request->length, body, used);
    request->length += used;
    free(body);
}

static void hang_up(struct connection *c) {
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
}

static bool connect_to(struct connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct linger reset = {.l_onoff = 1, .l_linger = 0}; /* no thousands of connections in TIME_WAIT */
    int one = 1;
    inet_pton(AF_INET, address, &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0) {
        hang_up(c);
        return false;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    c->used = false;
    return true;
}

/* Send what is left of the request. A connection that the server closed meanwhile is noticed by reading. */
static void push(struct connection *c) {
    ssize_t sent = send(c->fd, c->request->bytes + c->sent, c->request->length - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    c->sent += sent > 0 ? (size_t)sent : 0;
    bool more = c->sent < c->request->length && (sent > 0 || errno == EAGAIN);
    struct epoll_event event = {.events = more ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(poller, EPOLL_CTL_MOD, c->fd, &event);
}

static void reset_answer(struct connection *c) {
    c->sent = c->got = c->seen = c->head = 0;
    c->length = -1;
    c->chunked = c->closes = c->finished = c->broken = false;
    c->status = 0;
    c->events = 0;
    c->last_got = 0;
}

static bool begin(struct connection *c, uint64_t due) {
    if (c->fd < 0 && !connect_to(c)) {
        note_error(&total.unconnected);
        return false;
    }
    reset_answer(c);
    c->request = &requests[next_request++ % request_count];
    c->began = now_ns();
    c->due = due ? due : c->began;
    c->busy = true;
    push(c);
    return true;
}

static void end(struct connection *c) {
    uint64_t now = now_ns();
    c->busy = false;
    c->used = true;
    if (c->status > 0 && c->status < 600)
        total.codes[c->status]++;
    if (c->status >= 500) {
        note_error(&total.failed);
    } else if (c->status >= 300) {
        note_error(&total.refused);
    } else if (streams && (c->broken || !c->finished)) {
        note_error(c->events ? &total.cut : &total.incomplete);
    } else {
        total.ok++;
        total.last_ok = now;
        if (total.first_ok == 0)
            total.first_ok = now;
        note(&latency, (double)(now - c->due) / 1e3);
        note(&ended_at, (double)now);
    }
    if (c->closes)
        hang_up(c);
}

/* The server closed in the middle of an answer, or before it. */
static void lost(struct connection *c) {
    bool never_taken = c->used && c->got == 0;
    hang_up(c);
    if (!c->busy)
        return;
    if (never_taken && connect_to(c)) { /* it closed an idle connection as we sent: any client sends that again */
        reset_answer(c);
        push(c);
        return;
    }
    c->busy = false;
    note_error(c->events ? &total.cut : c->head ? &total.incomplete : &total.unanswered);
}

static bool read_head(struct connection *c) {
    char *end_of_head = memmem(c->answer, c->got, "\r\n\r\n", 4);
    if (end_of_head == NULL)
        return false;
    *end_of_head = 0;
    c->head = c->seen = (size_t)(end_of_head - c->answer) + 4;
    c->status = atoi(c->answer + 9);
    const char *length = strcasestr(c->answer, "\ncontent-length:");
    c->length = length ? atol(length + 16) : -1;
    c->chunked = strcasestr(c->answer, "\ntransfer-encoding: chunked") != NULL;
    c->closes = strcasestr(c->answer, "\nconnection: close") != NULL;
    return true;
}

static void note_event(struct connection *c, uint64_t now, uint64_t sent) {
    if (c->events++ == 0)
        note(&ttft, (double)(now - c->began) / 1e3);
    note(&event_delay, ((double)now - (double)sent) / 1e3);
    if (c->last_got) {
        double change = ((double)(now - c->last_got) - (double)(sent - c->last_sent)) / 1e3;
        note(&jitter, change < 0 ? -change : change);
    }
    c->last_got = now;
    c->last_sent = sent;
    total.events++;
}

/* Look at the events that are new; what was looked at is forgotten when the buffer gets full. */
static void read_events(struct connection *c, uint64_t now) {
    char *at = c->answer + c->seen, *last = c->answer + c->got, *stamp;
    while ((stamp = memmem(at, (size_t)(last - at), "\"t0\":", 5)) != NULL && stamp + 25 <= last) {
        note_event(c, now, strtoull(stamp + 5, NULL, 10));
        at = stamp + 25;
    }
    c->broken = c->broken || memmem(at, (size_t)(last - at), "data: {\"error\"", 14) != NULL;
    c->finished = c->finished || memmem(at, (size_t)(last - at), "data: [DONE]", 12) != NULL;
    c->seen = (size_t)(at - c->answer);
    if (c->got > BUFFER / 2) { /* a stamp may be cut in the middle: keep the last bytes */
        size_t kept = c->got - c->seen < 4096 ? c->got - c->seen : 4096;
        memmove(c->answer + c->head, last - kept, kept);
        c->seen = c->head;
        c->got = c->head + kept;
    }
}

static bool is_complete(const struct connection *c) {
    if (c->chunked)
        return c->got >= c->head + 5 && !memcmp(c->answer + c->got - 5, "0\r\n\r\n", 5);
    return c->length >= 0 && (long)(c->got - c->head) >= c->length;
}

static void on_readable(struct connection *c) {
    ssize_t got = recv(c->fd, c->answer + c->got, BUFFER - c->got - 1, MSG_DONTWAIT);
    uint64_t now = now_ns();
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0 || !c->busy) {
        lost(c);
        return;
    }
    c->got += (size_t)got;
    c->answer[c->got] = 0;
    if (c->head == 0 && !read_head(c))
        return;
    if (streams && c->status == 200)
        read_events(c, now);
    if (is_complete(c))
        end(c);
}

static uint64_t time_of(long number, uint64_t start) {
    if (rate > 0)
        return start + (uint64_t)((double)number * 1e9 / rate);
    return number < connection_count ? start + (uint64_t)(number * stagger_us) * 1000u : 0;
}

static struct connection *idle_one(void) {
    static int last; /* in turn, so that all are used */
    for (int i = 0; i < connection_count; i++) {
        last = (last + 1) % connection_count;
        if (!all[last].busy)
            return &all[last];
    }
    return NULL;
}

static int busy_count(void) {
    int busy = 0;
    for (int i = 0; i < connection_count; i++)
        busy += all[i].busy;
    return busy;
}

/* Begin every request that is due. Returns how many were begun, or given up as too late, so far. */
static long begin_due(long begun, uint64_t start, uint64_t stop) {
    for (uint64_t now = now_ns(); begun < wanted && now < stop && time_of(begun, start) <= now; now = now_ns()) {
        struct connection *c = idle_one();
        if (c == NULL) {
            if (rate <= 0 || now - time_of(begun, start) < LATE_NS)
                break;
            total.dropped++; /* no connection is free for so long: the client gives up */
        } else if (!begin(c, rate > 0 ? time_of(begun, start) : 0)) {
            return begun + 1; /* refused: let others run before the next is tried */
        }
        begun++;
    }
    return begun;
}

static double run(void) {
    struct epoll_event events[512];
    uint64_t start = now_ns(), stop = start + (uint64_t)(seconds * 1e9), limit = stop + (uint64_t)(patience * 1e9);
    long begun = 0;
    for (;;) {
        begun = begin_due(begun, start, stop);
        uint64_t now = now_ns();
        int busy = busy_count();
        if ((busy == 0 && (begun >= wanted || now >= stop)) || now > limit) {
            total.stuck = busy;
            return (double)(now - start) / 1e9;
        }
        uint64_t next = begun < wanted && now < stop && busy < connection_count ? time_of(begun, start) : now + 50000000;
        uint64_t left = next > now ? next - now : 0;
        struct timespec wait = {.tv_nsec = left < 50000000 ? (long)left : 50000000};
        int ready = epoll_pwait2(poller, events, 512, &wait, NULL);
        for (int i = 0; i < ready; i++) {
            struct connection *c = events[i].data.ptr;
            if (c->fd >= 0 && events[i].events & EPOLLOUT)
                push(c);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                on_readable(c);
        }
    }
}

static void print_sample(const char *name, struct sample *sample) {
    qsort(sample->values, sample->count, sizeof *sample->values, compare);
    printf(",\"%s\":{\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"max\":%.1f}", name, quantile(sample, 0.5),
           quantile(sample, 0.9), quantile(sample, 0.99), quantile(sample, 1));
}

static void print_result(double took) {
    printf("{\"seconds\":%.3f,\"ok\":%ld,\"refused\":%ld,\"failed\":%ld,\"unconnected\":%ld,\"unanswered\":%ld,"
           "\"incomplete\":%ld,\"cut\":%ld,\"dropped\":%ld,\"stuck\":%ld,\"events\":%ld",
           took, total.ok, total.refused, total.failed, total.unconnected, total.unanswered, total.incomplete, total.cut,
           total.dropped, total.stuck, total.events);
    print_sample("latency_us", &latency);
    print_sample("ttft_us", &ttft);
    print_sample("event_delay_us", &event_delay);
    print_sample("jitter_us", &jitter);
    qsort(ended_at.values, ended_at.count, sizeof *ended_at.values, compare);
    printf(",\"first_ok_ns\":%llu,\"median_ok_ns\":%.0f,\"last_ok_ns\":%llu,\"first_error_ns\":%llu,"
           "\"last_error_ns\":%llu,\"codes\":{",
           (unsigned long long)total.first_ok, quantile(&ended_at, 0.5), (unsigned long long)total.last_ok,
           (unsigned long long)total.first_error, (unsigned long long)total.last_error);
    const char *comma = "";
    for (int code = 0; code < 600; code++)
        if (total.codes[code]) {
            printf("%s\"%d\":%ld", comma, code, total.codes[code]);
            comma = ",";
        }
    printf("}}\n");
}

int main(int count, char **arguments) {
    static const struct option options[] = {
        {"requests", required_argument, NULL, 'n'}, {"rate", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},  {"stream", no_argument, NULL, 't'},
        {"bodies", required_argument, NULL, 'b'},   {"stagger-us", required_argument, NULL, 'g'},
        {"key", required_argument, NULL, 'k'},      {"patience", required_argument, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    const char *bodies = "2048";
    for (int option; (option = getopt_long(count, arguments, "", options, NULL)) != -1;) {
        switch (option) {
        case 'n': wanted = atol(optarg); break;
        case 'r': rate = atof(optarg); break;
        case 's': seconds = atof(optarg); break;
        case 't': streams = true; break;
        case 'b': bodies = optarg; break;
        case 'g': stagger_us = atol(optarg); break;
        case 'k': key = optarg; break;
        case 'p': patience = atof(optarg); break;
        default: return 2;
        }
    }
    if (count - optind != 3) {
        fprintf(stderr, "usage: load ADDRESS PORT CONNECTIONS [options]\n");
        return 2;
    }
    address = arguments[optind];
    port = atoi(arguments[optind + 1]);
    connection_count = atoi(arguments[optind + 2]);
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(EPOLL_CLOEXEC);
    for (char *at = strdup(bodies), *size; (size = strsep(&at, ",")) != NULL && request_count < MOST_BODIES;)
        make_request((size_t)atol(size));
    all = calloc((size_t)connection_count, sizeof *all);
    for (int i = 0; i < connection_count; i++)
        all[i].fd = -1;
    print_result(run());
    return 0;
}
