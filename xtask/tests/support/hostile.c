// A process that gives its observer a hard time, within bounds: at most 20,000 descriptors, 300 processes at once, and
// some megabytes. After each thing it says so, and goes on when the file "go.N" is in its folder.
//
// usage: hostile FOLDER     (with a second word: what it runs again and again)
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// Where the standard has a thread publish its trace context.
__thread void *otel_thread_ctx_v1;

static const char *folder;
static int step;

static void say_and_wait(const char *what, long number) {
    char path[4096];
    printf("%s %ld\n", what, number);
    fflush(stdout);
    snprintf(path, sizeof path, "%s/go.%d", folder, step++);
    while (access(path, F_OK)) usleep(5000);
}

static void come_and_go(int times) {
    while (times--) close(open("/dev/null", O_RDONLY));
}

// As many as it may have, then none of them.
static void descriptors(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 20000 ? limit.rlim_max : 20000;
    setrlimit(RLIMIT_NOFILE, &limit);
    int first = open("/dev/null", O_RDONLY), last = first, next;
    while ((next = open("/dev/null", O_RDONLY)) >= 0) last = next;
    say_and_wait("full", last + 1);
    close_range(first, last, 0);
    say_and_wait("closed", first);
}

// Children that fork children, and all stay until there are enough of them.
static void bomb(void) {
    int hold[2];
    if (pipe(hold)) exit(1);
    for (int i = 0; i < 20; i++) {
        if (fork()) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (int j = 0; j < 14 && fork() > 0; j++) ;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        come_and_go(20);
        char byte;
        close(hold[1]);
        _exit(read(hold[0], &byte, 1) != 0);
    }
    say_and_wait("forked", 300);
    close(hold[0]);
    close(hold[1]);
    while (wait(NULL) > 0) ;
    say_and_wait("reaped", 0);
}

// They end while they are looked at.
static void short_lives(void) {
    for (int i = 0; i < 1500; i++) {
        pid_t child = fork();
        if (child == 0) {
            come_and_go(2);
            _exit(0);
        }
        waitpid(child, NULL, 0);
    }
    say_and_wait("short", 1500);
}

static void exec_loop(void) {
    pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "hostile", folder, "300", NULL);
        _exit(1);
    }
    int status;
    waitpid(child, &status, 0);
    say_and_wait("executed", status);
}

// Opens a file with the stack pointer at this address.
static long open_at(uintptr_t stack) {
    long result;
    __asm__ volatile("mov %%rsp, %%rbx\n\tmov %[stack], %%rsp\n\tsyscall\n\tmov %%rbx, %%rsp"
                     : "=a"(result)
                     : "a"((long)SYS_openat), "D"((long)AT_FDCWD), "S"("/dev/null"), "d"(0L), [stack] "r"(stack)
                     : "rbx", "rcx", "r11", "r10", "memory");
    return result;
}

static volatile int over;

static void *remap(void *place) {
    while (!over) {
        munmap(place, 65536);
        mmap(place, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    }
    return NULL;
}

// Stacks that are not there, end at once, or come and go while they are read.
static void bad_stacks(void) {
    char *place = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uintptr_t bad[] = {0, 8, 0x1000, (uintptr_t)place + 65536 - 8, (uintptr_t)place + 32768, 0x7ffffffff000 - 8,
                       0x8000000000000000, 0xffffffff81000000, UINTPTR_MAX - 7};
    pthread_t other;
    pthread_create(&other, NULL, remap, place);
    long made = 0;
    for (int i = 0; i < 400; i++)
        for (unsigned j = 0; j < sizeof bad / sizeof *bad; j++) {
            long fd = open_at(bad[j]);
            if (fd >= 0) made++, close((int)fd);
        }
    over = 1;
    pthread_join(other, NULL);
    munmap(place, 65536);
    say_and_wait("stacks", made);
}

// Whatever stands where a trace context is looked for.
static void garbage(void) {
    static unsigned char record[64];
    for (unsigned i = 0; i < sizeof record; i++) record[i] = (unsigned char)(i * 37 + 7);
    record[24] = 7; // "valid" must be 1
    char *edge = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *all[] = {record, (void *)1, (void *)0x1000, edge + 4090, (void *)0x8000000000000000,
                   (void *)0xffffffff81000000, (void *)UINTPTR_MAX, (void *)&otel_thread_ctx_v1};
    for (int i = 0; i < 100; i++)
        for (unsigned j = 0; j < sizeof all / sizeof *all; j++) {
            otel_thread_ctx_v1 = all[j];
            come_and_go(1);
            if (i == 0) (void)!open("/dev/null", O_RDONLY);
        }
    say_and_wait("garbage", 0);
    otel_thread_ctx_v1 = NULL;
}

int main(int count, char **words) {
    if (count < 2) return 2;
    folder = words[1];
    if (count == 3) {
        int left = atoi(words[2]);
        come_and_go(3);
        if (left == 0) return 0;
        char text[16];
        snprintf(text, sizeof text, "%d", left - 1);
        execl("/proc/self/exe", "hostile", folder, text, NULL);
        return 1;
    }
    say_and_wait("ready", 0);
    descriptors();
    bomb();
    short_lives();
    exec_loop();
    bad_stacks();
    garbage();
    pause();
}
