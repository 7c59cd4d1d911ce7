"""How a case goes: what happens around what the client does."""

import asyncio

from .case import attempt
from .server import until


async def eventually(what, condition):
    return await asyncio.to_thread(until, what, condition)


async def simply(client, case, env, server, tap):
    """The client asks, and that is all."""
    return await attempt(client, case, env)


async def while_limited(client, case, env, server, tap):
    """Somebody else has just met the account's limit, which is over after a second."""
    for _ in range(5):
        tap.forget()
        status = await asyncio.to_thread(server.ask, "[[answer:rate-limit=1]]")
        assert status == 429, f"the limit was not met: {status}"
        saw = await attempt(client, case, env)
        if any(exchange.status == 429 for exchange in tap.exchanges()):
            break
        # The client took longer than the limit lasts to ask at all: the case has not taken place.
    return saw


async def until_limit_is_over(client, case, env, server, tap):
    """The client itself meets the limit; the next case must not."""
    saw = await attempt(client, case, env)
    await eventually("the limit is over", lambda: server.ask("[[answer:echo]] over") == 200)
    return saw


async def while_offline(client, case, env, server, tap):
    """The CLI does not start; once the client has been told so, it does."""
    await eventually("the server is offline", lambda: server.health()["state"] == "offline")
    asking = asyncio.create_task(attempt(client, case, env))
    await eventually("the client has its first answer", lambda: any(e.status for e in tap.exchanges()))
    (server.folder / "works").touch()
    return await asking


async def cancelled_mid_stream(client, case, env, server, tap):
    """The client gives up after the first piece."""
    first_piece = asyncio.Event()
    env.first_piece = first_piece.set
    asking = asyncio.create_task(client.run(case.op_of(client), env))
    arrived = asyncio.create_task(first_piece.wait())
    await asyncio.wait([asking, arrived], return_when=asyncio.FIRST_COMPLETED)
    arrived.cancel()
    if asking.done():
        return f"it had ended already: {asking.exception() or asking.result()}"
    return await _give_up(asking, "after the first piece", server)


async def cancelled_while_queued(client, case, env, server, tap):
    """The client gives up before its turn has come; whoever was before it is served."""
    holder = asyncio.create_task(asyncio.to_thread(server.ask, "[[answer:echo+slow=1000]] hold"))
    await eventually("the slot is taken", lambda: server.health()["invokers"]["busy"] == 1)
    asking = asyncio.create_task(client.run(case.op_of(client), env))
    await eventually("the client is queued", lambda: asking.done() or server.health()["queue"]["waiting"] == 1)
    if asking.done():
        return f"it had ended already: {asking.exception() or asking.result()}"
    asking.cancel()
    await eventually("nobody is queued", lambda: server.health()["queue"]["waiting"] == 0)
    assert not holder.done(), "the request before it ended first"
    saw = await _give_up(asking, "while queued", server)
    assert await holder == 200, "the request before it failed"
    return saw


async def cancelled_mid_turn(client, case, env, server, tap):
    """The client gives up while its turn runs, before there is any answer."""
    asking = asyncio.create_task(client.run(case.op_of(client), env))
    await eventually("its turn runs", lambda: asking.done() or server.health()["invokers"]["busy"] == 1)
    if asking.done():
        return f"it had ended already: {asking.exception() or asking.result()}"
    return await _give_up(asking, "mid-turn", server)


async def while_full(client, case, env, server, tap):
    """Every slot is taken, and as many wait as may."""
    body = {"messages": [{"role": "user", "content": "[[answer:text+drip=60000]] hold"}], "stream": True}
    with await asyncio.to_thread(server.post, body):
        await eventually("the slot is taken", lambda: server.health()["invokers"]["busy"] == 1)
        waiting = asyncio.create_task(asyncio.to_thread(server.ask, "[[answer:echo]] wait"))
        await eventually("the queue is full", lambda: server.health()["queue"]["waiting"] == 1)
        saw = await attempt(client, case, env)
    assert await waiting == 200, "the request that waited failed"
    return saw


async def _give_up(asking, when, server):
    asking.cancel()
    try:
        return f"ended all the same: {await asking}"
    except asyncio.CancelledError:
        pass
    await eventually("the place is free again", server.is_idle)
    return f"cancelled {when} | its place is free again"
