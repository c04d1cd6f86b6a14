"""Which store a cluster's records lie in, and opening it: a file of the state directory, or Consul or etcd.

``cluster.yaml`` says it (``store``); the state directory keeps what was said last, because most commands never read
``cluster.yaml``. Only addresses and paths are kept: secrets stay in their files.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Protocol, runtime_checkable

from underway.errors import InputError, Refused
from underway.store.base import Store
from underway.store.sqlite import SqliteStore
from underway_agent.kv.address import Access, AddressError

NOTE = "store.json"
DATABASE = "state.db"
PREFIX = "underway"
"""Where stores lie on a server, unless the address has another prefix."""

_KEPT = tuple(one.name for one in fields(Access) if one.init)


def noted(state: Path) -> Access | None:
    """Where the records of a state directory lie; None: in its own file."""
    path = state / NOTE
    try:
        given = json.loads(path.read_bytes())
        return Access(**{name: given[name] for name in _KEPT})
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:  # an AddressError is a ValueError
        raise InputError(
            f"{path}: is not what Underway wrote there: {error} (remove it, then 'underway plan' writes it anew)"
        ) from None


def note(state: Path, cluster_file: Path, wanted: Access | None) -> None:
    """Keep where the records lie. Raises Refused where there are records somewhere else: two stores are two truths.

    Other servers of the same kind and prefix, and other files, are no other place.
    """
    before = noted(state)
    if before is None and wanted is not None and _has_records(state / DATABASE):
        raise Refused(
            f"{cluster_file}: store: {wanted.url}, but there are records in {state / DATABASE} "
            "(take 'store' out again, or begin anew with another --state)"
        )
    if before is not None and (
        wanted is None or (before.address.kind, before.address.prefix) != (wanted.address.kind, wanted.address.prefix)
    ):
        found = f"store: {wanted.url}" if wanted is not None else "no 'store'"
        raise Refused(
            f"{cluster_file}: {found}, but the records of {state} lie in {before.url} "
            "(write that again, or begin anew with another --state)"
        )
    if wanted is None or wanted == before:
        return
    text = json.dumps({name: getattr(wanted, name) for name in _KEPT}, indent=1) + "\n"
    draft = state / (NOTE + ".new")
    draft.touch(mode=0o600)
    draft.write_text(text)
    draft.replace(state / NOTE)


def is_there(state: Path) -> bool:
    """Whether there is a store to be looked at; where it is a file, opening it would make it."""
    return (state / NOTE).exists() or (state / DATABASE).exists()


def open_store(state: Path, cluster: str) -> Store:
    """The store of a cluster. Raises InputError for files that cannot be used."""
    access = noted(state)
    if access is None:
        return SqliteStore(state / DATABASE)
    # by name: an HTTP client is dear to import, and most places have a file
    opening = importlib.import_module("underway_agent.kv.opening")
    served = importlib.import_module("underway.store.served")
    try:
        kv = opening.open_kv(access)
    except AddressError as error:
        raise InputError(f"store of cluster {cluster}: {error}") from None
    store: Store = served.ServedStore(kv, root_of(access, cluster))
    return store


def root_of(access: Access, cluster: str) -> str:
    """The key on a server under which all of a cluster's records and letters lie."""
    return f"{access.address.prefix or PREFIX}/{cluster}"


@runtime_checkable
class _Warns(Protocol):
    def warnings(self) -> tuple[str, ...]: ...


def warnings_of(store: Store) -> tuple[str, ...]:
    """What an operator should know of the server behind a store, a sentence each; a file has none."""
    return store.warnings() if isinstance(store, _Warns) else ()


def _has_records(path: Path) -> bool:
    if not path.exists():
        return False
    store = SqliteStore(path, min_free=0, check=False)
    try:
        return store.list("~").revision > 0
    finally:
        store.close()
