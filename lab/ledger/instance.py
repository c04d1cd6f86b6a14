"""Stands for a workload on a compute: answers who it is, since when, and how often it was asked.

An upgrade that leaves workloads alone leaves ``began`` and ``pid`` as they were, and ``asked`` only grows.
"""

import itertools
import json
import os
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8090
BEGAN = time.time()  # noqa: TID251  it stands alone on its host
ASKED = itertools.count(1)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        told = {"host": socket.gethostname(), "pid": os.getpid(), "began": BEGAN, "asked": next(ASKED)}
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


ThreadingHTTPServer(("0.0.0.0", PORT), Handler).serve_forever()
