/* Publishes what no standard allows, and makes a file named "none-N" under each; what is right is called like its trace. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void publish(void *record);

static const char *folder;
static int made;
static char path[512];

static void say(const char *text) { printf("%s\n", text); fflush(stdout); }

static void wait_for_test(void) { char line[8]; if (!fgets(line, sizeof line, stdin)) exit(4); }

static void next(void) { snprintf(path, sizeof path, "%s/none-%d", folder, made++); }

static long make(void) { return syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY, 0600); }

static void under(void *record) {
    publish(record);
    next();
    if (make() < 0) exit(5);
    publish(NULL);
}

/* The thread's table of blocks is somebody else's for a moment; nothing but a system call happens meanwhile. */
static void with_table(void *table) {
    void *own;
    next();
    __asm__ volatile("mov %%fs:8, %0" : "=r"(own));
    __asm__ volatile("mov %0, %%fs:8" : : "r"(table) : "memory");
    long fd = make();
    __asm__ volatile("mov %0, %%fs:8" : : "r"(own) : "memory");
    if (fd < 0) exit(6);
}

static void fill(uint8_t *record, uint8_t valid) {
    for (int i = 0; i < 24; i++) record[i] = i + 1;
    record[24] = valid;
    memset(record + 25, 0, 3);
}

int main(int argc, char **argv) {
    folder = argv[1];
    say("ready");
    wait_for_test();
    uint8_t *pages = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(pages, 0, 4 * 4096);
    munmap(pages + 2 * 4096, 4096);
    mprotect(pages + 3 * 4096, 4096, PROT_NONE);
    uint8_t *right = pages + 64;
    void *wild[] = { (void *)1, (void *)8, (void *)-1, (void *)-28, (void *)0x7fffffffffff, (void *)0x800000000000,
                     (void *)0xffff888000000000, (void *)0xffffffff81000000, pages + 2 * 4096, pages + 3 * 4096, main };
    for (unsigned i = 0; i < sizeof wild / sizeof *wild; i++) under(wild[i]);
    /* A record that runs out of its page. */
    for (int room = 1; room < 28; room += 3) under(pages + 2 * 4096 - room);
    /* Not valid: not published, or no ids. */
    for (int valid = 0; valid < 256; valid += 17) {
        fill(right, valid == 1 ? 2 : valid);
        under(right);
    }
    memset(right, 0, 28);
    right[24] = 1;
    under(right);
    /* A pointer to itself. */
    void **cycle = (void **)(pages + 512);
    *cycle = cycle;
    under(cycle);
    /* Tables of blocks: wild, too short, without an entry, with the mark of one that is not made, and in a circle. */
    uint64_t *table = (uint64_t *)(pages + 1024);
    fill(right, 1);
    publish(right);
    for (unsigned i = 0; i < sizeof wild / sizeof *wild; i++) with_table(wild[i]);
    for (int kind = 0; kind < 4; kind++) {
        for (int i = -2; i < 256; i++) table[i] = kind == 0 ? 0 : kind == 1 ? ~0ull : (uint64_t)table;
        if (kind == 3) table[-2] = 0;
        with_table(table);
    }
    /* What is right, across a page's end, after all that. */
    fill(pages + 4096 - 13, 1);
    publish(pages + 4096 - 13);
    snprintf(path, sizeof path, "%s/0102030405060708090a0b0c0d0e0f10", folder);
    if (make() < 0) return 7;
    publish(NULL);
    say("done");
    wait_for_test();
    return 0;
}
