"""Upgrades of the laboratory by Underway, each judged on what probes saw and on what the cloud itself says after."""

SCENARIOS = {
    "rolling": "drained, one host after another, each waited for: nothing may fail",
    "naive": "all hosts of a role at once, nothing drained, nothing waited for: shows what the rules are worth",
    "checked": "with Tempest, tests of hosts and persistent resources before, during and after",
    "killed": "kill -9 of the coordinator, ten times",
    "agents": "hosts fetch their work by installed agents; an agent and the coordinator are killed; nothing may fail",
    "power": "a controller loses its power in the middle of its upgrade",
    "replaced": "a controller dies for good, and another machine takes its place",
    "queue_leader": "RabbitMQ's leader is stopped",
    "database_primary": "the database that takes the writes is stopped",
    "rollback": "all is brought back before the point of no return; nothing may fail",
    "restarted": "a restart of Keystone is rolled out, its coordinator killed; nothing may fail",
    "rebooted": "the controllers are rebooted, the coordinator killed; nothing may fail (small laboratory)",
    "late_server": "a server is on its way to a compute that is closed for its upgrade",
    "hanging": "a compute hangs",
    "attribution": "ten faults at known tasks, on the small laboratory: is the right task named?",
}
"""What ``lab/run scenario`` knows: the modules here that are run as programs."""
