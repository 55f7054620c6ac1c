"""The SDK's own client, as one call of a test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from mcp import Client, MCPError
from mcp_types import CallToolResult, ImageContent, TextContent

Result = TypeVar("Result")


def ask(server: Any, talk: Callable[[Client], Awaitable[Result]], mode: str = "auto") -> Result:
    """What a conversation with a server comes to: an `MCPServer`, an address or a command.

    The mode "legacy" begins it with the handshake of the protocol's earlier versions. An error that
    the server answers with is raised as it is, and not in a group of one.
    """

    async def run() -> Result | MCPError:
        async with Client(server, mode=mode) as client:
            try:
                return await talk(client)
            except MCPError as error:
                return error

    result = asyncio.run(run())
    if isinstance(result, MCPError):
        raise result
    return result


def call(server: Any, tool: str, **arguments: Any) -> CallToolResult:
    """One call of a tool."""
    return ask(server, lambda client: client.call_tool(tool, arguments))


def found(answer: CallToolResult) -> Any:
    """The facts of an answer that is no error."""
    assert not answer.is_error, answer.content
    assert answer.structured_content is not None
    return answer.structured_content


def refused(answer: CallToolResult) -> str:
    """The sentence of an answer that is an error."""
    assert answer.is_error
    (said,) = texts(answer)
    assert "Traceback" not in said
    assert "\n" not in said
    return said


def texts(answer: CallToolResult) -> list[str]:
    """What the answer says."""
    return [part.text for part in answer.content if isinstance(part, TextContent)]


def pictures(answer: CallToolResult) -> list[ImageContent]:
    """What the answer shows."""
    return [part for part in answer.content if isinstance(part, ImageContent)]
