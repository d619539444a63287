// alpha calls beta calls gamma, which opens a file; what backtrace(3) says of that is printed, innermost first.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

__attribute__((noinline)) int gamma_chain(int depth);
__attribute__((noinline)) int beta_chain(int depth);
__attribute__((noinline)) int alpha_chain(int depth);
#ifndef LIBRARY
int main(void);
extern void _start(void);
#endif

static const struct {
    const char *name;
    const void *start;
} KNOWN[] = {
    {"gamma_chain", gamma_chain}, {"beta_chain", beta_chain}, {"alpha_chain", alpha_chain},
#ifndef LIBRARY
    {"main", main}, {"_start", _start},
#endif
};

static const char *name(const char *address) {
    const char *best = NULL, *start = NULL;
    for (size_t n = 0; n < sizeof KNOWN / sizeof *KNOWN; n++)
        if ((const char *)KNOWN[n].start <= address && (const char *)KNOWN[n].start > start)
            best = KNOWN[n].name, start = KNOWN[n].start;
    // What is further away than a small function is long is another one.
    if (best && address - start < 400)
        return best;
    Dl_info info;
    return dladdr(address, &info) && info.dli_sname ? info.dli_sname : "?";
}

int gamma_chain(int depth) {
    void *frames[128];
    int count = backtrace(frames, 128);
    int fd = open("/etc/hostname", O_RDONLY);
    // The address behind a call may be another function's already.
    for (int n = 0; n < count; n++)
        printf("%s\n", name((const char *)frames[n] - 1));
    printf("end\n");
    fflush(stdout);
    return fd + depth;
}

int beta_chain(int depth) {
    int fd = gamma_chain(depth + 1);
    __asm__ volatile("" : "+r"(fd));
    return fd;
}

int alpha_chain(int depth) {
    int fd = beta_chain(depth + 1);
    __asm__ volatile("" : "+r"(fd));
    return fd;
}

#ifndef LIBRARY
int main(void) {
    char line[16];
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        return 1;
    int fd = alpha_chain(0);
    __asm__ volatile("" : "+r"(fd));
    return fgets(line, sizeof line, stdin) ? fd : 1;
}
#endif
