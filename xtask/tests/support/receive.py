"""Receives until the sender ends, then prints its own port and how many bytes came.

usage: receive.py ADDRESS PORT
"""

import socket
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as peer:
    received = 0
    while piece := peer.recv(1 << 18):
        received += len(piece)
    print("received", peer.getsockname()[1], received, flush=True)
