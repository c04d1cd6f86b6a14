"""Variables: names that would change how Ansible connects, and values that look like secrets (TRUST.md §4, 61-65)."""

from __future__ import annotations

import keyword
import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from underway.config import names
from underway.config.located import VAULT_HEAD, VAULT_KEY, Document
from underway.config.names import Wrong
from underway.config.scalars import Severity
from underway.config.words import shown
from underway.errors import Problem

MAX_VARS = 1000

ALLOWED_ANSIBLE_VARS = frozenset({"ansible_python_interpreter", "ansible_timeout", "ansible_become_timeout"})
"""``ansible_*`` names that may be set; all others could say how, or as whom, or through what a host is reached."""

_OWN_KEY = {
    "ansible_host": "use 'address' of the host",
    "ansible_port": "use 'port' of the host",
    "ansible_user": "use 'user' of the host",
    "ansible_connection": "use 'connection' of the host",
}
_MAGIC = frozenset(
    {
        "environment", "group_names", "groups", "hostvars", "inventory_dir", "inventory_file", "inventory_hostname",
        "inventory_hostname_short", "lookup", "namespace", "omit", "play_hosts", "playbook_dir", "q", "query",
        "role_name", "role_names", "role_path", "tags", "vars",
    }
)  # fmt: skip

SECRET_NAME = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|token|private_key|secret_key|api_key|access_key|auth_key|credentials?)$",
    re.IGNORECASE,
)
_SECRET_ARGUMENT = re.compile(r"(?:^|_)(?:password|passwd|passphrase|private_key|secret_key|api_key)$", re.IGNORECASE)
_NOT_SECRET = frozenset({"update_password", "validate_token", "no_token"})
_KEY_BLOCK = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|(?<![A-Z0-9])AKIA[0-9A-Z]{16}(?![A-Z0-9])")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}", re.ASCII)
_PATH = re.compile(r"(?:~|\.)?(?:/[A-Za-z0-9._-]+)+", re.ASCII)
_USE_VAULT = "use vault: ansible-vault encrypt_string"


def variables(doc: Document, loc: tuple[str | int, ...], values: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with the names and values of ``values``, which stand at ``loc``."""
    if len(values) > MAX_VARS:
        yield doc.problem(loc, "too-big", f"{len(values):,} variables; at most {MAX_VARS:,}")
        return
    for name, value in values.items():
        wrong = _name(name, value)
        if wrong:
            yield doc.problem((*loc, name), *wrong, of="key")
        yield from inline(doc, (*loc, name), name, value, SECRET_NAME)


def _name(name: str, value: Any) -> Wrong | None:
    wrong = names.variable(name)
    if wrong:
        return wrong
    if name in _MAGIC or keyword.iskeyword(name):
        return Wrong("variable", f"'{name}' means something else to Ansible", "choose another name")
    if name.startswith("underway_"):
        return Wrong("variable", f"'{name}': names that begin with underway_ are set by the program")
    if not name.lower().startswith("ansible_"):
        return None
    if name not in ALLOWED_ANSIBLE_VARS:
        allowed = "allowed: " + ", ".join(sorted(ALLOWED_ANSIBLE_VARS))
        return Wrong(
            "ansible-variable", f"'{name}' may not be set: it could redirect Ansible", _OWN_KEY.get(name, allowed)
        )
    if name == "ansible_python_interpreter":
        fine = isinstance(value, str) and bool(re.fullmatch(r"/[A-Za-z0-9._/+-]{1,200}", value, re.ASCII))
    else:
        fine = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 3600
    return None if fine else Wrong("ansible-variable", f"'{name}' has the value {shown(value)}, which may not be")


def inline(
    doc: Document, loc: tuple[str | int, ...], name: str, value: Any, pattern: re.Pattern[str]
) -> Iterator[Problem]:
    """Secrets that stand in ``value`` openly, at any depth."""
    if isinstance(value, dict):
        if set(value) == {VAULT_KEY}:
            text = value[VAULT_KEY]
            if not (isinstance(text, str) and text.startswith(VAULT_HEAD)):
                yield doc.problem(loc, "vault", f"'{VAULT_KEY}' holds no text that ansible-vault wrote", _USE_VAULT)
            return
        for key, inside in value.items():
            yield from inline(doc, (*loc, key), key, inside, pattern)
    elif isinstance(value, list):
        for index, inside in enumerate(value):
            yield from inline(doc, (*loc, index), name, inside, pattern)
    else:
        found = _scalar(name, value, pattern)
        if found:
            severity, wrong = found
            yield doc.problem(loc, *wrong, severity=severity)


def _scalar(name: str, value: Any, pattern: re.Pattern[str]) -> tuple[Severity, Wrong] | None:
    """The value itself never stands in the message."""
    if isinstance(value, str):
        if value.startswith(VAULT_HEAD):
            return "error", Wrong("vault", "text of ansible-vault without its tag", "write '!vault |' before it")
        if _KEY_BLOCK.search(value):
            return "error", Wrong("inline-secret", "a private key stands here openly", _USE_VAULT)
    named = pattern.search(name) is not None and name.lower() not in _NOT_SECRET and not _is_path(name, value)
    filled: bool = isinstance(value, int | float | str) and not isinstance(value, bool) and value != ""
    if named and filled and not (isinstance(value, str) and value.lstrip().startswith("{{")):
        return "error", Wrong("inline-secret", f"the value of {shown(name)} stands here openly", _USE_VAULT)
    if isinstance(value, str) and 40 <= len(value) <= 512 and _BASE64.fullmatch(value) and _entropy(value) > 4.5:
        return "warning", Wrong(
            "looks-secret", f"the value of {shown(name)} looks like a secret", f"if it is one, {_USE_VAULT}"
        )
    return None


def _is_path(name: str, value: Any) -> bool:
    """Where a key lies is no secret; a password that looks like a path is one."""
    return isinstance(value, str) and "pass" not in name.lower() and bool(_PATH.fullmatch(value))


def _entropy(text: str) -> float:
    """Bits a character; hexadecimal digests stay below 4, keys in base64 come above 4.5."""
    total = len(text)
    return -sum(count / total * math.log2(count / total) for count in Counter(text).values())


def arguments(doc: Document, loc: tuple[str | int, ...], task: dict[str, Any]) -> Iterator[Problem]:
    """Secrets that stand openly in a task's arguments."""
    for key, value in task.items():
        yield from inline(doc, (*loc, key), key, value, _SECRET_ARGUMENT)
