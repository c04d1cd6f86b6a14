"""What ansible-core has of its own: module names that stand without a collection in older files. Pure data.

Source: the index of ``ansible.builtin``, ansible-core 2.14 to 2.20 (``yum`` and ``systemd`` have newer names
for the same modules, which are used in what is written).
"""

from __future__ import annotations

MODULES = frozenset(
    {
        "add_host", "apt", "apt_key", "apt_repository", "assemble", "assert", "async_status", "blockinfile", "command",
        "copy", "cron", "deb822_repository", "debconf", "debug", "dnf", "dnf5", "dpkg_selections", "expect", "fail",
        "fetch", "file", "find", "gather_facts", "get_url", "getent", "git", "group", "group_by", "hostname",
        "include_role", "include_tasks", "include_vars", "import_role", "import_tasks", "iptables", "known_hosts",
        "lineinfile", "meta", "mount_facts", "package", "package_facts", "pause", "ping", "pip", "raw", "reboot",
        "replace", "rpm_key", "script", "service", "service_facts", "set_fact", "set_stats", "setup", "shell", "slurp",
        "stat", "subversion", "systemd", "systemd_service", "sysvinit", "tempfile", "template", "unarchive", "uri",
        "user", "validate_argument_spec", "wait_for", "wait_for_connection", "yum", "yum_repository",
    }
)  # fmt: skip

RENAMED = {"systemd": "systemd_service", "yum": "dnf"}
"""Old name -> the name of the same module now."""

PREFIXES = ("ansible.builtin.", "ansible.legacy.")


def short(module: str) -> str:
    """The name without ``ansible.builtin.``."""
    for prefix in PREFIXES:
        if module.startswith(prefix):
            return module.removeprefix(prefix)
    return module


def full(module: str) -> str | None:
    """The full name of a module of ansible-core (or one of a collection, as it is); None for a name nobody knows."""
    name = short(module)
    if name in MODULES:
        return f"ansible.builtin.{RENAMED.get(name, name)}"
    return module if module.count(".") >= 2 else None
