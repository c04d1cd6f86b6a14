"""Options, with Nova's default."""

import socket


class CONF:
    """What the proof reads of nova.conf."""

    service_down_time = 60
    host = socket.gethostname()
