/* Who inherits a trace: children do, until they end, whatever they execute; threads do until they publish one. Files are called like the
 * trace that they are to carry, or "none". */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

void publish(void *record);

static const char *folder;
static uint8_t first[28], second[28];
static pthread_barrier_t barrier;

static void say(const char *text) { printf("%s\n", text); fflush(stdout); }

static void wait_for_test(void) { char line[8]; if (!fgets(line, sizeof line, stdin)) exit(4); }

static void make(const char *name, const char *who) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s-%s", folder, name, who);
    if (open(path, O_CREAT | O_WRONLY, 0600) < 0) { perror(path); exit(5); }
}

/* No child outlives the test. */
static pid_t child(void) {
    pid_t pid = fork();
    if (pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static void fill(uint8_t *record, uint8_t byte) {
    memset(record, byte, 24);
    record[24] = 1;
}

/* A pool's thread: made while a request was served, and idle when that has ended. */
static void *pool(void *argument) {
    make("01010101010101010101010101010101", "lent");
    publish(second);
    make("02020202020202020202020202020202", "thread");
    publish(NULL);
    make("none", "idle");
    pthread_barrier_wait(&barrier);
    pause();
    return argument;
}

int main(int argc, char **argv) {
    folder = argv[1];
    if (argc > 2) {
        /* What the child executes; it publishes nothing. */
        make("01010101010101010101010101010101", "executed");
        if (child() == 0) { make("01010101010101010101010101010101", "grandchild"); pause(); }
        pause();
    }
    say("ready");
    wait_for_test();
    pthread_barrier_init(&barrier, NULL, 2);
    fill(first, 1);
    fill(second, 2);
    publish(first);
    pthread_t thread;
    pthread_create(&thread, NULL, pool, NULL);
    if (child() == 0) {
        /* Its memory holds what the parent published. */
        make("01010101010101010101010101010101", "copy");
        publish(NULL);
        make("01010101010101010101010101010101", "child");
        if (child() == 0) execl("/proc/self/exe", "codec", folder, "child", NULL);
        pause();
    }
    publish(NULL);
    /* After the request: what is forked now is nobody's. */
    if (child() == 0) { make("none", "later"); pause(); }
    pthread_barrier_wait(&barrier);
    say("done");
    wait_for_test();
    return 0;
}
