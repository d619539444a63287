"""Sends MEGABYTES of zeros to everyone who connects.

usage: send.py ADDRESS PORT MEGABYTES      (prints "listening")
"""

import socket
import sys

address, port, megabytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.create_server((address, port)) as server:
    print("listening", flush=True)
    while True:
        peer, _ = server.accept()
        with peer:
            piece = bytes(1 << 20)
            for _ in range(megabytes):
                peer.sendall(piece)
