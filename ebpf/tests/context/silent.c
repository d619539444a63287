/* Publishes a context that nobody can read to its end: the page is never there, and whoever touches it waits. */
#define _GNU_SOURCE
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(void) {
    int fd = memfd_create("OTEL_CTX", 0);
    if (fd < 0 || ftruncate(fd, 4096)) { perror("memfd"); return 3; }
    int faults = syscall(SYS_userfaultfd, 0);
    struct uffdio_api api = {.api = UFFD_API};
    if (faults < 0 || ioctl(faults, UFFDIO_API, &api)) { perror("userfaultfd"); return 4; }
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    struct uffdio_register range = {.range = {(uintptr_t)page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(faults, UFFDIO_REGISTER, &range)) { perror("register"); return 5; }
    printf("ready\n");
    fflush(stdout);
    pause();
    return 0;
}
