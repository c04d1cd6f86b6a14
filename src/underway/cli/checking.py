"""check: suites and persistent resources, before, during and after an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from underway.cli.context import Context, echo, echo_json, pass_context
from underway.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from underway.app.checking import Judged


@click.group()
def check() -> None:
    """See whether all still works, before, during and after.

    Suites and persistent resources are those of 'checks' in cluster.yaml.
    """


@check.command("run")
@click.argument("moment", type=click.Choice(["before", "during", "after"]))
@click.option("--suite", "suites", metavar="NAME", multiple=True, help="Only this check (may be given again).")
@click.option("--release", metavar="RELEASE", default="", help="The release that runs now (default: as known).")
@click.option("--once", is_flag=True, help="During: look at the resources once, and do not follow the run.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@pass_context
@click.pass_context
def run_checks(
    ctx: click.Context, context: Context, moment: str, suites: tuple[str, ...], release: str, once: bool, as_json: bool
) -> None:
    """Run the checks of a MOMENT, keep what they find, and compare.

    after and during are compared with the latest before. during stays beside a run until it is over, and looks at
    the persistent resources after each step. Exit code 1: something got worse, or failed anew.
    """
    from underway.app import checking
    from underway.config.load import load

    inputs = load(context.place.cluster_file)
    context.place.prepare(inputs.cluster.name, inputs.store)
    chosen = checking.choose(inputs, suites, moment)  # type: ignore[arg-type]  # click has looked
    session = context.session
    checks = checking.Checks(
        session, inputs, release or checking.release_of(session, inputs), lambda text: echo(text, error=True)
    )
    judged = checks.run(moment, chosen, follow=not once)  # type: ignore[arg-type]
    _show(judged, as_json)
    ctx.exit(EXIT_DONE if judged.verdict.good and not judged.broken else EXIT_FAILED)


@check.command("compare")
@click.argument("before")
@click.argument("after")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
@pass_context
@click.pass_context
def compare(ctx: click.Context, context: Context, before: str, after: str, as_json: bool) -> None:
    """Compare two runs of the checks by their ids."""
    from underway.app import checking
    from underway.config.load import load

    judged = checking.compare(context.session, load(context.place.cluster_file), before, after)
    _show(judged, as_json)
    ctx.exit(EXIT_DONE if judged.verdict.good else EXIT_FAILED)


@check.command("list")
@pass_context
def list_checks(context: Context) -> None:
    """List what was run so far."""
    from underway.app.checking import shelf_of

    for one in shelf_of(context.session).all():
        counts: dict[str, int] = {}
        for case in (case for result in one.suites for case in result.cases):
            counts[case.outcome] = counts.get(case.outcome, 0) + 1
        told = ", ".join(f"{number} {word}" for word, number in sorted(counts.items())) or "nothing was run"
        echo(f"{one.id}  {one.release}  {told}")


def _show(judged: Judged, as_json: bool) -> None:
    from underway.core import checking
    from underway.core.model.base import canonical
    from underway.core.words import clean, clock

    if as_json:
        import json

        checks = json.loads(canonical(judged.checks))
        verdict = json.loads(canonical(judged.verdict))
        broken = json.loads(canonical(judged.broken))
        before = judged.before.id if judged.before is not None else None
        echo_json({"checks": checks, "before": before, "verdict": verdict, "broken": broken})
        return
    for one in judged.broken:
        names = ", ".join(f"step '{row.name}' on {row.host}" for row in one.steps) or "no step"
        seen = f"whole at {clock(one.seen)}, " if one.seen is not None else ""
        echo(clean(f"broken: {one.id}: {seen}not at {clock(one.found)}: {one.attribution}: after {names}: {one.text}"))
    for line in checking.lines(judged.verdict, judged.before.id if judged.before is not None else ""):
        echo(clean(line))
    echo(clean(f"kept as {judged.checks.id} (release {judged.checks.release})"))
