"""How a generator without input or output is taken to its end: by a thread, or within an event loop.

Each step that it yields is carried out; what comes of it is sent into the generator, an error is thrown.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

Step = TypeVar("Step")
Reply = TypeVar("Reply")
Result = TypeVar("Result")


def drive(flow: Generator[Step, Reply, Result], carry_out: Callable[[Step], Reply]) -> Result:
    """What the flow returns, once all its steps have been carried out.

    Raises:
        Exception: what the flow raises, an error of a step among it.
    """
    try:
        step = next(flow)
        while True:
            try:
                reply = carry_out(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(reply)
    except StopIteration as stop:
        result: Result = stop.value
        return result


async def drive_async(
    flow: Generator[Step, Reply, Result], carry_out: Callable[[Step], Awaitable[Reply]]
) -> Result:
    """`drive`, of steps that are awaited."""
    try:
        step = next(flow)
        while True:
            try:
                reply = await carry_out(step)
            except Exception as error:
                step = flow.throw(error)
            else:
                step = flow.send(reply)
    except StopIteration as stop:
        result: Result = stop.value
        return result
