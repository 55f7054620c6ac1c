"""Options that belong together stand once, and are options of every command that takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer
from typer.testing import CliRunner

from babelclip.cli.option_groups import with_option_groups


@dataclass(frozen=True)
class Place:
    """Two options, one of them with a variable."""

    host: Annotated[str, typer.Option(envvar="PLACE_HOST")] = "here"
    port: Annotated[int, typer.Option(min=1)] = 80


app = typer.Typer()


@app.command()
@with_option_groups
def go(*, name: Annotated[str, typer.Argument()], place: Place, loud: bool = False) -> None:
    """Goes there."""
    typer.echo(f"{name} {place.host} {place.port} {loud}")


def test_fields_are_options_of_the_command() -> None:
    """Defaults, variables and limits of the group count, and options of the command stay beside it."""
    run = CliRunner().invoke
    assert run(app, ["ada"]).stdout == "ada here 80 False\n"
    given = run(app, ["ada", "--port", "8080", "--loud"], env={"PLACE_HOST": "there"})
    assert given.stdout == "ada there 8080 True\n"
    assert run(app, ["ada", "--port", "0"]).exit_code == 2
    assert run(app, ["ada", "--place", "x"]).exit_code == 2


def test_options_keep_their_order_and_the_help_its_words() -> None:
    """`--help` shows the fields where the group stands, and the command's own docstring."""
    shown = CliRunner().invoke(app, ["--help"]).stdout
    assert "Goes there." in shown
    assert shown.index("--host") < shown.index("--port") < shown.index("--loud")
