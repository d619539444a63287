// Computes three quarters of its processor time in one function and a quarter in another, and opens a descriptor
// that it keeps every fifth time, 400 at most. Prints "ready" and goes on until it is ended.

#include <fcntl.h>
#include <stdio.h>
#include <time.h>

static volatile unsigned long sum;

static long used(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

__attribute__((noinline)) static void heavy(void) {
    for (long begun = used(); used() - begun < 30000000;)
        for (int n = 0; n < 100000; n++) sum += n;
}

__attribute__((noinline)) static void light(void) {
    for (long begun = used(); used() - begun < 10000000;)
        for (int n = 0; n < 100000; n++) sum ^= n;
}

__attribute__((noinline)) static int open_record(void) {
    int descriptor = open("/dev/null", O_RDONLY);
    // Not the last thing that it does, or the call would be a jump, and the function not on the stack.
    sum += descriptor;
    return descriptor;
}

int main(void) {
    puts("ready");
    fflush(stdout);
    for (int turn = 0;; turn++) {
        heavy();
        light();
        if (turn % 5 == 0 && turn < 2000) open_record();
    }
}
