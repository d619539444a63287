// Threads whose doings are known, one mode a run: mutex, robust, parked, leak, vfork. Says "ready", ends at a line.
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t catalogue = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t robust;
static pthread_mutex_t queue = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;

__attribute__((noinline)) static void look_up_in_catalogue(void) {
    pthread_mutex_lock(&catalogue);
    usleep(40000);
    pthread_mutex_unlock(&catalogue);
    // Gives others a chance: the C library's mutex is not fair.
    usleep(1000);
}

static void *contender(void *unused) {
    for (;;) look_up_in_catalogue();
    return unused;
}

__attribute__((noinline)) static void hold_for_ever(void) {
    pthread_mutex_lock(&robust);
    for (;;) pause();
}

static void *holder(void *unused) {
    pthread_setname_np(pthread_self(), "holder");
    hold_for_ever();
    return unused;
}

static void *robust_waiter(void *unused) {
    pthread_mutex_lock(&robust);
    return unused;
}

static void *parked(void *unused) {
    pthread_mutex_lock(&queue);
    for (;;) pthread_cond_wait(&work, &queue);
    return unused;
}

static void *on_semaphore(void *semaphore) {
    for (;;) sem_wait(semaphore);
    return NULL;
}

static void *idle(void *unused) {
    for (;;) pause();
    return unused;
}

static void start(void *(*body)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument) != 0) _exit(3);
}

__attribute__((noinline)) static void spawn_leaked_worker(int number) {
    pthread_t thread;
    char name[16];
    if (pthread_create(&thread, NULL, idle, NULL) != 0) _exit(3);
    snprintf(name, sizeof name, "worker-%d", number);
    pthread_setname_np(thread, name);
}

int main(int count, char **arguments) {
    char line[64];
    const char *mode = count > 1 ? arguments[1] : "";
    static sem_t semaphore;
    if (strcmp(mode, "mutex") == 0) {
        for (int i = 0; i < 6; i++) start(contender, NULL);
    } else if (strcmp(mode, "robust") == 0) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(&robust, &attributes);
        start(holder, NULL);
        while (pthread_mutex_trylock(&robust) == 0) {
            pthread_mutex_unlock(&robust);
            usleep(1000);
        }
        start(robust_waiter, NULL);
        start(robust_waiter, NULL);
    } else if (strcmp(mode, "parked") == 0) {
        sem_init(&semaphore, 0, 0);
        for (int i = 0; i < 8; i++) start(parked, NULL);
        for (int i = 0; i < 4; i++) start(on_semaphore, &semaphore);
    }
    puts("ready");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 0;
    if (strcmp(mode, "leak") == 0) {
        for (int i = 0; i < 24; i++) spawn_leaked_worker(i);
    } else if (strcmp(mode, "vfork") == 0) {
        // The parent waits uninterruptibly until the child is gone.
        pid_t child = vfork();
        if (child == 0) {
            sleep(3);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    } else if (strcmp(mode, "parked") == 0) {
        for (int i = 0; i < 60; i++) {
            pthread_cond_signal(&work);
            sem_post(&semaphore);
            usleep(50000);
        }
    }
    puts("done");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 0;
    return 0;
}
