/* Sends requests on one connection, each in its own trace, and tells which sequence numbers each of them took.
 *
 * usage: sender connect|listen ADDRESS PORT REQUESTS WINDOW LONGEST
 * Says "ready" (or "listening"), goes on at a line of input, says "I START END" for each request, then "done".
 * Up to WINDOW requests are unanswered at a time; the peer answers each with one byte. The numbers are the
 * kernel's own, read by TCP_REPAIR, so they do not depend on what is tested. It listens by multipath TCP.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define REPAIR 19
#define REPAIR_QUEUE 20
#define QUEUE_SEQ 21

struct record {
    uint64_t trace[2];
    uint64_t span;
    uint8_t valid, flags;
    uint16_t attributes;
    uint32_t end;
};

/* The thread-local pointer of the OpenTelemetry standard. */
__thread struct record *volatile otel_thread_ctx_v1 __attribute__((visibility("default")));

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static uint32_t next_sequence(int fd) {
    int on = 1, send_queue = 2, off = -1;
    uint32_t sequence = 0;
    socklen_t length = sizeof sequence;
    if (setsockopt(fd, IPPROTO_TCP, REPAIR, &on, sizeof on)
        || setsockopt(fd, IPPROTO_TCP, REPAIR_QUEUE, &send_queue, sizeof send_queue)
        || getsockopt(fd, IPPROTO_TCP, QUEUE_SEQ, &sequence, &length)
        || setsockopt(fd, IPPROTO_TCP, REPAIR, &off, sizeof off)) /* -1: without a window probe */
        fail("TCP_REPAIR");
    return sequence;
}

static void send_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t sent = send(fd, bytes, length, 0);
        if (sent <= 0) fail("send");
        bytes += sent;
        length -= sent;
    }
}

static void answer(int fd) {
    char byte;
    if (recv(fd, &byte, 1, 0) != 1) fail("answer");
}

static int open_connection(const char *mode, const char *address, int port) {
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    int is_six = strchr(address, ':') != NULL;
    if (inet_pton(is_six ? AF_INET6 : AF_INET, address, is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr) != 1)
        fail("address");
    struct sockaddr *peer = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    socklen_t length = is_six ? sizeof six : sizeof four;
    int multipath = strcmp(mode, "connect") != 0;
    int fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_STREAM, multipath ? IPPROTO_MPTCP : IPPROTO_TCP);
    if (fd < 0) fail("socket");
    if (strcmp(mode, "listen") != 0) {
        if (connect(fd, peer, length)) fail("connect");
        return fd;
    }
    if (bind(fd, peer, length) || listen(fd, 8)) fail("listen");
    puts("listening");
    int connection = accept(fd, NULL, NULL);
    if (connection < 0) fail("accept");
    return connection;
}

int main(int count, char **arguments) {
    static char body[65536];
    char line[16];
    if (count != 7) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int fd = open_connection(arguments[1], arguments[2], atoi(arguments[3]));
    unsigned long requests = strtoul(arguments[4], NULL, 10), window = strtoul(arguments[5], NULL, 10);
    unsigned long longest = strtoul(arguments[6], NULL, 10);
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    puts("ready");
    if (!fgets(line, sizeof line, stdin)) return 3;
    uint32_t sequence = next_sequence(fd);
    uint32_t *ends = calloc(requests + 1, sizeof *ends);
    if (!ends) fail("memory");
    struct record record = {.valid = 1};
    uint64_t random = 88172645463325252u;
    ends[0] = sequence;
    for (unsigned long i = 1; i <= requests; i++) {
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        uint32_t length = 50 + random % longest;
        record.trace[0] = i, record.trace[1] = ~i, record.span = i;
        otel_thread_ctx_v1 = &record;
        send_all(fd, (char *)&length, sizeof length);
        send_all(fd, body, length / 2);
        send_all(fd, body, length - length / 2);
        otel_thread_ctx_v1 = NULL;
        ends[i] = ends[i - 1] + length + sizeof length;
        if (i > window) answer(fd);
    }
    for (unsigned long i = 0; i < window && i < requests; i++) answer(fd);
    if (next_sequence(fd) != ends[requests]) fail("sequence numbers");
    for (unsigned long i = 1; i <= requests; i++) printf("%lu %u %u\n", i, ends[i - 1], ends[i]);
    puts("done");
    /* The socket stays open, so that its last retransmits can be looked at. */
    fgets(line, sizeof line, stdin);
    return 0;
}
