"""The composition root: the only place that names concrete back-ends. Puts runs together from files and state.

Everything of one cluster lies in a *place*: ``cluster.yaml`` and, beside it, the state directory ``.underway`` (see
``docs/architecture.md``). The modules are apart so that ``underway status`` loads only what it needs.
"""
