// A service that keeps a secret beside everything that an observer may read: on its stack around each call, in the
// buffer of the request, and next to the path that it opens. It leaks a file for each request, and stalls at every
// fourth.
//
// usage: secret SECRET     (prints "listening on PORT", then the address of a secret on its stack)
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

static void fill(volatile char *room, size_t size, const char *secret) {
    size_t length = strlen(secret) + 1;
    for (size_t at = 0; at < size; at++) room[at] = secret[at % length];
}

static __attribute__((noinline)) void leak(const char *secret) {
    struct { char path[10]; volatile char beside[4000]; } here = { .path = "/dev/null" };
    fill(here.beside, sizeof here.beside, secret);
    if (open(here.path, O_RDONLY) < 0) perror("open");
    __asm__ volatile("" : : "r"(&here) : "memory");
}

static __attribute__((noinline)) void stall(const char *secret) {
    volatile char beside[4000];
    fill(beside, sizeof beside, secret);
    struct timespec long_time = { .tv_nsec = 400 * 1000 * 1000 };
    nanosleep(&long_time, NULL);
    __asm__ volatile("" : : "r"(beside) : "memory");
}

int main(int count, char **words) {
    if (count != 2) return 2;
    volatile char around[4096];
    fill(around, sizeof around, words[1]);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), loop = epoll_create1(0);
    if (bind(listener, (void *)&address, size) || listen(listener, 64) || getsockname(listener, (void *)&address, &size))
        return perror("listen"), 1;
    struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    printf("listening on %d\n%ju\n", ntohs(address.sin_port), (uintmax_t)(uintptr_t)around);
    fflush(stdout);
    for (unsigned requests = 1;;) {
        if (epoll_wait(loop, &event, 1, -1) < 1) continue;
        if (event.data.fd == listener) {
            event.data.fd = accept(listener, NULL, NULL);
            event.events = EPOLLIN;
            if (event.data.fd >= 0) epoll_ctl(loop, EPOLL_CTL_ADD, event.data.fd, &event);
            continue;
        }
        char request[8192];
        fill(request, sizeof request, words[1]);
        if (read(event.data.fd, request, 2048) > 0) {
            leak(words[1]);
            if (requests++ % 4 == 0) stall(words[1]);
            static const char answer[] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            if (write(event.data.fd, answer, sizeof answer - 1) < 0) perror("write");
        }
        close(event.data.fd);
    }
}
