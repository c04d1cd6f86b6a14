"""What probes share that create by HTTP: names are noted first, and what surely was not made is struck out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from underway.checks.base import Answer
from underway.checks.errors import classify, proves_contact
from underway.checks.http import HttpCheck
from underway.checks.keystone import TokenError
from underway.checks.leftovers import Leftovers, Sweeper
from underway.checks.web import NETWORK, Reply


async def noted(sweeper: Sweeper, life: Callable[[str], Awaitable[Answer]]) -> Answer:
    """Ask ``life`` under a name that is noted before anything is made; what goes wrong on the way is a bad answer."""
    unique = sweeper.begin()
    try:
        return await life(unique)
    except TokenError as error:
        return Answer(ok=False, error=f"auth: {error.word}")
    except NETWORK as error:
        return Answer(ok=False, error=classify(error))
    finally:
        sweeper.end(unique)


async def create(inner: HttpCheck, leftovers: Leftovers, unique: str, method: str, url: str, body: str) -> Reply:
    """Ask for the creation. Raises as ``exchange``; what was surely not made is no leftover."""
    try:
        reply = await inner.exchange(method, url, body)
    except TokenError:
        leftovers.gone(unique)  # nothing was sent
        raise
    except NETWORK as error:
        if nobody_took(error):
            leftovers.gone(unique)
        raise
    if refused(reply):
        leftovers.gone(unique)
    return reply


def refused(reply: Reply) -> bool:
    """Whether the request was refused as a whole: nothing was made."""
    return 400 <= reply.status < 500


def nobody_took(error: BaseException) -> bool:
    """Whether a request that failed so was certainly not carried out."""
    word = classify(error)
    return word == "refused" or (word != "timeout" and not proves_contact(False, word))
