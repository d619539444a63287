/* Threads that each publish another trace and make a file that is called like it. Sometimes they publish nothing, and the
 * file is called "none". Arguments: folder, threads, files of each, then libraries to load late; the last one of those
 * publishes. Without libraries the program publishes by itself, or by one that it is linked with. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct record {
    uint8_t trace[16], span[8], valid, flags;
    uint16_t attributes;
} __attribute__((packed, aligned(2)));

#ifdef LINKED
void publish(void *record);
static void (*tell)(void *) = publish;
#else
static void (*tell)(void *);
static char (*touch[128])(void);
#endif

static const char *folder;
static int files, fillers;
static pthread_barrier_t barrier;

static void say(const char *text) { printf("%s\n", text); fflush(stdout); }

static void wait_for_test(void) { char line[8]; if (!fgets(line, sizeof line, stdin)) exit(4); }

static void make(const char *name) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (open(path, O_CREAT | O_WRONLY, 0600) < 0) { perror(path); exit(5); }
}

static void *work(void *argument) {
    long thread = (long)argument;
    struct record record = {0};
    char name[64];
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
#ifndef LINKED
    /* Some threads use the libraries that were loaded before, some only the one that publishes. */
    for (int i = 0; i < fillers && thread % 2; i++) touch[i]();
#endif
    for (int file = 0; file < files; file++) {
        volatile uint8_t *valid = &record.valid;
        *valid = 0;
        for (int i = 0; i < 16; i++) record.trace[i] = (uint8_t)(thread * 31 + file * 7 + i * 13 + 1);
        memcpy(record.trace, &thread, 4);
        memcpy(record.trace + 4, &file, 4);
        memset(record.span, file + 1, 8);
        *valid = 1;
        if (file % 5 == 3) {
            if (file % 2) tell(NULL); else { tell(&record); *valid = 0; }
            snprintf(name, sizeof name, "none-%ld-%d", thread, file);
        } else {
            tell(&record);
            for (int i = 0; i < 16; i++) sprintf(name + 2 * i, "%02x", record.trace[i]);
        }
        make(name);
        if (file % 3 == 0) sched_yield();
    }
    tell(NULL);
    pthread_barrier_wait(&barrier);
    pause();
    return NULL;
}

int main(int argc, char **argv) {
    folder = argv[1];
    int threads = atoi(argv[2]);
    files = atoi(argv[3]);
    fillers = argc - 5;
    pthread_barrier_init(&barrier, NULL, threads + 1);
    for (long i = 0; i < threads; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)(i + 1))) { perror("thread"); return 6; }
    }
    pthread_barrier_wait(&barrier);
    say("ready");
    wait_for_test();
#ifndef LINKED
    for (int i = 4; i < argc; i++) {
        void *library = dlopen(argv[i], RTLD_NOW);
        if (!library) { say(dlerror()); return 7; }
        if (i == argc - 1) {
            tell = (void (*)(void *))dlsym(library, "publish");
        } else {
            touch[i - 4] = (char (*)(void))dlsym(library, "touch");
            touch[i - 4]();
        }
    }
#endif
    say("loaded");
    wait_for_test();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    say("done");
    wait_for_test();
    return 0;
}
