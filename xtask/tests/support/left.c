/* Leaves behind what its first argument names; ends with the status of its second. */
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

__attribute__((noinline)) static int spool(int count) {
    int fd = -1;
    for (int n = 0; n < count; n++) fd = open("/etc/passwd", O_RDONLY);
    return fd;
}

static void *idle(void *unused) {
    pause();
    return unused;
}

int main(int count, char **words) {
    const char *what = count > 1 ? words[1] : "";
    pthread_t thread;
    if (!strcmp(what, "files")) return spool(3) < 0;
    if (!strcmp(what, "thread")) pthread_create(&thread, 0, idle, 0);
    if (!strcmp(what, "child") && fork() == 0) {
        setsid();
        execlp("sleep", "sleep", "60", (char *)0);
        return 1;
    }
    if (!strcmp(what, "forked") && fork() == 0) return spool(2) < 0;
    close(open("/etc/hosts", O_RDONLY));
    return count > 2 ? atoi(words[2]) : 0;
}
