"""Upgrades of the laboratory by Underway, each judged on what probes saw and on what the cloud itself says after."""

SCENARIOS = {
    "rolling": "drained, one host after another, each waited for: nothing may fail",
    "naive": "all hosts of a role at once, nothing drained, nothing waited for: shows what the rules are worth",
}
"""What ``lab/run scenario`` knows: the modules here that are run as programs."""
