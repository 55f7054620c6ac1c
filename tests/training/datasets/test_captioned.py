"""The flags that name captioned images, as people type them."""

import argparse
import json
from pathlib import Path

import pytest

from tests.training.datasets.folders import picture, write_pictures, write_tar
from training.datasets import captioned
from training.datasets.examples import Examples


def read(*flags: str) -> Examples:
    parser = argparse.ArgumentParser()
    captioned.add(parser)
    return captioned.read(parser.parse_args(flags))


@pytest.mark.parametrize(("typed", "meant"), [("\t", "\t"), (r"\t", "\t"), (",", ","), (";", ";")])
def test_the_separator_of_a_table_may_be_typed(tmp_path: Path, typed: str, meant: str) -> None:
    """Protects the tab that a shell hands over as two characters."""
    write_pictures(tmp_path, ["a.jpg"])
    (tmp_path / "t.csv").write_text(f"filepath{meant}title\na.jpg{meant}a bus\n")
    flags = ["--format", "table", "--data", str(tmp_path / "t.csv"), "--separator", typed]
    assert [example.captions for example in read(*flags)] == [("a bus",)]


@pytest.mark.parametrize("typed", ["", ",,", '"', "\n"])
def test_what_parts_no_cells_is_refused(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Protects from a stack trace over what csv does not take."""
    with pytest.raises(SystemExit):
        read("--format", "table", "--data", "t.csv", "--separator", typed)
    assert "must be one character that parts cells" in capsys.readouterr().err


def test_tar_shards_have_their_own_captions(tmp_path: Path) -> None:
    """Protects the flags of tar shards: gaps, a caption or one a line, and fields of .json."""
    about = {"caption": "no", "recaption": "ein Bus", "lang": "de"}
    members = [("1.jpg", picture(1)), ("1.txt", b"a bus\na red bus"), ("1.json", json.dumps(about).encode())]
    write_tar(tmp_path / "00001.tar", members)
    flags = ["--format", "webdataset", "--data", str(tmp_path / "{00000..00002}.tar"), "--language", "en"]
    found = read(*flags)
    assert [(e.captions, e.language) for e in found] == [(("a bus a red bus",), "en")]
    assert found.left_out.counts == {"missing shard": 2}
    assert [e.captions for e in read(*flags, "--caption-lines")] == [("a bus", "a red bus")]
    fields = ["--caption-column", "recaption", "--language-column", "lang"]
    assert [(e.captions, e.language) for e in read(*flags, *fields)] == [(("ein Bus",), "de")]
