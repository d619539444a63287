"""A small service as found in the wild, threaded or on an event loop, with its faults switched by the path.

usage: service.py threads|asyncio UPSTREAM_PORT FOLDER      (prints "listening on PORT")

/fine/WHAT does something properly, /leak/WHAT forgets to close what it made for the request:
file (its settings), temp (a temporary file), pipe (the output of a child), body (an answer of the upstream, unread).
With OTEL_EXPORTER_OTLP_ENDPOINT it exports spans. /keep/N leaves the N-th file of the folder open, /cache/N reads it through a cache of open files, /pool asks the upstream over kept connections.
"""

import asyncio
import collections
import contextlib
import http.client
import http.server
import os
import queue
import subprocess
import sys
import tempfile
import threading

FORGOTTEN = []
MODE, UPSTREAM, FOLDER = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def file(leak):
    settings = open("/etc/hostname", "rb")
    text = settings.read()
    FORGOTTEN.append(settings) if leak else settings.close()
    return text


def temp(leak):
    scratch = tempfile.TemporaryFile()
    scratch.write(b"x" * 1000)
    FORGOTTEN.append(scratch) if leak else scratch.close()
    return b"temp"


def pipe(leak):
    child = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    child.wait()
    FORGOTTEN.append(child) if leak else child.stdout.close()
    return b"pipe"


def body(leak):
    upstream = http.client.HTTPConnection("127.0.0.1", UPSTREAM, timeout=10)
    upstream.request("GET", "/big")
    answer = upstream.getresponse()
    if leak:
        FORGOTTEN.append((upstream, answer))
    else:
        answer.read()
        upstream.close()
    return b"body"


IDLE = queue.LifoQueue()


def pool(_):
    """As urllib3 does: the connection that came back last goes out first."""
    try:
        upstream = IDLE.get_nowait()
    except queue.Empty:
        upstream = http.client.HTTPConnection("127.0.0.1", UPSTREAM, timeout=10)
    upstream.request("GET", "/big")
    text = upstream.getresponse().read()
    IDLE.put(upstream)
    return b"%d" % len(text)


CACHED, CACHE_LOCK, CACHE_MOST = collections.OrderedDict(), threading.Lock(), 40


def cache(name):
    with CACHE_LOCK:
        if name not in CACHED:
            CACHED[name] = open(os.path.join(FOLDER, name), "rb")
            if len(CACHED) > CACHE_MOST:
                CACHED.popitem(last=False)[1].close()
        CACHED.move_to_end(name)
        return os.pread(CACHED[name].fileno(), 100, 0)


def request(headers, path, client):
    return contextlib.nullcontext()


if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
    import tracing

    request = tracing.install(MODE)

WORK = {"file": file, "temp": temp, "pipe": pipe, "body": body}


def answer(path):
    kind, _, what = path.strip("/").partition("/")
    if kind in ("fine", "leak"):
        return WORK[what](kind == "leak")
    if kind == "keep":
        FORGOTTEN.append(open(os.path.join(FOLDER, what), "rb"))
        return b"keep"
    if kind == "cache":
        return cache(what)
    # Whoever has no upstream is one: a proxy passes the path on.
    if kind == "pool" and UPSTREAM:
        return pool(what)
    return b"x" * 400_000 if kind in ("big", "pool") else b"ok"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with request(dict(self.headers), self.path, self.client_address):
            text = answer(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

    def log_message(self, *_):
        pass


async def converse(reader, writer):
    try:
        while line := await reader.readline():
            headers, path = {}, line.split()[1].decode()
            while header := (await reader.readline()).strip():
                name, _, value = header.decode().partition(":")
                headers[name.lower()] = value.strip()
            with request(headers, path, writer.get_extra_info("peername")):
                text = answer(path)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def loop():
    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    print("listening on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if MODE == "threads":
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print("listening on", server.server_address[1], flush=True)
    server.serve_forever()
else:
    asyncio.run(loop())
