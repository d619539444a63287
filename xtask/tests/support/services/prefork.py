"""A prefork server as gunicorn is one: workers share the listener, each with its own pool, cache and database.

usage: prefork.py UPSTREAM_PORT FOLDER      (prints "listening on PORT"; what each worker opens late stays open)
"""

import http.client
import os
import signal
import socket
import sqlite3
import sys

UPSTREAM, FOLDER = int(sys.argv[1]), sys.argv[2]
listener = socket.create_server(("127.0.0.1", 0), backlog=64)


def work():
    log = database = upstream = None
    while True:
        client, _ = listener.accept()
        client.settimeout(10)
        try:
            while request := client.recv(4096):
                # Each is opened by the first request that needs it, and kept.
                log = log or open(os.path.join(FOLDER, "log"), "a")
                database = database or sqlite3.connect(os.path.join(FOLDER, "database"), timeout=10)
                upstream = upstream or http.client.HTTPConnection("127.0.0.1", UPSTREAM, timeout=10)
                upstream.request("GET", "/")
                upstream.getresponse().read()
                database.execute("create table if not exists seen (worker)")
                database.execute("select count(*) from seen").fetchall()
                log.write("served\n")
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError:
            pass
        client.close()


workers = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        work()
    workers.append(child)


def end(*_):
    for worker in workers:
        os.kill(worker, signal.SIGTERM)
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
print("listening on", listener.getsockname()[1], flush=True)
for worker in workers:
    os.waitpid(worker, 0)
