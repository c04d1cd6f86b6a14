"""The README of the exported tree: how to do the run by hand, and what is lost so."""

from __future__ import annotations

from collections.abc import Sequence

from underway.core.model.plan import Plan
from underway.render.batches import sizes
from underway.render.names import by_hand_file, leg_file, number_tag, rollback_file
from underway.render.site import APPROVED, PASSES, in_order

_TEXT = """\
# {cluster}: {source} to {target}, by Ansible alone

Underway made these files from a plan (`plan.json`). The playbooks in `{passes}/` are byte for byte those that it runs;
`site.yml` runs them in the plan's order. Nothing here needs Underway, or a network beyond that to the hosts.

## Run it

In this directory:

    ansible-playbook site.yml --syntax-check
    ansible-playbook site.yml{approve}

Needs ansible-core 2.19 or newer, the collections that the tasks name, and the keys of all hosts in `known_hosts`.
Values under `!vault` need `--vault-password-file`. `role-ROLE.yml` runs the passes of one role only, in the same order.

{order}

Inventories: `inventory/hosts.yml` (default) and, for tools that want a script, `inventory/underway.py`. Variables stand
in `inventory/group_vars` and `inventory/host_vars`, and rank as Ansible ranks them: all, role, host. Strings tagged
`!unsafe` come from `cluster.yaml` and are never templates.

## When something failed

The run stops before the next batch; nothing else is started. Ansible keeps no memory of what it did, so you say where
to go on. Every step is a tag:

    ansible-playbook {passes}/{example} --list-tags
    ansible-playbook {passes}/{example} --limit HOST --skip-tags step_A,step_B

Skip steps that have finished (their tasks are above the failed one in the output). Handlers that were due when it
failed are lost by then; raise them again by their tag, and keep `all`:

    ansible-playbook {passes}/{example} --limit HOST --tags all,raise_X --skip-tags step_A

`--tags check_STEP` asks whether a step that was cut short has happened, where its author wrote a check. Then run
what is left of `site.yml`: copy it, and delete the imports that are done.
{rollback}
## What is lost without Underway

- At most once: a connection that breaks leaves its task running on the host, and a second run starts it again.
- Memory: which steps finished, which handlers are due, who did what and when.
- The slot window: here a batch waits for its slowest host. Batches keep every limit of the plan.
- Roles side by side: passes run one after the other. A role whose hosts are drained elsewhere goes host by host.
- Windows, holds, pauses, the outage budget, and the health of hosts that are not in the batch.
- Soaking is a pause, not a watch: a host that falls ill in it is not noticed.
- Probes, and the report that says when what was down, and why.
- Signatures: who can write these files decides what hosts do.
"""


def readme(plan: Plan) -> bytes:
    """The text for ``plan``."""
    approvals = list(dict.fromkeys(stage.kind for stage in plan.stages if stage.approval))
    example = next((leg_file(plan.passes[name], 0) for stage in plan.stages for name in stage.passes), "PASS.yml")
    rollback = ""
    if any(plan.rollback.values()):
        files = ", ".join(f"`{PASSES}/{rollback_file(role)}`" for role in sorted(plan.rollback) if plan.rollback[role])
        rollback = f"\nBefore the point of no return a host can go back (`--limit HOST`): {files}.\n"
    if plan.by_hand:
        files = ", ".join(f"`{PASSES}/{by_hand_file(role)}`" for role in sorted(plan.by_hand))
        rollback += f"\nRoles that operators upgrade themselves, when the rest is done (`--limit HOST`): {files}.\n"
    numbers = sorted({step.number for step in plan.steps.values() if step.number is not None})
    if numbers:
        tags = " ".join(number_tag(number) for number in numbers)
        rollback += (
            f"\nStep by step, on all hosts or some: `ansible-playbook site.yml --tags TAG`, in this order: {tags}.\n"
        )
    text = _TEXT.format(
        cluster=plan.cluster,
        source=plan.source,
        target=plan.target,
        passes=PASSES,
        example=example,
        approve=f" -e {APPROVED}={','.join(approvals)}" if approvals else "",
        order=_order(plan, approvals),
        rollback=rollback,
    )
    return text.encode()


def _order(plan: Plan, approvals: Sequence[str]) -> str:
    lines = ["| stage | pass | hosts | at once |", "|---|---|---|---|"]
    for stage in plan.stages:
        for found in in_order(plan, stage):
            at_once = ", ".join(map(str, sizes(plan, found))) or "held: the limit is 0"
            final = " (no way back)" if stage.point_of_no_return else ""
            lines.append(f"| {stage.name}{final} | `{found.id}` | {len(found.hosts)} | {at_once} |")
    if approvals:
        names = " and ".join(f"`{name}`" for name in approvals)
        lines += ["", f"Without `-e {APPROVED}=...` the run stops before {names}, as the policy wants."]
    return "\n".join(lines)
