"""``python -m underway.checks.javelin --file FILE --url URL --user USER ... VERB SIDE``.

Every resource is a line: ``ok KIND/NAME``, ``ok KIND/NAME # SKIP why`` or ``not ok KIND/NAME: why``. Exit status 1: one
is not ok; 2: the file or the account is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from underway.checks.javelin.cloud import Admin, Cloud, NoService, Wrong, key_of
from underway.checks.javelin.file import KINDS as ORDER
from underway.checks.javelin.file import NOT_LOOKED_AT, Javelin, Spec, load
from underway.checks.javelin.kinds import KINDS
from underway.errors import EXIT_DONE, EXIT_FAILED, EXIT_INPUT, InputError

_SAVED = "javelin.json"
_EARLY = ("tenants", "users")
"""What ``early_create`` makes: accounts, so that the rest is made as their owners."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m underway.checks.javelin")
    for name in ("file", "url", "user", "password-file"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--project", default="admin")
    parser.add_argument("--user-domain", default="Default")
    parser.add_argument("--project-domain", default="Default")
    parser.add_argument("verb", choices=list(_VERBS))
    parser.add_argument("side")
    options = parser.parse_args(arguments)
    saved = Path(os.environ.get("UNDERWAY_SAVE", ".")) / _SAVED
    account = Admin(
        options.url, options.user, options.project, options.user_domain, options.project_domain,
        Path(options.password_file),
    )  # fmt: skip
    try:
        javelin = load(Path(options.file))
        notes = json.loads(saved.read_text()) if saved.exists() else {}
        cloud = Cloud(account, javelin, saved, notes)
        good = _do(options.verb, cloud, javelin)
    except (InputError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_INPUT
    cloud.close()
    return EXIT_DONE if good else EXIT_FAILED


def _chosen(verb: str, javelin: Javelin) -> Iterator[tuple[str, Spec]]:
    kinds = [kind for kind in ORDER if verb not in ("early_create",) or kind in _EARLY]
    for kind in reversed(kinds) if verb == "destroy" else kinds:
        specs = javelin.specs[kind]
        yield from ((kind, spec) for spec in (reversed(specs) if verb == "destroy" else specs))


def _do(verb: str, cloud: Cloud, javelin: Javelin) -> bool:
    """Do one thing with every resource; one that fails stops none of the others."""
    good = True
    for kind, spec in _chosen(verb, javelin):
        key = key_of(kind, spec)
        try:
            skipped = _VERBS[verb](cloud, kind, spec)
        except NoService as missing:
            print(f"ok {key} # SKIP {missing}")
        except (Wrong, SDKException, ClientException, OSError, ValueError) as error:
            good = False
            text = " ".join(str(error).split()) or type(error).__name__
            print(f"not ok {key}: {text[:300]}")
        else:
            print(f"ok {key} # SKIP {skipped}" if skipped else f"ok {key}")
        sys.stdout.flush()
    for kind in javelin.unknown:
        why = "no service of today has it" if kind in NOT_LOOKED_AT else "no such kind of resource"
        print(f"ok {kind} # SKIP {why}")
    return good


def _make(cloud: Cloud, kind: str, spec: Spec) -> str:
    """Make it where it is not there. Raises Wrong where the name is another's: what is not ours is not touched."""
    key, what = key_of(kind, spec), KINDS[kind]
    owner = spec.get("owner")
    if owner and not cloud.saved.get(key_of("users", {"name": owner}), {}).get("made"):
        raise Wrong(f"its owner {owner} was not made here")
    notes = cloud.saved.get(key, {})
    if notes.get("made") and not notes.get("whole"):  # something went wrong half-way
        what.remove(cloud, spec, notes)
        cloud.forget(key)
        notes = {}
    found = [str(one.id) for one in what.find(cloud, spec)]
    if notes.get("made") and notes["id"] in found:
        return ""
    if found:
        raise Wrong(
            f"the {what.what} of this name (id {found[0]}) was not made here and is left as it is: give this one"
            " another name in the file, or remove that one"
        )
    cloud.forget(key)
    what.make(cloud, spec)
    cloud.saved[key]["whole"] = "yes"
    cloud.keep()
    return ""


def _look(cloud: Cloud, kind: str, spec: Spec) -> str:
    """Ask whether it is there and as it was made. Raises Wrong."""
    what, notes = KINDS[kind], cloud.saved.get(key_of(kind, spec), {})
    found = {str(one.id): one for one in what.find(cloud, spec)}  # first: a service that is not there is skipped
    if not notes.get("id"):
        raise Wrong(f"the {what.what} was not made here")
    if not found:
        raise Wrong(f"the {what.what} is gone")
    if notes["id"] not in found:
        raise Wrong(f"the {what.what} is another: id {next(iter(found))}, made as {notes['id']}")
    what.look(cloud, spec, found[notes["id"]], notes)
    return ""


def _remove(cloud: Cloud, kind: str, spec: Spec) -> str:
    """Remove it, if it was made here. Raises Wrong for an account that still has something to remove as."""
    key, notes = key_of(kind, spec), cloud.saved.get(key_of(kind, spec), {})
    if not notes.get("made"):
        return "not made here"
    for other, theirs in ((key_of(kind, spec), spec) for kind in ORDER for spec in cloud.javelin.specs[kind]):
        leans = theirs.get("owner" if kind == "users" else "tenant")
        if kind in _EARLY and leans == spec["name"] and cloud.saved.get(other, {}).get("made"):
            raise Wrong(f"it is needed to remove {other}")
    KINDS[kind].remove(cloud, spec, notes)
    cloud.forget(key)
    return ""


_VERBS: Mapping[str, Callable[[Cloud, str, Spec], str]] = {
    "early_create": _make,
    "create": _make,
    "verify": _look,
    "verify_noapi": lambda *_: "asked through the APIs only",
    "destroy": _remove,
}
"""What is done with each resource; they say why it was skipped, or nothing."""


if __name__ == "__main__":
    sys.exit(main())
