"""Whether a report names what broke the service: faults injected at known tasks, each in a run of its own."""
