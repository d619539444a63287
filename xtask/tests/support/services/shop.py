"""A shop's back end as found in the wild, in Python: each request reserves an item and shows it.

usage: shop.py threads|asyncio|pool UPSTREAM_PORT FOLDER      (prints "listening on PORT")

threads: the threaded HTTP server; asyncio: an event loop; pool: workers, two or as many as there are
seats, that accept by themselves, one request a connection. On SIGUSR2 it reads FOLDER/settings.json again, as services do after a change of their configuration.
UPSTREAM_PORT may be HOST:PORT. With OTEL_EXPORTER_OTLP_ENDPOINT it exports spans.
"""

import asyncio
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

MODE, UPSTREAM, FOLDER = sys.argv[1], sys.argv[2], sys.argv[3]
SETTINGS = {}
STOCK = threading.Lock()
SESSIONS, THEMES, WATCHERS, REPORT = [], [], [], []
IDLE = queue.LifoQueue()
POOL, IN_USE = threading.Condition(), [0]
COUNT = [0]
AUDITING, AUDIT = threading.Lock(), []


def settings(*_):
    """work_us, reserve_ms, answer_ms, pause_ms, pause_every, theme_kept, session_kb, watch, ask, cached, pool, timeout_ms,
    retries, fresh, journal_kb, report_kb, audit_kb, and when it starts: host, seats."""
    with open(os.path.join(FOLDER, "settings.json"), "rb") as file:
        SETTINGS.update(json.load(file))
    if not get("theme_kept"):
        while THEMES:
            THEMES.pop().close()


def get(name):
    return SETTINGS.get(name, 0)


def render(us):
    end, digest = time.thread_time() + us / 1e6, b""
    while time.thread_time() < end:
        digest = hashlib.sha256(digest + b"page").digest()


def reserve(ms):
    """Others want the stock too; whoever writes it down holds it meanwhile."""
    with STOCK:
        if ms:
            time.sleep(ms / 1e3)


def theme(kept):
    file = open("/etc/hostname", "rb")
    text = file.read()
    THEMES.append(file) if kept else file.close()
    return text


def remember(kb):
    SESSIONS.append(bytearray(os.urandom(1024)) * kb)


def watch():
    """Somebody is told when the item is there again."""
    news = queue.Queue()
    WATCHERS.append(news)
    threading.Thread(target=notify, args=(news,), daemon=True).start()


def notify(news):
    while item := news.get():
        print(item)


def is_known():
    """So many prices of a hundred are in the cache."""
    return COUNT[0] * 37 % 100 < get("cached")


def ask():
    """No more questions at a time than the pool has connections, and another try or two where none is answered in time."""
    with POOL:
        POOL.wait_for(lambda: not get("pool") or IN_USE[0] < get("pool"))
        IN_USE[0] += 1
    try:
        for _ in range(get("retries")):
            with contextlib.suppress(OSError):
                return ask_who_knows()
        return ask_who_knows()
    finally:
        with POOL:
            IN_USE[0] -= 1
            POOL.notify()


def ask_who_knows():
    """What it costs, over connections that are kept, or over one for each question."""
    host, _, port = UPSTREAM.rpartition(":")
    host, port = host or "127.0.0.1", int(port)
    try:
        upstream = IDLE.get_nowait()
    except queue.Empty:
        upstream = http.client.HTTPConnection(host, port, timeout=(get("timeout_ms") or 10000) / 1e3)
    try:
        with asking(host, port) as headers:
            upstream.request("GET", "/price/1", headers=headers)
            text = upstream.getresponse().read()
    except OSError:
        upstream.close()
        raise
    if get("fresh"):
        upstream.close()
    else:
        IDLE.put(upstream)
    return text


def journal(kb):
    with tempfile.NamedTemporaryFile(dir=FOLDER, prefix="journal-") as file:
        file.write(os.urandom(1024) * kb)
        file.flush()
        os.fsync(file.fileno())


def report(kb):
    """A batch that is built up and let go."""
    REPORT.append(bytearray(os.urandom(1024)) * kb)
    if len(REPORT) > 200:
        REPORT.clear()


def audit(kb):
    """Who asked for what, to a program that keeps it."""
    with AUDITING:
        if not AUDIT:
            AUDIT.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0))
        AUDIT[0].stdin.write(os.urandom(1024) * kb)


def answer():
    COUNT[0] += 1
    render(get("work_us"))
    reserve(get("reserve_ms"))
    theme(get("theme_kept"))
    if get("session_kb"):
        remember(get("session_kb"))
    if get("watch"):
        watch()
    if get("ask") and not is_known():
        ask()
    if get("audit_kb"):
        audit(get("audit_kb"))
    if get("journal_kb"):
        journal(get("journal_kb"))
    if get("report_kb"):
        report(get("report_kb"))
    if get("pause_every") and COUNT[0] % get("pause_every") == 0:
        time.sleep(get("pause_ms") / 1e3)
    if get("answer_ms"):
        time.sleep(get("answer_ms") / 1e3)
    return b"x" * (get("page_kb") or 1) * 1024


def request(headers, path, client):
    return contextlib.nullcontext()


def asking(host, port):
    return contextlib.nullcontext({})


if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
    import tracing

    request = tracing.install("asyncio" if MODE == "asyncio" else "threads")
    asking = tracing.asking


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with request(dict(self.headers), self.path, self.client_address):
            text, status = b"", 200
            try:
                text = answer()
            except OSError:
                status = 502
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            if MODE == "pool":
                self.send_header("Connection", "close")
                self.close_connection = True
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
                text = answer()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text)
                await writer.drain()
    except ConnectionError:
        pass
    writer.close()


async def loop(host):
    server = await asyncio.start_server(converse, host, 0)
    print("listening on", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def worker(listener):
    while True:
        connection, address = listener.accept()
        with contextlib.suppress(OSError), connection:
            Handler(connection, address, None)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    settings()
    signal.signal(signal.SIGUSR2, settings)
    host = get("host") or "127.0.0.1"
    if MODE == "asyncio":
        asyncio.run(loop(host))
    elif MODE == "pool":
        listener = socket.create_server((host, 0), backlog=8)
        print("listening on", listener.getsockname()[1], flush=True)
        for _ in range(get("seats") or 2):
            threading.Thread(target=worker, args=(listener,)).start()
        while True:
            signal.pause()
    else:
        server = Server((host, 0), Handler)
        print("listening on", server.server_address[1], flush=True)
        server.serve_forever()


main()
