"""deploy/containers/Dockerfile as data: its stages, their instructions, what they inherit."""

import re
import shlex
from dataclasses import dataclass, field

from tests.places import REPOSITORY

DOCKERFILE = REPOSITORY / "deploy" / "containers" / "Dockerfile"
TARGETS = ("cpu", "cuda", "gaudi", "client")


@dataclass
class Stage:
    """A stage: what it is built on, and its instructions in order (word, rest of the line)."""

    name: str
    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """What stands behind each instruction of that word."""
        return [rest for found, rest in self.instructions if found == word]

    def pairs(self, word: str) -> dict[str, str]:
        """The names and values of its ENV or LABEL instructions."""
        words = [one for rest in self.all(word) for one in shlex.split(rest)]
        return dict(one.split("=", 1) for one in words)


def stages() -> dict[str, Stage]:
    """All stages by name."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    found: dict[str, Stage] = {}
    current: Stage | None = None
    for instruction in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = instruction.strip().partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            current = found[name] = Stage(name, base)
        elif word and current is not None:
            current.instructions.append((word, rest.strip()))
    return found


def lineage(target: str) -> list[Stage]:
    """A stage and those it is built on, the lowest first."""
    known = stages()
    line = [known[target]]
    while line[0].base in known:
        line.insert(0, known[line[0].base])
    return line


def environment(target: str) -> dict[str, str]:
    """What a container of the target finds in its environment."""
    return {name: value for stage in lineage(target) for name, value in stage.pairs("ENV").items()}
