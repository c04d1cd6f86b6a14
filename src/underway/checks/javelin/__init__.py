"""Persistent resources that a Javelin file describes, made, verified and destroyed through OpenStack's APIs.

The format is that of Tempest's ``javelin`` (up to Liberty) and of Spinal Stack's sanity run: ``tenants``, ``users``,
``secgroups``, ``images``, ``networks``, ``subnets``, ``routers``, ``volumes``, ``servers``, ``objects``. It is a
program by Grenade's protocol (:mod:`underway.checks.suites.resource`), with openstacksdk, which is dear to import, in a
process of its own.
"""
