"""``python -m underway.checks.javelin --file FILE --url URL --user USER ... VERB SIDE``.

Every resource is a line: ``ok KIND/NAME``, ``ok KIND/NAME # SKIP why`` or ``not ok KIND/NAME: why``. Exit status 1: one
is not ok; 2: the file or the account is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from underway.checks.javelin.cloud import Admin, Cloud, NoService, Wrong
from underway.checks.javelin.file import KINDS as ORDER
from underway.checks.javelin.file import NOT_LOOKED_AT, Javelin, Spec, load
from underway.checks.javelin.kinds import KINDS, find_user
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
    parser.add_argument("verb", choices=["early_create", "create", "verify", "verify_noapi", "destroy"])
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
        cloud = Cloud(account, javelin, notes)
        good = _do(options.verb, cloud, javelin)
    except (InputError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_INPUT
    cloud.close()
    fresh = saved.with_name(_SAVED + ".new")
    fresh.write_text(json.dumps(cloud.saved, indent=1, sort_keys=True))
    fresh.replace(saved)
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
        name = f"{kind}/{spec['name']}"
        try:
            _one(verb, cloud, kind, spec, name)
        except NoService as missing:
            print(f"ok {name} # SKIP {missing}")
        except (Wrong, SDKException, ClientException, OSError, ValueError) as error:
            good = False
            text = " ".join(str(error).split()) or type(error).__name__
            print(f"not ok {name}: {text[:300]}")
        else:
            print(f"ok {name} # SKIP asked through the APIs only" if verb == "verify_noapi" else f"ok {name}")
        sys.stdout.flush()
    for kind in javelin.unknown:
        why = "no service of today has it" if kind in NOT_LOOKED_AT else "no such kind of resource"
        print(f"ok {kind} # SKIP {why}")
    return good


def _one(verb: str, cloud: Cloud, kind: str, spec: Spec, name: str) -> None:
    what = KINDS[kind]
    if verb in ("early_create", "create"):
        cloud.saved[name] = what.make(cloud, spec)
    elif verb == "verify":
        what.look(cloud, spec, cloud.saved.get(name, {}))
    elif verb == "destroy" and not (spec.get("owner") and find_user(cloud, spec["owner"]) is None):
        what.remove(cloud, spec)
    if verb == "destroy":  # where the owner is gone, so is what was theirs
        cloud.saved.pop(name, None)


if __name__ == "__main__":
    sys.exit(main())
