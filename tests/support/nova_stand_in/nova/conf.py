"""Options, with Nova's default."""


class CONF:
    """What the proof reads of nova.conf."""

    service_down_time = 60
