#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <time.h>

static void __attribute__((noinline)) spin_here(double seconds) {
  struct timespec begun, now; volatile double x = 0;
  clock_gettime(CLOCK_MONOTONIC, &begun);
  do { for (int i = 0; i < 100000; i++) x += i; clock_gettime(CLOCK_MONOTONIC, &now); }
  while (now.tv_sec - begun.tv_sec + (now.tv_nsec - begun.tv_nsec) / 1e9 < seconds);
}

static int serve(void) {
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (bind(listener, (void *)&address, length) || listen(listener, 64)) return 1;
  getsockname(listener, (void *)&address, &length);
  printf("%d\n", ntohs(address.sin_port)); fflush(stdout);
  struct pollfd all[64] = {{listener, POLLIN, 0}};
  int count = 1; char data[4096];
  for (;;) {
    poll(all, count, -1);
    if (all[0].revents && count < 64) all[count++] = (struct pollfd){accept(listener, 0, 0), POLLIN, 0};
    for (int i = count - 1; i > 0; i--) {
      if (!all[i].revents) continue;
      int got = read(all[i].fd, data, sizeof data - 1);
      if (got > 0) {
        data[got] = 0;
        if (strstr(data, "/compute")) spin_here(1.5);
        if (write(all[i].fd, "HTTP/1.0 200 OK\r\n\r\nok", 21) < 0) return 1;
      }
      close(all[i].fd); all[i] = all[--count];
    }
  }
}

static int ring(void) {
  struct io_uring_params params = {0};
  int fd = syscall(SYS_io_uring_setup, 8, &params);
  if (fd < 0) { printf("no io_uring\n"); fflush(stdout); pause(); }
  char *sq = mmap(0, params.sq_off.array + params.sq_entries * 4, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
  char *cq = mmap(0, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_CQ_RING);
  struct io_uring_sqe *entries = mmap(0, params.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
  struct __kernel_timespec soon = {.tv_nsec = 5000000};
  printf("ring\n"); fflush(stdout);
  for (int turn = 0;; turn++) {
    unsigned *tail = (unsigned *)(sq + params.sq_off.tail), at = *tail & *(unsigned *)(sq + params.sq_off.ring_mask);
    memset(&entries[at], 0, sizeof *entries);
    entries[at].opcode = IORING_OP_TIMEOUT; entries[at].fd = -1;
    entries[at].addr = (unsigned long)&soon; entries[at].len = 1;
    ((unsigned *)(sq + params.sq_off.array))[at] = at;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
    /* Every so often what has come is not fetched for long. */
    if (turn % 400 == 399) spin_here(1.5);
    unsigned *head = (unsigned *)(cq + params.cq_off.head);
    __atomic_store_n(head, *(unsigned *)(cq + params.cq_off.tail), __ATOMIC_RELEASE);
  }
}

int main(int count, char **words) { return count > 1 && !strcmp(words[1], "ring") ? ring() : serve(); }
