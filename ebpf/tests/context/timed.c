/* Opens and closes, and says how many nanoseconds of processor time each pair took; once for each line that it reads.
 * Arguments: libraries to load, the last of which publishes; without any it publishes by itself, or nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned char record[28];

#ifdef LINKED
void publish(void *record);
#endif

static double cpu(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv) {
    char line[8];
    memset(record, 7, 24);
    record[24] = 1;
    for (int i = 1; i < argc; i++) {
        void *library = dlopen(argv[i], RTLD_NOW);
        if (!library) return 3;
        if (i == argc - 1) ((void (*)(void *))dlsym(library, "publish"))(record);
        else ((char (*)(void))dlsym(library, "touch"))();
    }
#ifdef LINKED
    publish(record);
#endif
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        enum { CALLS = 4000 };
        double begun = cpu();
        for (int i = 0; i < CALLS; i++) close(open("/dev/null", O_RDONLY));
        printf("%.1f\n", (cpu() - begun) / CALLS);
        fflush(stdout);
    }
    return 0;
}
