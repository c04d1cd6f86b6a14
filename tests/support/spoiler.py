"""A TCP proxy on loopback that passes requests on and, when told, keeps the answers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


class Spoiler:
    """Stands before one server. ``spoil``: what was asked is passed on, and then the connection is closed instead of an
    answer.

    ``requests`` counts what was sent to the server while spoiling (each in one piece, as our clients send them).
    """

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.place = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.spoil = False
        self.requests = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to)
                self._sockets += [client, server]
                threading.Thread(target=self._up, args=(client, server), daemon=True).start()
                threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 20):
                self.requests += self.spoil
                server.sendall(data)
        self._end(client, server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 20):
                if self.spoil:
                    break
                client.sendall(data)
        self._end(client, server)

    @staticmethod
    def _end(*sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        """Close all connections, and take no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._end(*self._sockets)


@contextlib.contextmanager
def spoiler(endpoint: str) -> Iterator[Spoiler]:
    """A spoiler before the server of a base URL."""
    host, _, port = endpoint.partition("://")[2].rpartition(":")
    made = Spoiler(host, int(port))
    try:
        yield made
    finally:
        made.close()
