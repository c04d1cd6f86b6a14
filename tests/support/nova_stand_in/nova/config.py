"""Reading of nova.conf."""


def parse_args(argv: list[str], default_config_files: list[str]) -> None:
    """Taken, and of no consequence: there is nothing to configure."""
