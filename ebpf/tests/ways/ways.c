/* Every way in and out of a descriptor table that this kernel allows us. Each descriptor that stays is told on
 * standard output as "NUMBER KIND SEEN", where SEEN is 1 if its making is hooked, 2 if
 * in another process that is gone since; then the process stops itself. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static void told(int fd, const char *kind, int seen) {
    if (fd >= 0) printf("%d %s %d\n", fd, kind, seen);
}

static void missing(const char *way) { printf("- %s %s\n", way, strerror(errno)); }

static void must(int fd, const char *way) {
    if (fd < 0) { perror(way); exit(3); }
}

/* A way that a kernel or its settings may lack is told, not passed over. */
static int may(int fd, const char *kind, const char *way) {
    if (fd < 0) missing(way); else told(fd, kind, 1);
    return fd;
}

static void pass(int socket, int fd) {
    char byte = 'x', beside[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = beside, .msg_controllen = sizeof beside};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    must(sendmsg(socket, &message, 0), "sendmsg");
}

static int passed(int socket) {
    int fd;
    char byte, beside[CMSG_SPACE(sizeof fd)];
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = beside, .msg_controllen = sizeof beside};
    must(recvmsg(socket, &message, 0), "recvmsg");
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

static void *opens(void *number) {
    int fd = open("/etc/passwd", O_RDONLY);
    *(int *)number = fd;
    return 0;
}

static int shares(void *number) {
    *(int *)number = open("/etc/hosts", O_RDONLY);
    _exit(0);
}

/* openat by an io_uring: the table gets a descriptor that no system call returned. */
static void ring(void) {
    struct io_uring_params p = {0};
    int fd = may(syscall(SYS_io_uring_setup, 4, &p), "io_uring", "io_uring_setup");
    if (fd < 0) return;
    size_t size = p.sq_off.array + p.sq_entries * 4;
    size_t cq_size = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *sq = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
    char *cq = mmap(0, cq_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_CQ_RING);
    struct io_uring_sqe *entry = mmap(0, p.sq_entries * sizeof *entry, PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
    int none[4] = {-1, -1, -1, -1};
    must(syscall(SYS_io_uring_register, fd, IORING_REGISTER_FILES, none, 4), "IORING_REGISTER_FILES");
    memset(entry, 0, 2 * sizeof *entry);
    for (int n = 0; n < 2; n++) {
        entry[n].opcode = IORING_OP_OPENAT;
        entry[n].fd = AT_FDCWD;
        entry[n].addr = (uintptr_t) "/etc/services";
        entry[n].open_flags = O_RDONLY;
        entry[n].user_data = n;
        entry[n].file_index = n; /* The second goes into the ring's own table: a direct descriptor. */
        ((unsigned *)(sq + p.sq_off.array))[n] = n;
    }
    __atomic_store_n((unsigned *)(sq + p.sq_off.tail), 2, __ATOMIC_RELEASE);
    must(syscall(SYS_io_uring_enter, fd, 2, 2, IORING_ENTER_GETEVENTS, 0, 0), "io_uring_enter");
    struct io_uring_cqe *done = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
    for (int n = 0; n < 2; n++) {
        if (done[n].res < 0) { fprintf(stderr, "io_uring openat: %s\n", strerror(-done[n].res)); exit(3); }
        if (done[n].user_data == 0) told(done[n].res, "file", 0);
    }
    int counter = eventfd(0, 0), place = 3;
    struct io_uring_files_update more = {.offset = place, .fds = (uintptr_t)&counter};
    must(syscall(SYS_io_uring_register, fd, IORING_REGISTER_FILES_UPDATE, &more, 1), "IORING_REGISTER_FILES_UPDATE");
    close(counter); /* The ring keeps it. */
    printf("direct %d 2\n", fd);
}

static void sockets(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    must(bind(listener, (void *)&at, sizeof at), "bind");
    must(listen(listener, 8), "listen");
    getsockname(listener, (void *)&at, &length);
    told(listener, "listener", 1);
    for (int n = 0; n < 2; n++) {
        int client = socket(AF_INET, SOCK_STREAM, 0);
        must(connect(client, (void *)&at, sizeof at), "connect");
        told(client, "tcp", 1);
        told(n ? accept4(listener, 0, 0, SOCK_CLOEXEC) : accept(listener, 0, 0), "tcp_accepted", 1);
    }
    told(socket(AF_INET6, SOCK_DGRAM, 0), "udp", 1);
    told(socket(AF_NETLINK, SOCK_RAW, 0), "netlink", 1);
    told(socket(AF_PACKET, SOCK_RAW, 0), "socket", 1);
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
    told(pair[0], "unix", 1);
    told(pair[1], "unix", 1);
    /* A file that another process made and handed over: nobody saw this process make it. */
    pid_t child = fork();
    if (child == 0) { pass(pair[1], open("/etc/group", O_RDONLY)); _exit(0); }
    told(passed(pair[0]), "file", 2);
    waitpid(child, 0, 0);
    int own = open("/etc/passwd", O_RDONLY);
    pass(pair[1], own);
    close(own);
    told(passed(pair[0]), "file", 1);
}

static void files(const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/made", folder);
    told(open("/etc/passwd", O_RDONLY), "file", 1);
    told(syscall(SYS_open, "/etc/passwd", O_RDONLY), "file", 1);
    told(creat(path, 0600), "file", 1);
    uint64_t how[3] = {O_RDONLY, 0, 0};
    may(syscall(SYS_openat2, AT_FDCWD, "/etc/hosts", how, sizeof how), "file", "openat2");
    told(open("/etc", O_DIRECTORY), "directory", 1);
    told(open("/dev/null", O_RDWR), "device", 1);
    told(open(folder, O_TMPFILE | O_RDWR, 0600), "file", 1);
    snprintf(path, sizeof path, "%s/fifo", folder);
    must(mkfifo(path, 0600), "mkfifo");
    told(open(path, O_RDWR), "pipe", 1);
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), zero = 0;
    told(master, "device", 1);
    must(ioctl(master, TIOCSPTLCK, &zero), "TIOCSPTLCK");
    told(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY), "device", 0);
}

static void copies(void) {
    int fd = open("/etc/hosts", O_RDONLY), other = dup(fd);
    told(other, "file", 1);
    told(fcntl(fd, F_DUPFD, 200), "file", 1);
    told(fcntl(fd, F_DUPFD_CLOEXEC, 300), "file", 1);
    told(dup2(fd, 400), "file", 1);
    told(dup3(fd, 401, O_CLOEXEC), "file", 1);
    close(fd);
    int self = may(syscall(SYS_pidfd_open, getpid(), 0), "pidfd", "pidfd_open");
    int got = self < 0 ? -1 : syscall(SYS_pidfd_getfd, self, other, 0);
    if (got < 0) missing("pidfd_getfd"); else told(got, "file", 1);
}

static void anonymous(void) {
    told(epoll_create1(0), "epoll", 1);
    told(epoll_create(1), "epoll", 1);
    told(eventfd(0, 0), "eventfd", 1);
    told(syscall(SYS_eventfd, 0), "eventfd", 1);
    told(timerfd_create(CLOCK_MONOTONIC, 0), "timerfd", 1);
    told(inotify_init1(0), "inotify", 1);
    told(syscall(SYS_inotify_init), "inotify", 1);
    sigset_t set;
    sigemptyset(&set);
    int signals = signalfd(-1, &set, 0);
    told(signals, "signalfd", 1);
    if (signalfd(signals, &set, 0) != signals) exit(3);
    told(memfd_create("x", 0), "memfd", 1);
    may(fanotify_init(0, 0), "fanotify", "fanotify_init");
    may(syscall(SYS_userfaultfd, O_NONBLOCK), "userfaultfd", "userfaultfd");
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE, .size = sizeof event, .config = PERF_COUNT_SW_DUMMY};
    may(syscall(SYS_perf_event_open, &event, 0, -1, -1, 0), "perf_event", "perf_event_open");
    int ends[2];
    must(pipe(ends), "pipe");
    told(ends[0], "pipe", 1);
    told(ends[1], "pipe", 1);
    must(pipe2(ends, O_NONBLOCK), "pipe2");
    told(ends[0], "pipe", 1);
    told(ends[1], "pipe", 1);
}

int main(int count, char **words) {
    if (count == 3 && !strcmp(words[1], "executed")) {
        /* What was left by exec: told by the image before, minus what was to be closed. */
        raise(SIGSTOP);
        return 0;
    }
    setvbuf(stdout, 0, _IOFBF, 1 << 16);
    printf("ready\n");
    fflush(stdout);
    getchar();
    files(words[1]);
    copies();
    anonymous();
    sockets();
    ring();
    pthread_t thread;
    int fd = -1;
    pthread_create(&thread, 0, opens, &fd);
    pthread_join(thread, 0);
    told(fd, "file", 1);
    char *stack = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t sharer = clone(shares, stack + (1 << 16), CLONE_FILES | CLONE_VM | SIGCHLD, &fd);
    waitpid(sharer, 0, 0);
    told(fd, "file", 2);
    /* And out again, many at once. */
    int from = open("/dev/null", O_RDONLY), to = from;
    for (int n = 0; n < 50; n++) to = open("/dev/null", O_RDONLY);
    if (syscall(SYS_close_range, from, to, 0)) { missing("close_range"); for (int n = from; n <= to; n++) close(n); }
    printf("told\n");
    fflush(stdout);
    raise(SIGSTOP);
    fd = open("/etc/hosts", O_RDONLY | O_CLOEXEC);
    execl("/proc/self/exe", "ways", "executed", words[1], (char *)0);
    return 3;
}
