"""Who may import whom: the folders stay as apart as docs and readers are told they are."""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Folder → its name when imported, and the modules of ours that it may import beside its own.
PACKAGES = {
    "handlers": ("handlers", ()),
    "training": ("training", ("handlers.preprocess", "handlers.errors", "handlers.machine", "babelclip")),
    "export": ("export", ("handlers", "training")),
    "clients/babelclip": ("babelclip", ()),
    "benchmarks": ("benchmarks", ("handlers", "training", "export", "babelclip")),
}
OURS = {name for name, _ in PACKAGES.values()}


def imported(source: str) -> set[str]:
    """The absolute names a module imports: of `from a import b` both a and a.b, for b may be a module."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def below(name: str, allowed: str) -> bool:
    """Whether `name` is the module `allowed` or something in it."""
    return name == allowed or name.startswith(f"{allowed}.")


@pytest.mark.parametrize("folder", PACKAGES)
def test_imports_follow_the_arrows(folder: str) -> None:
    """A folder imports of ours only what its arrow allows, so that each can be used without the rest."""
    package, allowed = PACKAGES[folder]
    sources = sorted((REPOSITORY / folder).rglob("*.py"))
    assert sources
    wrong = [
        f"{path.relative_to(REPOSITORY)} imports {name}"
        for path in sources
        for name in imported(path.read_text(encoding="utf-8"))
        if name.partition(".")[0] in OURS and not any(below(name, other) for other in (package, *allowed))
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import training.models as m", {"training.models"}),
        ("from handlers import base, preprocess", {"handlers.base", "handlers.preprocess"}),
        ("def late():\n    from export.mar import pack", {"export.mar.pack"}),
        ("from . import near", set()),
    ],
)
def test_every_form_of_import_is_seen(source: str, names: set[str]) -> None:
    """The check above reads every form an import can take, inside functions too."""
    assert imported(source) == names
