"""A run in which every text that comes from outside tries to be markup, script, or a control sequence."""

from __future__ import annotations

from support.sample_run import SampleRun, keystone_run
from underway.core.model.base import replace
from underway.core.model.sample import Outage
from underway.core.rows import Summary

SCRIPTS = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload=window.pwned=1>',
    "'onmouseover='window.pwned=1",
    "</title></style></script><script>window.pwned=1</script>",
    "</svg><script>window.pwned=1</script>",
    "javascript:window.pwned=1",
    "{{ 7 * 7 }}{% raw %}",
    "<a href=javascript:window.pwned=1>x</a>",
    "<iframe srcdoc='<script>parent.pwned=1</script>'>",
    "&lt;script&gt;window.pwned=1&lt;/script&gt;",
    "]]><!--<script>window.pwned=1</script>-->",
    "\x1b[31mred\x1b]0;title\x07\u202eevil\u2066\x00\x9b2J",
    "<base href=//evil.example><meta http-equiv=refresh content='0;url=//evil.example'>",
    "x" * 400,
)


def spiteful_run() -> SampleRun:
    """A broken Keystone run with those texts wherever a file, a host or an operator can put one."""
    made = keystone_run(broken=True)
    pick = iter(SCRIPTS * 1000)
    made.plan = replace(
        made.plan,
        warnings=SCRIPTS,
        defaults=SCRIPTS,
        steps={name: replace(step, name=next(pick)) for name, step in made.plan.steps.items()},
        stages=tuple(replace(stage, why=next(pick)) for stage in made.plan.stages),
    )
    made.run = replace(made.run, reason=SCRIPTS[0], id=SCRIPTS[1], by=SCRIPTS[2])
    made.lines = {
        host: [line for told in lines for line in ((told, replace(told, kind="notice")) if told.task else (told,))]
        for host, lines in made.lines.items()
    }
    made.lines = {
        host: [replace(line, run=made.run.id, task=next(pick) if line.task else "", text=next(pick)) for line in lines]
        for host, lines in made.lines.items()
    }
    made.events = [replace(event, text=next(pick), actor="operator:" + next(pick)) for event in made.events]
    made.outages = [_spiteful(outage, next(pick), next(pick), next(pick)) for outage in made.outages]
    made.gaps = [replace(gap, why=next(pick)) for gap in made.gaps]
    made.actions = {name: replace(record, reason=next(pick)) for name, record in made.actions.items()}
    return made


def _spiteful(outage: Outage, error: str, step: str, task: str) -> Outage:
    causes = tuple(replace(cause, step=step, task=task) for cause in outage.causes)
    return replace(outage, errors={error: outage.failed}, causes=causes, service=SCRIPTS[3])


def spiteful_names(summary: Summary) -> Summary:
    """The same in names, too: ``config`` refuses such names, and a page must not rely on that."""
    bad = SCRIPTS[5]
    return replace(
        summary,
        cluster=SCRIPTS[4],
        source=SCRIPTS[1],
        version=SCRIPTS[2],
        audit_head=SCRIPTS[0],
        hosts=tuple(replace(row, host=bad + row.host, role=bad, domain=bad) for row in summary.hosts),
        probes=tuple(replace(row, probe=bad + row.probe, service=bad) for row in summary.probes),
        steps=tuple(replace(row, host=bad + row.host, on=bad, service=bad, phase=SCRIPTS[3]) for row in summary.steps),
        notices=tuple(replace(row, service=bad, phase=SCRIPTS[3], hosts=(bad, bad)) for row in summary.notices),
        outages=tuple(replace(row, probe=bad, label=row.label + SCRIPTS[2]) for row in summary.outages),
    )
