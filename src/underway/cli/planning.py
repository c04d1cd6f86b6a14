"""plan, simulate, export: what can be looked at before anything moves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from underway.cli.context import Context, echo, echo_json, pass_context, width
from underway.errors import InputError

if TYPE_CHECKING:
    from underway.core.model.part import Plane
    from underway.core.model.plan import Plan


@click.command()
@click.option("--to", "target", metavar="RELEASE", required=True, help="The release to upgrade to.")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Save the plan (and FILE.sig).")
@click.option("--diff", "old", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Compare with OLD.")
@click.option("--plane", "planes", type=click.Choice(["control", "data"]), multiple=True, help="Only this plane.")
@click.option("--role", "roles", metavar="ROLE", multiple=True, help="Only hosts of this role.")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="Only this host.")
@click.option("--service", "services", metavar="SERVICE", multiple=True, help="Only this service.")
@click.option("--all", "every", is_flag=True, help="Also what need not be done: see below.")
@click.option("--strict", is_flag=True, help="Warnings refuse the plan.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan itself.")
@pass_context
def plan(
    context: Context,
    target: str,
    output: Path | None,
    old: Path | None,
    planes: tuple[Plane, ...],
    roles: tuple[str, ...],
    hosts: tuple[str, ...],
    services: tuple[str, ...],
    every: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Work out what will happen, in which order, and why.

    Touches no host. Shows the stages, the worst simultaneous loss, the estimated time and the defaults that it took.

    --plane, --role, --host and --service plan a part: each narrows, the same word again widens. A part is refused
    where it comes after what is not done yet. What is done for the whole deployment is in the plan without a part.

    --all plans also services of which nothing changes, and what earlier runs did for the whole deployment.
    """
    import json

    from underway.app.opening import warnings_of
    from underway.app.planning import make_plan, read_inputs, sign_plan, write_plan
    from underway.core.model.base import canonical
    from underway.core.model.part import Part
    from underway.core.preview import tree

    inputs = read_inputs(context.session)
    part = Part(planes=planes, roles=roles, hosts=hosts, services=services)
    made = make_plan(context.session, inputs, target, part, every=every)
    for text in warnings_of(context.session.store):
        echo(f"warning: {text}", error=True)
    if old is not None:
        from underway.app.planning import read_plan
        from underway.core.plandiff import compare

        before, _ = read_plan(context.place, old)
        for line in compare(before, made) or ["the two plans are the same"]:
            echo(line)
    elif as_json:
        echo(json.dumps(json.loads(canonical(made)), indent=1, sort_keys=True))
    else:
        for line in tree(made, width=width()):
            echo(line)
    if strict and made.warnings:
        raise InputError(f"{len(made.warnings)} warnings, and --strict was given: the plan was not saved")
    if output is not None:
        from underway.app.checking import readiness_of
        from underway.cli.signing import next_of

        envelope = sign_plan(context.place, made)
        write_plan(output, made, envelope)
        first = "underway check run before, then " if readiness_of(context.session, inputs, made).missing else ""
        saved = f"saved {output} (digest {made.digest()[:12]}), {next_of(context, envelope, output)}"
        echo(f"{saved}; next: {first}underway upgrade {output}", error=as_json)


@click.command()
@click.argument("plan_file", metavar="PLAN", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--scenario", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Durations and failures."
)
@click.option("--seed", type=int, default=1, show_default=True, help="For durations that are drawn.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@pass_context
def simulate(context: Context, plan_file: Path, scenario: Path | None, seed: int, as_json: bool) -> None:
    """Run a saved plan in virtual time.

    With the real coordinator and rules: order, worst loss, how long it takes. Touches no host.
    """
    from underway.config.scenario import load_scenario
    from underway.sim.simulate import simulate as run_simulation

    made = _read(context, plan_file)
    result = run_simulation(made, load_scenario(scenario, made), seed)
    if as_json:
        echo_json(result.as_json())
        return
    for line in result.lines(width()):
        echo(line)


def _read(context: Context, path: Path) -> Plan:
    from underway.app.planning import read_plan

    return read_plan(context.place, path)[0]


@click.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--plan", "plan_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A saved plan.")
@click.option("--to", "target", metavar="RELEASE", help="Or: plan for this release.")
@pass_context
def export(context: Context, directory: Path, plan_file: Path | None, target: str | None) -> None:
    """Write what is run as playbooks and an inventory.

    Plain ansible-playbook can then do the run in the same order, without Underway. DIRECTORY is new or empty.
    """
    from underway.app.planning import make_plan, read_inputs
    from underway.render.export import export as write

    if (plan_file is None) == (target is None):
        raise InputError("give either --plan FILE or --to RELEASE")
    if plan_file is not None:
        made = _read(context, plan_file)
    else:
        assert target is not None
        made = make_plan(context.session, read_inputs(context.session), target)
    write(made, directory)
    echo(f"wrote {directory}: read {directory / 'README.md'}; ansible-playbook site.yml does the run in the same order")
