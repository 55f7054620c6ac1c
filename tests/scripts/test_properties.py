"""Properties files: what is written is what Java reads, and what Java would read is what is read here."""

import contextlib
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.properties import read_properties, write_properties

# Prints every pair of every file, as hexadecimal UTF-16; a file that Java refuses has the line `refused`.
READER = """
import java.io.*;
import java.nio.file.*;
import java.util.*;

public class Reader {
    static String hex(String text) {
        StringBuilder out = new StringBuilder();
        for (char c : text.toCharArray()) out.append(String.format("%04x", (int) c));
        return out.toString();
    }

    public static void main(String[] files) throws IOException {
        for (String file : files) {
            System.out.println("file " + file);
            Properties read = new Properties();
            try (InputStream in = Files.newInputStream(Paths.get(file))) {
                read.load(in);
                for (String key : read.stringPropertyNames())
                    System.out.println(hex(key) + "=" + hex(read.getProperty(key)));
            } catch (IllegalArgumentException e) {
                System.out.println("refused");
            }
        }
    }
}
"""


def plain(hexadecimal: str) -> str:
    """The text that Java printed as UTF-16."""
    return bytes.fromhex(hexadecimal).decode("utf-16-be", "surrogatepass")


def java_reads(folder: Path, texts: list[bytes]) -> list[dict[str, str] | None]:
    """What java.util.Properties finds in each text; None where it refuses it."""
    (folder / "Reader.java").write_text(READER)
    for number, text in enumerate(texts):
        (folder / str(number)).write_bytes(text)
    command = ["java", "Reader.java", *map(str, range(len(texts)))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str] | None] = []
    for line in done.stdout.splitlines():
        if line.startswith("file "):
            found.append({})
        elif line == "refused":
            found[-1] = None
        else:
            key, _, value = line.partition("=")
            pairs = found[-1]
            assert pairs is not None
            pairs[plain(key)] = plain(value)
    return found


def some_texts(letters: str, count: int) -> list[str]:
    """Texts of these letters that are the same in every run."""
    chance = random.Random(0)
    return ["".join(chance.choices(letters, k=chance.randint(1, 12))) for _ in range(count)]


needs_jdk = pytest.mark.skipif(shutil.which("javac") is None, reason="a JDK runs the program that reads")


@pytest.mark.slow
@needs_jdk
def test_java_reads_what_is_written(tmp_path: Path) -> None:
    """Whatever a path holds, Java finds it: letters of any alphabet, spaces, separators, backslashes."""
    texts = some_texts("ab/ \\\t\n\r\f=:#!$%é模😀\x00\x7f", 600)
    written = [{"metrics_config": text, text: "value", "last": "x"} for text in texts]
    assert java_reads(tmp_path, [write_properties(pairs).encode("ascii") for pairs in written]) == written


@pytest.mark.slow
@needs_jdk
def test_a_file_says_the_same_here_as_to_java(tmp_path: Path) -> None:
    """Separators, comments, continued lines and escapes hold as Java has them."""
    texts = some_texts("aab  \\\\\n\n\r\t\f==:#!u0é", 600)
    texts += ["a\\u00e9=\\ud83d\\ude00", "a=\\u12", "\\\n\n#a=b", "a=b\\\n  \\\n\nc", "\\\n#a=b", "", "\\"]

    def read_here(text: str) -> dict[str, str] | None:
        try:
            return read_properties(text)
        except ValueError:
            return None

    assert java_reads(tmp_path, [text.encode("iso-8859-1") for text in texts]) == [*map(read_here, texts)]


@given(st.dictionaries(st.text(), st.text()))
def test_what_is_written_is_read_again(pairs: dict[str, str]) -> None:
    """Any keys and values, in a file that holds nothing but ASCII."""
    written = write_properties(pairs)
    assert written.isascii()
    assert read_properties(written) == pairs


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    """Whatever a file holds, reading it ends: with pairs, or with the one thing that can be wrong in it."""
    if re.search(r"\\u(?![0-9a-fA-F]{4})", text):
        with contextlib.suppress(ValueError):
            read_properties(text)
    else:
        read_properties(text)
