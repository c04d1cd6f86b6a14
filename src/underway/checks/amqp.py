"""A message through RabbitMQ and back: connect, make a queue, publish, get the message, all confirmed.

aiormq speaks AMQP 0.9.1 natively in asyncio, so a time-out ends a question. Weighed: py-amqp and kombu, which
OpenStack itself uses, block (a thread for each open question); aio-pika is aiormq with reconnection, and a probe must
not reconnect.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from urllib.parse import quote

import aiormq
from aiormq.abc import DeliveredMessage
from aiormq.channel import EXCEPTION_MAPPING as OF_CHANNEL
from aiormq.connection import EXCEPTION_MAPPING as OF_CONNECTION
from aiormq.exceptions import (
    AMQPError,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from pamqp.commands import Basic
from yarl import URL

from underway.checks.base import Answer
from underway.checks.errors import classify, of_number
from underway.checks.login import Login, NoPassword
from underway.checks.target import Resolver, check_address
from underway.checks.web import Web
from underway.core.model.cluster import Probe, QueueAsk

EXPIRES = 60_000
"""Milliseconds after which the broker itself deletes a queue that nobody uses: a killed prober leaves nothing."""

_FIRST_CODE = 200
"""Reply codes of AMQP begin here; error numbers of the system lie below."""

_CODES: dict[type[Exception], int] = {
    **{kind: code for code, kind in OF_CHANNEL.items()},
    **{kind: code for code, kind in OF_CONNECTION.items()},
}

# It tells of every broken connection, with its URL; a sample does so already, without the account.
logging.getLogger("aiormq").addHandler(logging.NullHandler())
logging.getLogger("aiormq").propagate = False


class AmqpCheck:
    """One connection, queue and message a question. Raises InputError for an account that is not whole."""

    def __init__(self, probe: Probe, web: Web, resolver: Resolver) -> None:
        self._host, self._port = check_address(probe.address, probe.name)
        self._login = Login(probe)
        self._ask = probe.amqp or QueueAsk()
        self._context = web.trust(probe.ca, probe.name) if probe.ca else None
        self._resolver = resolver

    async def ask(self) -> Answer:
        """One message there and back."""
        try:
            password = self._login.password()
            await self._resolver.lookup(self._host, self._port)  # refuses what must not be asked
            return await self._round_trip(password)
        except (PublishError, DeliveryError):
            return Answer(ok=False, error="amqp: not routed")
        except ProbableAuthenticationError:
            return Answer(ok=False, error="amqp 403", status=403)
        except InvalidFrameError:
            # aiormq says no more of a connection that is closed while it is opened: a virtual host, or a limit
            return Answer(ok=False, error="amqp: turned away")
        except AMQPError as error:
            return _judge(error)
        except OSError as error:
            return Answer(ok=False, error=classify(error))
        except NoPassword:
            return Answer(ok=False, error="local: password file")

    async def _round_trip(self, password: str) -> Answer:
        url = URL.build(
            scheme="amqps" if self._context is not None else "amqp",
            authority=f"{quote(self._login.user, safe='')}:{quote(password, safe='')}"
            f"@{f'[{self._host}]' if ':' in self._host else self._host}:{self._port}",
            path="/" + quote(self._ask.vhost, safe=""),
            encoded=True,
        )
        connection = aiormq.Connection(url, context=self._context)
        try:
            await connection.connect()
            return await self._through_queue(connection)
        finally:
            with contextlib.suppress(AMQPError, OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await connection.close()

    async def _through_queue(self, connection: aiormq.Connection) -> Answer:
        quorum = self._ask.queue == "quorum"
        name = f"underway-probe-{secrets.token_hex(8)}"
        channel = await connection.channel(publisher_confirms=True)
        arguments: dict[str, str | int] = {"x-expires": EXPIRES}
        if quorum:
            arguments["x-queue-type"] = "quorum"
        # an exclusive queue goes with its connection; a quorum queue cannot be exclusive
        await channel.queue_declare(name, durable=quorum, exclusive=not quorum, arguments=dict(arguments))
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def take(message: DeliveredMessage) -> None:
            if not arrived.done():
                arrived.set_result(message.body)
            assert message.delivery_tag is not None
            await channel.basic_ack(message.delivery_tag)

        await channel.basic_publish(
            name.encode(), routing_key=name, mandatory=True, properties=Basic.Properties(delivery_mode=2)
        )
        await channel.basic_consume(name, take)
        body = await arrived
        await channel.queue_delete(name)
        return Answer(ok=True) if body == name.encode() else Answer(ok=False, error="body")

    async def close(self) -> None:
        """Nothing is held between two questions."""


def _judge(error: AMQPError) -> Answer:
    """The answer to an error: the broker's reply code, or what the connection met."""
    code = _CODES.get(type(error), error.args[0] if error.args else 0)
    if isinstance(code, int) and code >= _FIRST_CODE:
        return Answer(ok=False, error=f"amqp {code}", status=code)
    if isinstance(error, OSError) and error.errno:  # aiormq hands on what the system said in an error of its own
        return Answer(ok=False, error=of_number(error.errno))
    cause = error.__cause__
    if isinstance(cause, OSError) and not isinstance(cause, AMQPError):
        return Answer(ok=False, error=classify(cause))
    return Answer(ok=False, error="closed")
