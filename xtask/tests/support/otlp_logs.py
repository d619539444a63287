"""A receiver of OTLP log records that reads them with OpenTelemetry's own messages and prints each as a line of JSON.

The first request is told to come again, as a collector does that has no room.
"""
import json
from http.server import BaseHTTPRequestHandler, HTTPServer

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse


class Receiver(BaseHTTPRequestHandler):
    refused = False

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        is_ours = self.path == "/v1/logs" and self.headers["content-type"] == "application/x-protobuf"
        if not is_ours or not Receiver.refused:
            Receiver.refused = is_ours
            return self.answer(503 if is_ours else 400, b"")
        request = ExportLogsServiceRequest.FromString(body)
        for of in request.resource_logs:
            for scope in of.scope_logs:
                for record in scope.log_records:
                    told = {"resource": MessageToDict(of.resource), "record": MessageToDict(record)}
                    told["trace"] = record.trace_id.hex()
                    print(json.dumps(told), flush=True)
        self.answer(200, ExportLogsServiceResponse().SerializeToString())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
print("listening on", server.server_port, flush=True)
server.serve_forever()
