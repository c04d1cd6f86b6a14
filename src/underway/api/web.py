"""The routes of ``underway serve``. Denied is what no credential opens; a host opens its own letters and nothing else.

Two kinds of credentials, told apart by their form: a host's ``Bearer HOST:TOKEN`` (made by its agent, kept here as a
hash in its signed enrolment), and an operator's ``Bearer TOKEN``. Errors are one line of JSON: ``kind`` for machines,
``text`` for people.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from underway.api.desk import Desk
from underway.errors import InputError, NotTrusted, Refused, StoreError, UnderwayError
from underway.records.enrolments import Enrolments
from underway_agent.letters import HELLO_TYPE, PROTOCOL, LetterWrong, check_protocol

BODY = 384 * 1024
"""Bytes of a request's body."""

BODY_TIME = 20.0
"""Seconds that a request's body may take to come."""

LONGEST_HOLD = 60.0
"""Seconds for which a question for orders is held at most."""

OPEN = frozenset({("GET", "/v1/health"), ("GET", "/v1/ca"), ("POST", "/v1/agents/enrol")})
"""What needs no credential: whether we are there, the authority's certificate, and enrolment (its code is one)."""


@dataclass(frozen=True)
class Office:
    """What the routes need. ``status``: the whole truth of the current run, as ``underway status --json`` prints it.

    ``operator``: the SHA-256 of the operators' token; empty where none was made. ``pace``: seconds between two letters
    of a host. ``keys``: what hosts' runners are to trust. ``ca``: the authority's certificate (PEM).
    ``mail_root``: where agents find letters in the store's own server; empty where it has none. ``enrolled`` is told of
    every host that was enrolled; perhaps twice.
    """

    cluster: str
    desk: Desk
    enrolments: Enrolments
    keys: Callable[[], dict[str, Any]]
    ca: str
    status: Callable[[], dict[str, Any]]
    operator: Callable[[], str]
    now: Callable[[], float]
    say: Callable[[str], None]
    pace: float = 0.5
    mail_root: str = ""
    enrolled: Callable[[str], object] = lambda host: None  # noqa: ARG005  nobody is told


class Denied(Exception):
    """No credential, or one that does not open this."""


def application(office: Office, lifespan: Any = None) -> ASGIApp:
    """The application, with its limits around it."""
    return Limits(routes(office, lifespan))


def routes(office: Office, lifespan: Any = None) -> FastAPI:
    """What can be asked."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    _errors(app, office)

    @app.get("/v1/health")
    async def health() -> Response:
        """Whether the store can be read: 200, else 503."""
        return _json({"ready": office.desk.ready}, 200 if office.desk.ready else 503)

    @app.get("/v1/ca")
    async def authority() -> Response:
        return Response(office.ca, media_type="application/x-pem-file")

    @app.post("/v1/agents/enrol")
    async def enrol(request: Request) -> Response:
        said = _fields(await request.body(), ("host", "code", "public", "token"))
        check_protocol(said.get("protocol"), "the host's agent", "this server")
        if len(said["token"]) != 64:
            raise InputError("token: expected a SHA-256")
        made = await asyncio.to_thread(
            office.enrolments.enrol, said["host"], said["code"], said["public"], said["token"], office.now()
        )
        await asyncio.to_thread(office.enrolled, made.host)
        office.say(f"{made.host}: enrolled, key {made.fingerprint}")
        return _json(
            {
                "cluster": office.cluster,
                "host": made.host,
                "number": made.number,
                "mail": office.mail_root,
                **await asyncio.to_thread(office.keys),
            }
        )

    @app.post("/v1/agents/hello")
    async def hello(request: Request) -> Response:
        host = await _host(office, request)
        envelope = await request.body()
        payload = await asyncio.to_thread(office.enrolments.verify, host, HELLO_TYPE, envelope)
        check_protocol(_object(payload).get("protocol"), f"the agent of {host}", "this server")
        await office.desk.hello(host, envelope)
        return _json({"protocol": PROTOCOL})

    @app.get("/v1/agents/order")
    async def order(request: Request, mark: str = "", wait: str = "0") -> Response:
        host = await _host(office, request)
        if not wait.isdigit() or len(wait) > 4:
            raise InputError(f"wait: expected seconds, found {wait[:20]!r}")
        letter = await office.desk.orders(host, mark, min(float(wait), LONGEST_HOLD))
        headers = {"Underway-Pace": f"{office.desk.pace(office.pace):g}"}
        if letter is None:
            return Response(status_code=204, headers=headers)
        headers["Underway-Mark"] = str(letter.mark)
        return Response(letter.data, media_type="application/json", headers=headers)

    @app.post("/v1/agents/report")
    async def report(request: Request) -> Response:
        host = await _host(office, request)
        await office.desk.report(host, await request.body())
        return _json({}, headers={"Underway-Pace": f"{office.desk.pace(office.pace):g}"})

    @app.get("/v1/plans/{digest}")
    async def plan(request: Request, digest: str) -> Response:
        host = await _host(office, request)
        data = await office.desk.blob(host, digest)
        if data is None:
            raise HTTPException(404, "no such plan among this host's orders")
        return Response(data, media_type="application/octet-stream")

    @app.get("/v1/status")
    async def status(request: Request) -> Response:
        _operator(office, request)
        return _json(await asyncio.to_thread(office.status))

    return app


async def _host(office: Office, request: Request) -> str:
    """The host that a request is of. Raises Denied, with the same words whatever is wrong."""
    host, _, token = _bearer(request).partition(":")
    if not host or not token:
        raise Denied
    try:
        known = await asyncio.to_thread(office.enrolments.token_of, host)
    except InputError:
        raise Denied from None
    shown = hashlib.sha256(token.encode()).hexdigest()
    if not known or not hmac.compare_digest(known, shown):
        if why := await asyncio.to_thread(office.enrolments.revoked, host, shown):
            raise NotTrusted(
                f"this host gets no orders any more: its agent was revoked: {why} (where the cluster is run, 'underway "
                f"host enrol {host}' makes it one of its hosts again)"
            )
        raise Denied
    return host


def _operator(office: Office, request: Request) -> None:
    known, shown = office.operator(), hashlib.sha256(_bearer(request).encode()).hexdigest()
    if not known or not hmac.compare_digest(known, shown):
        raise Denied


def _bearer(request: Request) -> str:
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if kind.lower() == "bearer" else ""


def _fields(body: bytes, names: tuple[str, ...]) -> dict[str, Any]:
    said = _object(body)
    for name in names:
        if not isinstance(said.get(name), str) or len(said[name]) > 512:
            raise InputError(f"{name}: expected text")
    return said


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("the body is not JSON") from None
    if not isinstance(said, dict):
        raise InputError("the body: expected an object")
    return said


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(value, default=str), status, headers, "application/json")


def _error(kind: str, text: str, status: int) -> Response:
    return _json({"kind": kind, "text": text}, status)


def _errors(app: FastAPI, office: Office) -> None:
    """One line of JSON for whatever goes wrong; a fault of ours is told without its inside."""

    def on(kind: type[Exception], answer: Callable[[Any], Response]) -> None:
        async def handler(request: Request, error: Exception) -> Response:  # noqa: ARG001  starlette's signature
            return answer(error)

        app.add_exception_handler(kind, handler)

    def broken(error: Exception) -> Response:
        office.say(f"a request failed: {type(error).__name__}: {error}")
        return _error("error", "the request failed here; it may be made again", 500)

    on(Denied, lambda _: _error("denied", "no credential that opens this (the host's agent: enrol it again)", 401))
    on(HTTPException, lambda error: _error("not-found" if error.status_code == 404 else "http", error.detail,
                                           error.status_code))  # fmt: skip
    on(LetterWrong, lambda error: _error("protocol", str(error), 426))
    on(StoreError, lambda error: _error(error.kind, str(error), 503))
    on(NotTrusted, lambda error: _error(error.kind, str(error), 403))
    on(Refused, lambda error: _error(error.kind, str(error), 413))
    on(InputError, lambda error: _error(error.kind, str(error), 400))
    on(UnderwayError, lambda error: _error(error.kind, str(error), 500))
    on(Exception, broken)


class Limits:
    """Bounds every request's body in size and time before a route sees it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = b""
        try:
            async with asyncio.timeout(BODY_TIME):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        return
                    body += message.get("body", b"")
                    if len(body) > BODY:
                        await self._refuse(scope, receive, send, 413, f"a body of more than {BODY} bytes")
                        return
                    if not message.get("more_body"):
                        break
        except TimeoutError:
            await self._refuse(scope, receive, send, 408, f"the body did not come within {BODY_TIME:.0f} s")
            return
        told = False

        async def again() -> Any:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        with suppress(Exception):  # it was answered and told; raised again only for a server that would print it
            await self._app(scope, again, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, status: int, text: str) -> None:
        answer = _error("too-large" if status == 413 else "too-slow", text, status)
        answer.headers["Connection"] = "close"
        await answer(scope, receive, send)
