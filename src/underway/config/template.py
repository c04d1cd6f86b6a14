"""The example that ``underway init`` writes: small, commented, valid, and able to run as it stands.

Its hosts are directories on this machine and its services are files in them, so that a newcomer sees a whole upgrade,
with drain, gates and probes, before any real host is named. It uses modules of ``ansible.builtin`` only.
"""

from __future__ import annotations

import json

from underway.config.schema import schemas, text_of

_CLUSTER = """\
# yaml-language-server: $schema=schemas/cluster.schema.json
#
# What is upgraded as one. Check it with 'underway validate'; nothing here is contacted by that.
# Every key: docs/reference/files.md.

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
# The hosts of this example are directories on this machine (connection: local). Real ones are reached over SSH:
#   web4: {role: web, address: 192.0.2.14, user: deploy, domain: rack-b}
hosts:
  lb1: {role: balancer, connection: local, directory: machines/lb1/runner}
  web1: {role: web, connection: local, directory: machines/web1/runner, domain: rack-a}
  web2: {role: web, connection: local, directory: machines/web2/runner, domain: rack-b}
  web3: {role: web, connection: local, directory: machines/web3/runner, domain: rack-b}

policy:
  failure_budget: 1           # failed hosts at which the run halts
  soak: 1s                    # how long a host must be healthy before the next one may start (real ones: 30s or more)
  health_timeout: 1m          # how long it may take to become healthy
  domain_limit: 1             # hosts out at once in one failure domain
  # windows: ["Sat 22:00-04:00 Europe/Paris", "daily 02:00-04:00"]
  # approvals: [finalize]     # wait there for 'underway approve'
  # outage_budget: {web: 10s} # halt when the service was out for longer, in all

# What is asked during the upgrade, on a fixed clock. One that names no host asks as users do.
probes:
  site:                       # real ones ask over the network: 'http: https://www.example.net/'
    command: [test, -s, @SITE@]
    every: 200ms
    timeout: 2s
    service: web

# Variables for all tasks. Secrets: 'ansible-vault encrypt_string', and the result after '!vault |'.
settings:
  machines: @MACHINES@
  web_title: An example
"""

_WEB = """\
# yaml-language-server: $schema=../schemas/service.schema.json
#
# A service: the phases of its upgrade. A step is what the host's journal knows; the tasks in it are ordinary Ansible.
# In this example a web server is a file, 'page', and the balancer's list of servers is another.

service: web
plane: data                   # control (before) or data
needs: [balancer]             # services that are upgraded before this one
balancer: web                 # the name of its back-ends at the load balancer

vars:                         # defaults, under settings, role and host values
  web_home: "{{ machines }}/{{ underway_host }}"
  web_port: 80

# Is this host healthy? Asked after its upgrade, until it was for as long as 'soak' says.
gate:
  name: The page is there
  ansible.builtin.command: test -s "{{ web_home }}/page"
  changed_when: false

# Asked of every host of the service; {address}, {host} and variables are replaced.
probes:
  page: {command: [test, -s, "{machines}/{host}/page"], every: 500ms}

handlers:                     # run after the phase in which a task notified them
  - name: Restart web
    ansible.builtin.copy:
      content: "restarted for {{ underway_release_to }}\\n"
      dest: "{{ web_home }}/restarted"
      mode: "0644"

phases:
  # What must be true before anything is changed.
  preflight:
    - step: Look for the old page
      idempotent: true
      tasks:
        - name: It is there
          ansible.builtin.command: test -s "{{ web_home }}/page"
          changed_when: false

  # New bits on every host; nothing is restarted.
  prepare:
    - step: Fetch the new page
      idempotent: true
      timeout: 10m
      tasks:
        - name: Write it beside the old one
          ansible.builtin.copy:
            content: "{{ web_title }} {{ underway_release_to }}, port {{ web_port }}\\n"
            dest: "{{ web_home }}/page.new"
            mode: "0644"

  # On the balancer's hosts, for the host that is about to be upgraded ('underway_target').
  drain:
    on: balancer
    steps:
      - step: Take the host out
        idempotent: true
        tasks:
          - name: Remove it from the list
            ansible.builtin.lineinfile:
              path: "{{ machines }}/{{ underway_host }}/members"
              line: "{{ underway_target }}"
              state: absent

  upgrade:
    - step: Keep the old page
      # Not idempotent, so a check says whether it happened, should it be interrupted.
      check:
        name: The old page was kept
        ansible.builtin.command: test -e "{{ web_home }}/page.old"
        changed_when: false
      tasks:
        - name: Keep it
          ansible.builtin.command: cp "{{ web_home }}/page" "{{ web_home }}/page.old"
          changed_when: true
    - step: Put the new page in its place
      idempotent: true
      timeout: 15m
      tasks:
        - name: Copy it
          ansible.builtin.copy:
            src: "{{ web_home }}/page.new"
            dest: "{{ web_home }}/page"
            remote_src: true
            mode: "0644"
          notify: Restart web

  undrain:
    on: balancer
    steps:
      - step: Put the host back
        idempotent: true
        tasks:
          - name: Add it to the list
            ansible.builtin.lineinfile:
              path: "{{ machines }}/{{ underway_host }}/members"
              line: "{{ underway_target }}"

  verify:
    - step: Look at the page
      idempotent: true
      tasks:
        - name: It is the new one
          ansible.builtin.command: grep -F "{{ web_title }} {{ underway_release_to }}" "{{ web_home }}/page"
          changed_when: false

  # Before the point of no return, 'underway rollback' does this.
  rollback:
    - step: Bring the old page back
      idempotent: true
      tasks:
        - name: Copy it
          ansible.builtin.copy:
            src: "{{ web_home }}/page.old"
            dest: "{{ web_home }}/page"
            remote_src: true
            mode: "0644"
"""

_BALANCER = """\
# yaml-language-server: $schema=../schemas/service.schema.json

service: balancer
plane: control

gate:
  name: The balancer has servers
  ansible.builtin.command: test -s "{{ machines }}/{{ underway_host }}/members"
  changed_when: false

phases:
  upgrade:
    - step: Upgrade the balancer
      idempotent: true
      tasks:
        - name: Write its version
          ansible.builtin.copy:
            content: "{{ underway_release_to }}\\n"
            dest: "{{ machines }}/{{ underway_host }}/version"
            mode: "0644"

  rollback:
    - step: Bring the old balancer back
      idempotent: true
      tasks:
        - name: Write its version
          ansible.builtin.copy:
            content: "{{ underway_release_from }}\\n"
            dest: "{{ machines }}/{{ underway_host }}/version"
            mode: "0644"
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
  balancer: "2.0"
  web: "2.0"
notes:
  web: The front page has a new title.
checks:                       # must pass before anything is changed
  - check: There is room for the new page
    service: web
    task:
      name: Read the free space
      ansible.builtin.command: df --output=avail -k "{{ machines }}"
      changed_when: false
      register: web_space
      failed_when: web_space.stdout_lines | last | int < 1000
vars:
  web_release: "2.0"
"""

HOSTS = ("web1", "web2", "web3")


def example_files(directory: str = "/srv/example") -> dict[str, str]:
    """The files by path relative to ``directory`` (absolute): cluster, services, releases, the schemas that they name,
    and the machines of the example as they are before its upgrade.
    """
    machines = f"{directory.rstrip('/')}/machines"
    # a JSON string is a YAML one, whatever the path holds
    cluster = _CLUSTER.replace("@SITE@", json.dumps(f"{machines}/lb1/members", ensure_ascii=False))
    return {
        "cluster.yaml": cluster.replace("@MACHINES@", json.dumps(machines, ensure_ascii=False)),
        "services/balancer.yaml": _BALANCER,
        "services/web.yaml": _WEB,
        "releases/1.0.yaml": _OLD,
        "releases/2.0.yaml": _NEW,
        "machines/lb1/members": "".join(f"{host}\n" for host in HOSTS),
        "machines/lb1/version": "1.0\n",
        **{f"machines/{host}/page": "An example 1.0, port 8080\n" for host in HOSTS},
        **{f"schemas/{name}": text_of(schema) for name, schema in schemas().items()},
    }
