"""The example that ``underway init`` writes: small, commented, and valid as it stands."""

from __future__ import annotations

from underway.config.schema import schemas, text_of

_CLUSTER = """\
# yaml-language-server: $schema=schemas/cluster.schema.json
#
# What is upgraded as one. Check it with 'underway validate'; nothing here is contacted by that.
# Limits, order and probes: docs/reference/files.md.

cluster: example              # a-z, 0-9 and '-'
release: "1.0"                # what the cluster runs now; always in quotes
delivery: package             # package, venv, image or command

# Where services and releases are, relative to this file. These are the defaults.
catalogue: [services]
releases: releases

# A role is a kind of host: what it runs, and how many of its hosts may be out at once.
roles:
  balancer:
    services: [balancer]
    limit: 1                  # a number, or a percentage such as 10% (rounded down); 0 holds all hosts
  web:
    services: [web]
    limit: 1
    after: [balancer]         # starts when all hosts of these roles have finished
    canary: [web1]            # goes first; the others wait until it is healthy
    vars:
      web_port: 8080

# Roles that share one limit, besides their own:
# groups:
#   front: {roles: [balancer, web], limit: 1}

# A host is in exactly one role. 'domain' is what fails as one with it: a rack, a power feed.
hosts:
  lb1: {role: balancer, address: 192.0.2.10, user: deploy}
  web1: {role: web, address: 192.0.2.11, user: deploy, domain: rack-a}
  web2: {role: web, address: 192.0.2.12, user: deploy, domain: rack-b}
  web3: {role: web, address: 192.0.2.13, user: deploy, domain: rack-b}

policy:
  failure_budget: 1           # failed hosts at which the run halts
  soak: 30s                   # how long a host must be healthy before the next one may start
  health_timeout: 5m          # how long it may take to become healthy
  domain_limit: 1             # hosts out at once in one failure domain
  # windows: ["Sat 22:00-04:00 Europe/Paris", "daily 02:00-04:00"]
  # approvals: [finalize]     # wait there for 'underway approve'
  # outage_budget: {web: 10s} # halt when the service was out for longer, in all

# What is asked during the upgrade, on a fixed clock. One that names no host asks as users do.
probes:
  site:
    http: http://192.0.2.10/
    every: 1s
    timeout: 2s
    service: web

# Variables for all tasks. Secrets: 'ansible-vault encrypt_string', and the result after '!vault |'.
settings:
  web_title: An example
"""

_WEB = """\
# yaml-language-server: $schema=../schemas/service.schema.json
#
# A service: the phases of its upgrade. A step is what the host's journal knows; the tasks in it are ordinary Ansible.

service: web
plane: data                   # control (before) or data
needs: [balancer]             # services that are upgraded before this one
balancer: web                 # the name of its back-ends at the load balancer

vars:                         # defaults, under settings, role and host values
  web_package: nginx
  web_port: 80

# Is this host healthy? Asked after its upgrade, until it was for as long as 'soak' says.
gate:
  name: The front page answers
  ansible.builtin.uri:
    url: "http://127.0.0.1:{{ web_port }}/"
    status_code: 200

# Asked of every host of the service; {address}, {host} and variables are replaced.
probes:
  page: {http: "http://{address}:{web_port}/", every: 1s}

handlers:
  - name: Restart web
    ansible.builtin.service:
      name: "{{ web_package }}"
      state: restarted

phases:
  # New bits on every host; nothing is restarted.
  prepare:
    - step: Fetch the package
      idempotent: true
      timeout: 10m
      tasks:
        - name: Download it
          ansible.builtin.apt:
            name: "{{ web_package }}"
            state: latest
            only_upgrade: true
            download_only: true
            update_cache: true
          when: ansible_facts['pkg_mgr'] == 'apt'

  # On the balancer's hosts, for the host that is about to be upgraded ('underway_target').
  drain:
    on: balancer
    steps:
      - step: Take the host out
        idempotent: true
        tasks:
          - name: Disable it at the balancer
            community.general.haproxy:
              state: disabled
              host: "{{ underway_target }}"
              backend: web
              wait: true

  upgrade:
    - step: Install the package
      idempotent: true
      timeout: 15m
      tasks:
        - name: Install it
          ansible.builtin.package:
            name: "{{ web_package }}"
            state: latest
          notify: Restart web

  undrain:
    on: balancer
    steps:
      - step: Put the host back
        idempotent: true
        tasks:
          - name: Enable it at the balancer
            community.general.haproxy:
              state: enabled
              host: "{{ underway_target }}"
              backend: web
              wait: true

  verify:
    - step: Look at the page
      idempotent: true
      tasks:
        - name: The page has the right title
          ansible.builtin.uri:
            url: "http://127.0.0.1:{{ web_port }}/"
            return_content: true
          register: web_page
          failed_when: web_title not in web_page.content

  # Before the point of no return, 'underway rollback' does this.
  rollback:
    - step: Install the package of before
      # Not idempotent, so a check says whether it happened, should it be interrupted.
      check:
        name: The old package is there
        ansible.builtin.command: test -e /var/lib/web/rolled-back
        changed_when: false
      tasks:
        - name: Install it
          ansible.builtin.command: /usr/local/sbin/web-downgrade
          changed_when: true
"""

_BALANCER = """\
# yaml-language-server: $schema=../schemas/service.schema.json

service: balancer
plane: control

gate:
  name: The balancer is at work
  ansible.builtin.wait_for:
    port: 80
    timeout: 5

phases:
  upgrade:
    - step: Upgrade the balancer
      idempotent: true
      tasks:
        - name: Install it
          ansible.builtin.package:
            name: haproxy
            state: latest
"""

_OLD = """\
# yaml-language-server: $schema=../schemas/release.schema.json

release: "1.0"
supports: []                  # releases from which an upgrade to this one is allowed
"""

_NEW = """\
# yaml-language-server: $schema=../schemas/release.schema.json

release: "2.0"
supports: ["1.0"]             # releases from which an upgrade to this one is allowed
services:                     # what changes; a service that is not named stays as it is
  web: "2.0"
notes:
  web: The front page has a new title.
checks:                       # must pass before anything is changed
  - check: There is room for the package
    service: web
    task:
      name: At least 1 GB is free
      ansible.builtin.assert:
        that: (ansible_facts['mounts'] | selectattr('mount', 'equalto', '/') | first).size_available > 1000000000
vars:
  web_release: "2.0"
"""


def example_files() -> dict[str, str]:
    """The files by path relative to the cluster's directory: cluster, services, releases, and the schemas they name."""
    return {
        "cluster.yaml": _CLUSTER,
        "services/balancer.yaml": _BALANCER,
        "services/web.yaml": _WEB,
        "releases/1.0.yaml": _OLD,
        "releases/2.0.yaml": _NEW,
        **{f"schemas/{name}": text_of(schema) for name, schema in schemas().items()},
    }
