"""Java's properties files, read and written as java.util.Properties does.

What Java reads from a file is ISO-8859-1: a letter beyond it has to be written as \\uXXXX, or a path such as
`/srv/modèles` names a folder that does not exist. Written here everything but printable ASCII is.
"""

import re
from collections.abc import Mapping

_SPACE = " \t\f"
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_WRITTEN = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\f": "\\f"}
# An escaped character of any kind, or one that ends a key: a separator, or the white space before it.
_KEY_END = re.compile(r"\\.|[=: \t\f]", re.DOTALL)


def read_properties(text: str) -> dict[str, str]:
    """Return the keys and values of a properties file; the last value of a key holds.

    Raises:
        ValueError: a \\u is not followed by four hexadecimal digits.
    """
    pairs = {}
    for line in _logical_lines(text):
        end = next((found.start() for found in _KEY_END.finditer(line) if found[0][0] != "\\"), len(line))
        value = line[end:].lstrip(_SPACE)
        if value[:1] in ("=", ":"):
            value = value[1:].lstrip(_SPACE)
        pairs[_unescape(line[:end])] = _unescape(value)
    return pairs


def write_properties(pairs: Mapping[str, str]) -> str:
    """Return a properties file, printable ASCII alone, in which Java finds exactly these keys and values.

    `=`, `:` and `#` stand in a value as they are, so that TorchServe's launcher, which knows no escapes,
    reads `vmargs` as Java does.
    """
    lines = [f"{_escape(key, ' =:#!')}={_escape(value)}" for key, value in pairs.items()]
    return "".join(f"{line}\n" for line in lines)


def _logical_lines(text: str) -> list[str]:
    """The lines that hold a pair, those joined that end with a backslash, without the white space before."""
    lines = []
    pending = None
    naturals = re.split(r"\r\n|\r|\n", text)
    for natural in naturals if naturals[-1] else naturals[:-1]:
        line = natural.lstrip(_SPACE)
        if not pending and (not line or line[0] in "#!"):
            pending = None
            continue
        line = (pending or "") + line
        # An even number of backslashes are backslashes; the last one of an odd number joins the next line.
        if (len(line) - len(line.rstrip("\\"))) % 2:
            pending = line[:-1]
        else:
            lines.append(line)
            pending = None
    return lines if pending is None else [*lines, pending]


def _unescape(text: str) -> str:
    def meant(found: re.Match[str]) -> str:
        if found[0] == "\\u":
            raise ValueError("\\u needs four hexadecimal digits")
        return chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2])

    plain = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", meant, text, flags=re.DOTALL)
    # A character beyond the first 65,536 is two escapes, as it is two characters of Java's.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _escape(text: str, special: str = "") -> str:
    """Escape what is special in any place, and white space that would be taken from the beginning."""
    written = []
    for index, character in enumerate(text):
        if character in _WRITTEN:
            written.append(_WRITTEN[character])
        elif character in special or (character == " " and index == 0):
            written.append(f"\\{character}")
        elif " " <= character <= "~":
            written.append(character)
        else:
            units = character.encode("utf-16-be", "surrogatepass").hex()
            written += [f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)]
    return "".join(written)
