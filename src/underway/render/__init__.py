"""Plan -> playbooks, the files of one order, and the exported tree."""

from underway.render.export import export, rendered
from underway.render.playbook import playbook
from underway.render.seal import Bundler, bundle, seal

__all__ = ["Bundler", "bundle", "export", "playbook", "rendered", "seal"]
