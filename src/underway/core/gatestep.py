"""A service's gate as the last step of a host's visit. Pure.

The gate is one Ansible task that succeeds when the host is healthy. It is asked on the host itself, as a step like any
other (journaled, in the signed playbook, in the exported tree), after everything else of the visit. Probes that ask the
host from outside (``Probe.host``) then watch it through the soak time.
"""

from __future__ import annotations

from underway.core.model.base import replace
from underway.core.model.service import Catalogue, Phase, PhaseSpec, Service, Step

GATE_TIMEOUT = 600.0
"""Seconds for a gate that retries by itself; one that does not answers at once."""

PLACES: tuple[Phase, ...] = ("verify", "undrain", "upgrade")
"""Where the gate is put: at the end of the last of a visit's phases that runs on each host itself."""


def gate_id(service: str) -> str:
    """The id of the step that a service's gate becomes."""
    return f"{service}.verify.gate"


def gate_step(service: Service, phase: Phase, name: str) -> Step:
    """The gate as a step of a phase. ``service`` has one."""
    assert service.gate is not None
    return Step(
        id=f"{service.name}.{phase}.gate",
        name=name,
        service=service.name,
        phase=phase,
        tasks=(service.gate,),
        idempotent=True,
        timeout=GATE_TIMEOUT,
    )


def with_gates(catalogue: Catalogue) -> Catalogue:
    """The catalogue with each gate turned into a step; services without a gate are the same objects."""
    services = {name: _with_gate(service) for name, service in catalogue.services.items()}
    return replace(catalogue, services=services)


def _with_gate(service: Service) -> Service:
    if service.gate is None:
        return service
    step = gate_step(service, "verify", f"ask whether {service.name} is healthy here")
    phases = dict(service.phases)
    for phase in PLACES:
        spec = phases.get(phase)
        if spec is None and phase == "verify":
            phases["verify"] = PhaseSpec(steps=(step,))
            break
        if spec is not None and not spec.once and not spec.on:
            phases[phase] = replace(spec, steps=(*spec.steps, step))
            break
    return replace(service, phases=phases, gate=None)
