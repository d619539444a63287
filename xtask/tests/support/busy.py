"""Does a little of everything that a probe looks at, until it is ended: prints "ready" first.

usage: busy.py USER     (starts as root, because some kernels let nobody else filter, and becomes that user)

Files come and go, a loop waits, memory grows and shrinks, threads wait for a lock, and connections of this machine lose
all their packets: the receivers discard them, so the kernel sends them again and again. Names are asked for, of nobody.
"""

import ctypes
import mmap
import os
import select
import socket
import struct
import sys
import threading

PR_SET_DUMPABLE = 4
SO_ATTACH_FILTER = 26


def deaf_connection():
    """A connection whose one end discards what comes in (a filter that keeps no byte of a packet)."""
    listener = socket.create_server(("127.0.0.1", 0))
    sender = socket.create_connection(listener.getsockname())
    receiver, _ = listener.accept()
    code = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
    receiver.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)))
    listener.close()
    return sender, receiver


kept = [open("/dev/null", "rb") for _ in range(40)]
lock = threading.Lock()
loop = select.epoll()
first, second = os.pipe(), socket.socketpair()
loop.register(first[0], select.EPOLLIN)
loop.register(second[0], select.EPOLLIN)
resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
resolver.connect(("127.0.0.1", 53))
deaf = [deaf_connection() for _ in range(60)]
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
# Who changes its user is closed to everybody; one that was started by this user would not be.
ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
print("ready", flush=True)
turn = 0
while True:
    # One after the other, because the kernel waits ever longer before it tries one again.
    if turn % 16 == 0 and turn // 16 < len(deaf):
        deaf[turn // 16][0].send(b"never heard")
    if turn % 16 == 0:
        try:
            resolver.send(bytes(30))
        except OSError:
            # Nobody listens there.
            pass
    turn += 1
    os.close(os.open("/dev/null", os.O_RDONLY))
    loop.poll(0.02)
    pages = mmap.mmap(-1, 1 << 20)
    for at in range(0, 1 << 20, 4096):
        pages[at] = 1
    pages.close()
    with lock:
        waiter = threading.Thread(target=lambda: lock.acquire() and lock.release())
        waiter.start()
        loop.poll(0.005)
    waiter.join()
