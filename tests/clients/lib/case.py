"""One case: a client does something against a server, and we note what it saw."""

import asyncio
import dataclasses
import json
import traceback

from . import schema
from .server import PATIENCE, until
from .tap import Tap
from .worker import Raised


@dataclasses.dataclass
class Env:
    """What a client is given: where the server is, and what to ask of it."""

    base: str
    prompt: str = ""
    model: str = "haiku"
    key: str = "none"
    # How often the client itself tries again, and how long it waits for a reply, in seconds.
    retries: int = 0
    timeout: float = PATIENCE
    # Called once, with the first piece of a stream that is not empty.
    first_piece: object = lambda: None


@dataclasses.dataclass
class Saw:
    """What came of a case."""

    client: str
    case: str
    saw: str
    requests: str
    defects: list = dataclasses.field(default_factory=list)
    objects: int = 0
    evidence: str = ""
    # The client has no such thing, and nothing was tried.
    untried: bool = False


def words(error):
    """An exception as a client's user meets it: its class, and the fields that programs look at."""
    if isinstance(error, Raised):
        return error.args[0]
    fields = [str(getattr(error, name)) for name in ("status_code", "code", "param") if getattr(error, name, None)]
    told = " ".join([type(error).__name__, *fields])
    cause = error.__cause__
    return told if fields or cause is None else f"{told} ← {words(cause)}"


def statuses(exchanges):
    """What went over the wire: the status of each reply, and whether the client kept to `Retry-After`."""
    told = []
    for number, exchange in enumerate(exchanges):
        text = str(exchange.status) if exchange.status else "cut"
        if exchange.status and not exchange.whole:
            text += " cut"
        wait = exchange.headers.get("retry-after")
        if wait is not None and number + 1 < len(exchanges):
            gap = exchanges[number + 1].asked - exchange.answered
            # A client's clock may be a little ahead of ours.
            text += " waited" if gap > float(wait) - 0.1 else " too early"
        told.append(text)
    return ", ".join(told) or "nothing"


async def attempt(client, case, env):
    """What the client saw, as one line."""
    try:
        return await client.run(case.op_of(client), env)
    except Exception as error:
        env.trace = traceback.format_exc()
        return words(error)


async def run(client, case, servers):
    """Runs a case to its end, and looks at all that went over the wire."""
    server = servers.get(case.server)
    tap = Tap(server.port)
    env = Env(base=tap.base, **case.env)
    try:
        saw = await asyncio.wait_for(case.way(client, case, env, server, tap), 2 * PATIENCE)
    except Exception as error:
        env.trace = traceback.format_exc()
        saw = f"{type(error).__name__}: {error}"
    finally:
        exchanges = tap.exchanges()
        # A reply that the client has all of may not have been read to its end by us.
        tap.close()
    exchanges = tap.exchanges()
    defects, objects = [], 0
    for exchange in exchanges:
        wrong, count = schema.defects(exchange)
        defects += wrong
        objects += count
    try:
        until("the server is idle again", server.is_idle)
        if any(not exchange.whole for exchange in exchanges) and server.ask("[[answer:echo]] next") != 200:
            defects.append("the server does not serve the next one")
    except AssertionError as error:
        defects.append(str(error))
    evidence = "\n".join([getattr(env, "trace", ""), *(exchange.words() for exchange in exchanges)])
    return Saw(client.key, case.name, saw, statuses(exchanges), list(dict.fromkeys(defects)), objects, evidence)
