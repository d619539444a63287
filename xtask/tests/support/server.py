"""A small service as found in the wild: each request reads its settings from a file.

usage: server.py PORT clean|leak      (PORT 0: any; prints "listening on PORT")
With "leak" the file is opened for each request and never closed.
"""

import http.server
import sys

FORGOTTEN = []


def read_settings(leak):
    settings = open("/etc/hostname", "rb")
    text = settings.read()
    if leak:
        FORGOTTEN.append(settings)
    else:
        settings.close()
    return text


class Handler(http.server.BaseHTTPRequestHandler):
    leak = False

    def do_GET(self):
        body = read_settings(self.leak)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Handler.leak = sys.argv[2] == "leak"
    server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("listening on", server.server_address[1], flush=True)
    server.serve_forever()
