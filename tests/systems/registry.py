"""All families, by the names of the command line."""

from collections.abc import Callable

from tests.systems import families, open_clip_families, pair_families, worldwide

FAMILIES: dict[str, Callable[..., families.Reference]] = {
    **families.FAMILIES,
    **worldwide.FAMILIES,
    **open_clip_families.FAMILIES,
    **pair_families.FAMILIES,
}
