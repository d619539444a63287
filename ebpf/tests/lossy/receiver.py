"""Answers each request (length, then that many bytes) with one byte.

usage: receiver.py accept|connect ADDRESS PORT      (prints "listening")
"""

import socket
import struct
import sys

mode, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
one = socket.socket(family, socket.SOCK_STREAM)
if mode == "connect":
    one.connect((address, port))
    peer = one
else:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind((address, port))
    one.listen(8)
    print("listening", flush=True)
    peer, _ = one.accept()
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
kept = bytearray()
while piece := peer.recv(1 << 18):
    kept += piece
    at = 0
    while len(kept) - at >= 4:
        (length,) = struct.unpack_from("=I", kept, at)
        if len(kept) - at < 4 + length:
            break
        at += 4 + length
        peer.send(b"k")
    del kept[:at]
