"""Enrolment from the host's side: a one-time code, a key made here, and whom to believe from then on.

The code names the host, holds a secret, and the SHA-256 of the authority's certificate. So the first contact is safe:
the certificate is fetched from whoever answers, and believed only if it is the one that the operator's terminal showed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import aiohttp

from underway_agent import __version__, identity
from underway_agent.calls import NoRunner, Runner
from underway_agent.code import NO_AUTHORITY, Code
from underway_agent.dsse import NotSigned, create_key, fingerprint, load_key, public_hex
from underway_agent.identity import AgentError, Settings
from underway_agent.letters import PROTOCOL
from underway_agent.link.http import ANSWER, check_url, said_by, trusting


def enrol(directory: Path, url: str, code: Code, runner: Sequence[str], runner_directory: str) -> Settings:
    """Make this host's agent in ``directory``. The same code again finishes what was interrupted. Raises AgentError."""
    try:
        url = check_url(url)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        return asyncio.run(_enrol(directory, url, code, runner, runner_directory))
    except (ValueError, NotSigned, NoRunner) as error:
        raise AgentError(str(error)) from None
    except OSError as error:
        raise AgentError(f"{error.filename or url}: {error.strerror or error}") from None


async def _enrol(directory: Path, url: str, code: Code, command: Sequence[str], runner_directory: str) -> Settings:
    runner = Runner(command, runner_directory)
    await runner.ask("ping")  # before the code is used up
    authority = await _authority(directory, url, code)
    # One key a code: an answer that was lost is asked for again with the same.
    name = hashlib.sha256(code.secret.encode()).hexdigest()[:16]
    key_path, token_path = directory / f"new-{name}.key", directory / f"new-{name}.token"
    if not token_path.exists():
        identity.write_private(token_path, secrets.token_urlsafe(32) + "\n")
    key = load_key(key_path) if key_path.exists() else create_key(key_path)
    token = identity.read_private(token_path).strip()
    said = await _post(
        url + "/v1/agents/enrol",
        {
            "protocol": PROTOCOL, "agent": __version__, "host": code.host, "code": code.secret,
            "public": public_hex(key), "token": hashlib.sha256(token.encode()).hexdigest(),
        },
        trusting(authority),
    )  # fmt: skip
    cluster, keys = str(said["cluster"]), said["keys"]
    links = {"links": said["links"]} if said.get("links") else {}  # changes of the keys; an older runner knows none
    enrolled = await runner.ask("enrol", {"cluster": cluster, "host": code.host, "keys": keys, **links})
    if enrolled.get("kind") != "enrolled":
        raise AgentError(f"the runner of this host refuses: {enrolled.get('text', 'it does not say why')}")
    ticket_keys = tuple(str(one["keyval"]["public"]) for one in keys if one["use"] == "ticket")
    settings = Settings(
        cluster, code.host, url, ticket_keys, tuple(command), runner_directory, mail_root=str(said.get("mail", ""))
    )
    before = directory / "agent.json"
    if before.exists():  # what an administrator wrote there stays
        old = identity.load(directory).settings
        settings = replace(settings, vault_password_file=old.vault_password_file, store=old.store)
    key_path.replace(directory / "host.key")
    token_path.replace(directory / "token")
    if authority is not None:
        authority.replace(directory / "ca.crt")
    identity.save(directory, settings)
    return settings


async def _authority(directory: Path, url: str, code: Code) -> Optional[Path]:
    """The certificate that the code names, in a file; None over plain HTTP. Raises AgentError."""
    if code.authority == NO_AUTHORITY:
        if url.startswith("https:"):
            raise AgentError(f"{url}: the code is for plain HTTP on one machine; make a new one")
        return None
    if not url.startswith("https:"):
        raise AgentError(f"{url}: the code is for HTTPS")
    unseen = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unseen.check_hostname = False
    unseen.verify_mode = ssl.CERT_NONE  # nothing is sent, and what comes is compared with the code
    pem = await _get(url + "/v1/ca", unseen)
    try:
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError:
        found = ""
    if found != code.authority:
        raise AgentError(
            f"{url}: shows another authority ({found[:16] or 'none'}) than the code names ({code.authority[:16]}):"
            " somebody else answers there; nothing was sent"
        )
    path = directory / "new-ca.crt"
    identity.write_private(path, pem)
    return path


async def _get(url: str, context: ssl.SSLContext) -> str:
    async with aiohttp.ClientSession(trust_env=False) as session:
        return (await _answer(session.get(url, ssl=context, timeout=_limits(), allow_redirects=False))).decode()


async def _post(url: str, said: Dict[str, Any], context: ssl.SSLContext) -> Dict[str, Any]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        request = session.post(url, json=said, ssl=context, timeout=_limits(), allow_redirects=False)
        found: Dict[str, Any] = json.loads(await _answer(request))
        return found


async def _answer(request: Any) -> bytes:
    try:
        async with request as answer:
            body: bytes = await answer.content.read(1 << 20)
            if answer.status != 200:
                raise AgentError(f"{answer.url}: {said_by(body, answer.status)}")
            return body
    except asyncio.TimeoutError:
        raise AgentError(f"no answer within {ANSWER:.0f} s") from None
    except aiohttp.ClientError as error:
        raise AgentError(str(error) or type(error).__name__) from None


def _limits() -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=ANSWER)


def told(settings: Settings, directory: Path) -> str:
    """What is said after an enrolment: the fingerprint is what both sides compare."""
    public = public_hex(load_key(directory / "host.key"))
    return f"{settings.host}: enrolled in cluster {settings.cluster}; key {fingerprint(public)}"
