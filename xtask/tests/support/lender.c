/* Requests whose handler has threads make things: one of its own, and one of a pool that the first request made and that
 * outlives it. Only the handler publishes its trace. Commands, a line each: "begin TRACE own|pool|none" (answered "made"
 * once that thread has made its thing: own a memfd, pool an eventfd; it keeps both) and "end" (answered with the
 * request's start and end, Unix time in nanoseconds). */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct record { uint8_t trace[16], span[8], valid, flags; uint16_t attributes; } __attribute__((aligned(2)));
__attribute__((visibility("default"))) __thread void *otel_thread_ctx_v1;

static sem_t work, done;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static void *own(void *argument) {
    if (memfd_create("own", 0) < 0) perror("memfd");
    return argument;
}

static void *pool(void *argument) {
    for (;;) {
        sem_wait(&work);
        if (eventfd(0, 0) < 0) perror("eventfd");
        sem_post(&done);
    }
    return argument;
}

int main(void) {
    char line[128], trace[64], what[16];
    struct record record = {0};
    uint64_t began = 0;
    int pooled = 0;
    pthread_t thread;
    sem_init(&work, 0, 0);
    sem_init(&done, 0, 0);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "begin %63s %15s", trace, what) == 2) {
            began = now();
            for (int i = 0; i < 16; i++) sscanf(trace + 2 * i, "%2hhx", &record.trace[i]);
            memset(record.span, 1, sizeof record.span);
            record.valid = 1;
            otel_thread_ctx_v1 = &record;
            /* As pools do: its thread is made for the first request, and stays. */
            if (!pooled++) pthread_create(&thread, NULL, pool, NULL);
            if (!strcmp(what, "own")) {
                pthread_create(&thread, NULL, own, NULL);
                pthread_join(thread, NULL);
            } else if (!strcmp(what, "pool")) {
                sem_post(&work);
                sem_wait(&done);
            }
            printf("made\n");
        } else {
            otel_thread_ctx_v1 = NULL;
            printf("%llu %llu\n", (unsigned long long)began, (unsigned long long)now());
        }
        fflush(stdout);
    }
    return 0;
}
