"""Stands in for Neutron where servers have no network: every list is empty, every quota is without a limit.

Nova asks it when a server is shown, made or deleted; with empty answers all three work for servers made with
``networks: none``.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

UNLIMITED = dict.fromkeys(("floatingip", "network", "port", "security_group", "security_group_rule"), -1)


def answer(path):
    """What Neutron with nothing in it would say to a GET of that path."""
    parts = path.strip("/").removesuffix(".json").split("/")
    if parts == [""]:
        return {"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}
    if parts == ["v2.0"]:
        return {"resources": []}
    if parts[1] == "quotas":
        return {"quota": UNLIMITED}
    return {parts[1].replace("-", "_"): []}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = json.dumps(answer(urlsplit(self.path).path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass


ThreadingHTTPServer(("0.0.0.0", 9696), Handler).serve_forever()
