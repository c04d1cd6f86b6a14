"""key: whose signatures count, and signing for each other."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from underway.cli.context import Context, echo, echo_json, pass_context
from underway.errors import InputError, NotTrusted, UsageError

if TYPE_CHECKING:
    from underway.app.keys import Proposed
    from underway.core.model.keyring import Key, Trust

_PATH = click.Path(dir_okay=False, path_type=Path)
_out = click.option("--out", type=_PATH, help="Where the change goes if others must sign it (keys-change-N.json).")
_stop = click.option("--stop-runs", is_flag=True, help="Pause runs whose plans would not count any more.")


@click.group()
def key() -> None:
    """Say whose signatures count.

    Make, trust and revoke keys, and sign for a colleague. A plan counts where as many plan keys signed it as must
    ('underway key threshold'); a ticket key of this machine then lets each host begin. Every change of the keys is
    signed by the keys before it, and hosts are told of it.
    """


@key.command()
@click.option("--use", type=click.Choice(["plan", "ticket"]), default="plan", show_default=True, help="What it signs.")
@click.option("--name", required=True, help="Whose or where it is, for people: ada, ctrl2-2026.")
@pass_context
def new(context: Context, use: Literal["plan", "ticket"], name: str) -> None:
    """Make a further key of this machine. It counts once it is trusted."""
    from underway.app.keys import new_key
    from underway.core.keyring import fingerprint

    public, made = new_key(context.place, use, name)
    echo(
        f"{use} key {fingerprint(made.public)} ({name}): {public.with_suffix('.key')}, mode 0600; it never leaves here"
    )
    echo(f"next, where the cluster is run: underway key trust {public}")


@key.command("list")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@pass_context
def list_(context: Context, as_json: bool) -> None:
    """Show the keys that count, those that were revoked, and how many must sign a plan."""
    from underway.app.keys import listed
    from underway.core.words import moment, plural

    found = listed(context.session)
    if as_json:
        echo_json(found)
        return
    trusted: list[dict[str, str]] = found["trusted"]  # type: ignore[assignment]
    plan = sum(one["use"] == "plan" for one in trusted)
    echo(f"{found['threshold']} of {plural(plan, 'plan key')} must sign a plan of cluster {found['cluster']}")
    for one in trusted:
        echo(f"{one['use']:6}  {one['fingerprint']}  {one['name']}{'  (here)' if one['file'] else ''}".rstrip())
    own: list[dict[str, str]] = found["own"]  # type: ignore[assignment]
    for one in own:
        echo(f"{one['use']:6}  {one['fingerprint']}  {one['name']}  (here, and not trusted)")
    revoked: list[dict[str, str]] = found["revoked"]  # type: ignore[assignment]
    for one in revoked:
        since = moment(float(one["at"]))
        echo(f"{one['use']:6}  {one['fingerprint']}  {one['name']}  revoked {since} by {one['by']}: {one['reason']}")


@key.command()
@click.argument("file", type=_PATH)
@click.option("--name", default="", help="For people; instead of the name in FILE.")
@click.option("--fingerprint", "wanted", metavar="SHA256:…", default="", help="What its owner reads to you.")
@_out
@pass_context
def trust(context: Context, file: Path, name: str, wanted: str, out: Path | None) -> None:
    """Let the key of FILE count (a .pub file that 'underway key new' made).

    A key of somebody else is never trusted unseen: compare its fingerprint with what its owner reads to you, or give
    that with --fingerprint.
    """
    from underway.app.keys import is_own, key_in
    from underway.core.keyring import called, fingerprint, with_key
    from underway.core.model.base import replace

    _prepare(context)
    found = key_in(file)
    found = replace(found, name=name) if name else found
    shown = fingerprint(found.public)
    if wanted and wanted != shown:
        raise NotTrusted(f"{file}: has the fingerprint {shown}, not {wanted}; nothing was changed")
    before = context.session.chain().standing
    change = with_key(before, found, context.place.operator, context.session.clock.now())
    if not wanted and not is_own(context.place, found):
        _vouch(found, shown)
    if not name and not found.name:
        echo(f"{called(found)}: has no name ('underway key list' shows its fingerprint only)", error=True)
    _change(context, change, out, stop_runs=False)


@key.command()
@click.argument("fingerprint", metavar="FINGERPRINT")
@click.option("--reason", required=True, help="Why, for whoever looks later.")
@_stop
@_out
@pass_context
def revoke(context: Context, fingerprint: str, reason: str, stop_runs: bool, out: Path | None) -> None:
    """Let a key count no more, ever (its fingerprint, the beginning of it, or its name).

    Hosts refuse what only it signed. What they are doing at this moment goes on. Refused where fewer keys would be left
    than must sign.
    """
    from underway.core.keyring import find, without
    from underway.core.words import clean

    _prepare(context)
    session = context.session
    before = session.chain().standing
    said = clean(reason, 200)
    change = without(before, find(before, fingerprint), said, context.place.operator, session.clock.now())
    _change(context, change, out, stop_runs)


@key.command()
@click.argument("number", type=int)
@_stop
@_out
@pass_context
def threshold(context: Context, number: int, stop_runs: bool, out: Path | None) -> None:
    """Say how many plan keys must sign a plan, and a change of the keys.

    The change itself is signed by as many already: so it shows that they can.
    """
    from underway.core.keyring import with_threshold

    _prepare(context)
    session = context.session
    change = with_threshold(session.chain().standing, number, context.place.operator, session.clock.now())
    _change(context, change, out, stop_runs)


@key.command()
@click.argument("file", type=_PATH)
@click.option("--key", "name", default="", help="Which of several plan keys of this machine.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_context
def sign(context: Context, file: Path, name: str, yes: bool) -> None:
    """Add your signature to a saved plan (FILE and FILE.sig), or to a change of the keys.

    It says what FILE does first. Needs your plan key, and no cluster: bring both files back to where it is run.
    """
    from underway.app.keys import add_signature, signing_key, to_sign
    from underway.cli.running import confirm
    from underway.core.keyring import called

    wanted = to_sign(file)
    own = signing_key(context.place, name, wanted.able)
    for line in wanted.what:
        echo(line)
    confirm(f"Sign it with your key {called(own.key)}?", yes)
    envelope = add_signature(wanted, own)
    echo(f"signed with {called(own.key)}: {wanted.where}{_counted(context, envelope, is_plan=not wanted.able)}")


@key.command()
@click.argument("file", type=_PATH)
@_stop
@pass_context
def apply(context: Context, file: Path, stop_runs: bool) -> None:
    """Make a change of the keys that enough colleagues have signed, and tell hosts."""
    from underway.app.keys import read_proposed

    _prepare(context)
    _make(context, read_proposed(context.session, file), stop_runs)


def _prepare(context: Context) -> None:
    from underway.app.planning import read_inputs

    inputs = read_inputs(context.session)
    context.place.prepare(inputs.cluster.name, inputs.store)


def _vouch(found: Key, shown: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"the key is somebody else's: compare its fingerprint, and give it: --fingerprint {shown}")
    echo(f"{found.use} key {shown} {found.name}".rstrip())
    click.confirm("Is this the fingerprint that its owner reads to you?", abort=True)


def _change(context: Context, change: Trust, out: Path | None, stop_runs: bool) -> None:
    """Sign a change; make it where nobody else must sign, else save it for them."""
    from underway.app.keys import propose, write

    proposed = propose(context.session, change)
    if not proposed.lacks:
        _make(context, proposed, stop_runs)
        return
    path = out or Path(f"keys-change-{change.number}.json")
    if path.exists():
        raise InputError(f"{path}: exists already (give another --out FILE); nothing was changed")
    write(path, proposed.envelope)
    echo(f"saved {path}, and changed nothing yet: it is {proposed.lacks}")
    echo(f"next: a colleague's 'underway key sign {path}', then here 'underway key apply {path}'")


def _make(context: Context, proposed: Proposed, stop_runs: bool) -> None:
    from underway.app.keys import make, tell
    from underway.app.planning import read_inputs
    from underway.core.words import plural, some

    hosts = list(read_inputs(context.session).cluster.hosts.values())
    chain = make(context.session, proposed, stop_runs)
    echo(f"change {chain.standing.number} of the keys: {chain.standing.change}")
    plan = len(chain.standing.of("plan"))
    if 1 < plan == chain.standing.threshold:
        echo(f"all {plan} plan keys must sign: if one is lost, nobody can change anything (trust one more)", error=True)
    context.session.ring.forget()
    told = tell(context.session, hosts, lambda one: echo(f"{one.host}: {one.words}", error=one.known < 0))
    missing = [one.host for one in told if one.known < chain.standing.number]
    if missing:
        echo(
            f"{plural(len(missing), 'host')} not told yet: {some(missing)}: until then"
            f" {'it goes' if len(missing) == 1 else 'they go'} by the keys of before",
            error=True,
        )


def _counted(context: Context, envelope: bytes, is_plan: bool) -> str:
    """Whether that is enough, where this machine knows the cluster's keys."""
    from underway.trustchain import signers_of

    try:
        standing = context.session.chain().standing
    except (InputError, NotTrusted):
        return ""
    have = len(signers_of(envelope, standing))
    if not have:
        return ""
    enough = "; that is enough" if is_plan and have >= standing.threshold else ""
    return f" ({have} of the {standing.threshold} signatures that must be there{enough})"
