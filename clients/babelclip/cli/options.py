"""The arguments and options that several commands of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand


class ManyImages(TyperCommand):
    """Lets one `--image` take every file up to the next option, as a shell's `*.jpg` needs it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        spread: list[str] = []
        taking = False
        for position, arg in enumerate(args):
            if arg == "--":
                spread += args[position:]
                break
            if arg.startswith("-") and arg != "-":
                taking = arg == "--image"
            elif taking and spread[-1] != "--image":
                spread.append("--image")
            spread.append(arg)
        return super().parse_args(ctx, spread)


Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="Texts, in any language.")]
Images = Annotated[
    list[Path] | None, typer.Option("--image", metavar="FILE...", help="Image files; texts go before it.")
]
Folder = Annotated[Path, typer.Argument(help="Searched with all folders below it.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        help="Leave out files and folders of such names, or of such paths where it has a slash: '*_edited*',"
        " '2019/private'. May be given several times.",
    ),
]
ExcludeDefaults = Annotated[
    bool,
    typer.Option(
        help="Leave out hidden files, too, and what disks and programs keep to themselves: @eaDir, #recycle,"
        " $RECYCLE.BIN, System Volume Information, __MACOSX and the like."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Url = Annotated[
    str,
    typer.Option(
        envvar="BABELCLIP_URL",
        help="The server: http://, https://, grpc:// or grpcs://, host and port. Or mar: and a model store,"
        " to run its model in this process.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(help="TorchServe's inference key; others see it in the process list, BABELCLIP_TOKEN not."),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="TorchServe's key_file.json, or a bare token; or BABELCLIP_TOKEN_FILE."),
]
DEFAULT_URL = "http://127.0.0.1:8080"
