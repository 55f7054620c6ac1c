import pickle
from pathlib import Path

import pytest

from training.datasets.examples import Example, Examples, ImageFile, TarMember, files_below
from training.datasets.rows import DataError, LeftOut

EXAMPLES = [
    Example("0", ("a red bus", "ein roter Bus"), ImageFile("/images/0.jpg")),
    Example("1", ("バス",), TarMember("/shards/0.tar", 512, 1000), "ja"),
    Example("2", ("\N{BUS}",), ImageFile("/images/odd\udcff.jpg"), "en"),
]


def test_examples_are_given_back_as_they_were() -> None:
    """Protects what the packed block holds: every field, any text, any file name."""
    examples = Examples(EXAMPLES)
    assert list(examples) == EXAMPLES
    assert examples[-1] == EXAMPLES[-1]
    assert list(examples[1:]) == EXAMPLES[1:]
    with pytest.raises(IndexError):
        examples[3]


def test_a_worker_gets_the_same_examples() -> None:
    """Protects worker processes, which get a pickled copy."""
    examples = pickle.loads(pickle.dumps(Examples(EXAMPLES).take([2, 0])))  # noqa: S301
    assert list(examples) == [EXAMPLES[2], EXAMPLES[0]]


def test_a_part_of_a_part_is_a_part() -> None:
    """Protects splits of splits, and what was left out from being counted for each part."""
    left_out = LeftOut(strict=False)
    left_out.passed_over("not downloaded")
    examples = Examples(EXAMPLES, left_out)
    part = examples.take([2, 1]).take([1])
    assert list(part) == [EXAMPLES[1]]
    assert examples.left_out.counts.total() == 1
    assert part.left_out.counts.total() == 0
    assert list(examples.take([])) == []


def test_a_tar_member_is_its_bytes_and_no_more(tmp_path: Path) -> None:
    """Protects images in tars from their neighbours, and from a tar that was cut."""
    (tmp_path / "a.tar").write_bytes(b"....image....")
    member = TarMember(str(tmp_path / "a.tar"), 4, 5)
    assert member.read() == b"image"
    assert member.read(2) == b"im"
    with pytest.raises(OSError, match="ends within a member"):
        TarMember(str(tmp_path / "a.tar"), 10, 5).read()


def test_files_are_listed_below_folders(tmp_path: Path) -> None:
    """Protects file names with folders in them."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/1.jpg").touch()
    (tmp_path / "2.jpg").touch()
    assert files_below(tmp_path) == {"a/b/1.jpg", "2.jpg"}
    with pytest.raises(DataError, match="cannot be listed"):
        files_below(tmp_path / "none")
