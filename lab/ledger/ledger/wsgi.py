"""The ledger's API.

``GET /healthcheck`` 200 or 503 · ``GET /`` the release and the host · ``POST /entries`` ``{"account", "amount"}`` ·
``GET /entries/NUMBER`` · ``GET /total?account=NAME``
"""

from __future__ import annotations

import json
import re
import socket
import traceback
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import pymysql

from ledger import store
from ledger.release import RELEASE

AMOUNT = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,2})?")
Answer = tuple[str, dict[str, Any]]


def _post(environ: dict[str, Any]) -> Answer:
    try:
        given = json.loads(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        account, amount = str(given["account"]), str(given["amount"])
    except (ValueError, KeyError, TypeError):
        return "400 Bad Request", {"error": 'expected {"account": NAME, "amount": "12.50"}'}
    if not 0 < len(account) <= 64 or not AMOUNT.fullmatch(amount):
        return "400 Bad Request", {"error": "an account has 1 to 64 letters, an amount at most two decimals"}
    return "201 Created", {"id": store.add(account, amount), "account": account, "amount": amount}


def _get(path: str, query: str) -> Answer:
    if path == "/healthcheck":
        store.ping()
        return "200 OK", {"healthy": True}
    if path == "/":
        return "200 OK", {"service": "ledger", "release": RELEASE, "host": socket.gethostname()}
    if path == "/total":
        return "200 OK", store.total(parse_qs(query).get("account", [""])[0])
    if match := re.fullmatch(r"/entries/([0-9]+)", path):
        found = store.entries("WHERE id = %s", (int(match[1]),))
        if found:
            return "200 OK", found[0]
    return "404 Not Found", {"error": f"nothing is at {path}"}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI. What fails in the database is told with status 503, and in the log."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    try:
        if method == "POST" and path == "/entries":
            status, body = _post(environ)
        elif method in ("GET", "HEAD"):
            status, body = _get(path, environ.get("QUERY_STRING", ""))
        else:
            status, body = "405 Method Not Allowed", {"error": f"{method} is not for {path}"}
    except pymysql.MySQLError as error:
        traceback.print_exc()
        status, body = "503 Service Unavailable", {"error": f"database: {error}"}
    text = json.dumps(body).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]
