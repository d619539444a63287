/* A process that holds descriptors and, once told, makes and closes others at a given rate.
 *
 * mill HELD PER_SECOND SEED: holds HELD descriptors of many kinds, says "ready", and at SIGUSR1 begins to make and
 * close PER_SECOND descriptors a second (each that comes and each that goes counts), in a mix of open, dup, eventfd,
 * pipe, socket and accept, most of them closed at once and some kept for a while. Says "turned N" four times a second.
 * What it opens is for a connection that it serves, as in a server; that connection stays.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { KEPT = 64 };

static int listener;
static struct sockaddr_in address;
static uint64_t chance;
static unsigned long turned;

static void fail(const char *what) {
    fprintf(stderr, "mill: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int sure(int fd, const char *what) {
    if (fd < 0) fail(what);
    return fd;
}

static uint32_t draw(uint32_t below) {
    chance = chance * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(chance >> 33) % below;
}

/* Both ends of a connection to itself, whose serving end was read from. */
static void serve(int ends[2]) {
    ends[0] = sure(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    if (connect(ends[0], (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
    ends[1] = sure(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept");
    char byte = 'x';
    if (write(ends[0], &byte, 1) != 1 || read(ends[1], &byte, 1) != 1) fail("request");
}

static void hold(int count) {
    int ends[2];
    for (int held = 0; held < count;) {
        switch (held % 100) {
        case 0:
            serve(ends);
            held += 2;
            break;
        case 2 ... 9:
            if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
            held += 2;
            break;
        case 10 ... 19:
            if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
            held += 2;
            break;
        case 20 ... 39:
            sure(eventfd(0, EFD_CLOEXEC), "eventfd");
            held++;
            break;
        case 40 ... 49:
            sure(dup(0), "dup");
            held++;
            break;
        default:
            sure(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "open");
            held++;
        }
    }
}

/* Makes and closes something. */
static void turn(int kept[KEPT]) {
    int ends[2];
    uint32_t way = draw(100);
    if (way < 60) {
        close(sure(open("/dev/null", O_RDONLY | O_CLOEXEC), "open"));
        turned += 2;
    } else if (way < 80) {
        close(sure(dup(0), "dup"));
        turned += 2;
    } else if (way < 98) {
        int *place = &kept[draw(KEPT)];
        if (*place >= 0) {
            close(*place);
            turned++;
        }
        *place = way % 2 ? sure(eventfd(0, EFD_CLOEXEC), "eventfd")
                         : sure(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
        turned++;
    } else if (way == 98) {
        if (pipe2(ends, O_CLOEXEC) != 0) fail("pipe");
        close(ends[0]);
        close(ends[1]);
        turned += 4;
    } else {
        serve(ends);
        /* The serving end keeps no port busy for a minute if the other one is reset. */
        struct linger none = {1, 0};
        setsockopt(ends[0], SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close(ends[0]);
        close(ends[1]);
        turned += 4;
    }
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

int main(int count, char **arguments) {
    if (count != 4) {
        fprintf(stderr, "mill HELD PER_SECOND SEED\n");
        return 2;
    }
    int held = atoi(arguments[1]), rate = atoi(arguments[2]);
    chance = strtoull(arguments[3], NULL, 10) + 1;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    sigset_t begin;
    sigemptyset(&begin);
    sigaddset(&begin, SIGUSR1);
    sigprocmask(SIG_BLOCK, &begin, NULL);

    listener = sure(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 16) != 0) fail("listen");
    getsockname(listener, (struct sockaddr *)&address, &length);
    /* The observer learns of the port, and then sees whom the rest is for. */
    puts("listening");
    fflush(stdout);
    int got;
    sigwait(&begin, &got);
    hold(held);
    int ends[2];
    serve(ends);
    puts("ready");
    fflush(stdout);
    sigwait(&begin, &got);

    int kept[KEPT];
    memset(kept, -1, sizeof kept);
    double since = now(), said = since;
    unsigned long base = 0;
    for (;;) {
        double at = now();
        unsigned long due = base + (unsigned long)((at - since) * rate);
        /* What was missed while it was stopped, or had no processor, is not made up for at once. */
        if (due > turned + rate / 10) {
            since = at;
            base = turned;
            due = turned + rate / 1000;
        }
        while (turned < due) turn(kept);
        if (at - said > 0.25) {
            said = at;
            printf("turned %lu\n", turned);
            fflush(stdout);
            /* Now and then somebody else is served, so that not all is for one. */
            serve(ends);
            close(ends[0]);
            close(ends[1]);
        }
        usleep(1000);
    }
}
