"""Options that belong together, as one dataclass: each field is an option of every command that takes it.

@dataclass(frozen=True)
class Server:
    url: Annotated[str, typer.Option(help="Its address.")] = "http://127.0.0.1:8080"

@app.command()
@with_option_groups
def health(*, server: Server) -> None:  # babelclip health --url …
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the fields of each dataclass among its parameters in place of that parameter.

    Fields are options in the order, with the annotations and with the defaults that the dataclass gives them.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, type[Any]] = {}
    spread: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        options = [parameter]
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation):
            groups[name] = parameter.annotation
            options = list(inspect.signature(parameter.annotation, eval_str=True).parameters.values())
        spread += (option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options)

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    # What typer reads: functools.wraps has given it the command's own.
    vars(run)["__signature__"] = signature.replace(parameters=spread)
    return run
