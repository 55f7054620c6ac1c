from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.datasets import shard_names
from training.datasets.rows import DataError, LeftOut


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("{08..11}.tar", ["08.tar", "09.tar", "10.tar", "11.tar"]),
        ("{train,val}-{0..1}.tar", ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]),
    ],
)
def test_braces_stand_for_names(pattern: str, names: list[str]) -> None:
    """Protects WebDataset's way of naming shards, leading zeros included."""
    assert shard_names.expand(pattern) == names


@pytest.mark.parametrize("pattern", ["{3..1}.tar", "{a", "a}", "{{0..1},2}", "{0..9999999}", "{0..999}" * 3])
def test_wrong_braces_are_refused(pattern: str) -> None:
    """Protects from patterns that stand for nothing, or for more names than a memory holds."""
    with pytest.raises(DataError, match=r"\{"):
        shard_names.expand(pattern)


@given(st.text(alphabet="{}.,01a٣²", max_size=12))
@settings(deadline=None)
def test_any_pattern_is_names_or_refused(pattern: str) -> None:
    """Protects the expansion from any pattern; without braces it is itself."""
    try:
        names = shard_names.expand(pattern)
    except DataError:
        names = ["refused"]
        assert "{" in pattern or "}" in pattern
    assert names
    if "{" not in pattern and "}" not in pattern:
        assert names == [pattern]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What img2dataset leaves; the third shard failed."""
    for name in ("00000", "00001", "00003"):
        for kind in (".tar", ".parquet", "_stats.json", ".tar.index.json"):
            (tmp_path / f"{name}{kind}").touch()
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "extra[1].tar").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.tar", ["00000", "00001", "00003"]),
        ("*", ["00000", "00001", "00003"]),
        ("0000[01].tar", ["00000", "00001"]),
        ("{00003,0000?}.tar", ["00003", "00000", "00001"]),
        ("more/extra[1].tar", ["extra[1]"]),
        ("**/*.tar", ["00000", "00001", "00003", "extra[1]"]),
    ],
)
def test_wildcards_stand_for_what_is_there(folder: Path, pattern: str, names: list[str]) -> None:
    """Protects the shell's way of naming shards: tars alone, in the order of their names, each once."""
    assert [shard.stem for shard in shard_names.find(str(folder / pattern), LeftOut())] == names


def test_patterns_can_be_joined(folder: Path) -> None:
    """Protects open_clip's way of naming several data sets; what is missing of each is counted."""
    left_out = LeftOut(strict=False)
    pattern = f"{folder}/{{00001..00003}}.tar::{folder}/more/*.tar::{folder}/none*.tar"
    shards = shard_names.find(pattern, left_out)
    assert [shard.stem for shard in shards] == ["00001", "00003", "extra[1]"]
    assert left_out.counts == {"missing shard": 2}


@pytest.mark.parametrize(
    ("pattern", "sentence"),
    [
        ("{5..7}.tar", "there is no shard .*5.tar and none of the 2 others"),
        ("5.tar", "there is no shard .*5.tar$"),
        ("*.tgz", "there is no shard"),
        ("more", "is a folder: name the shards in it, as in '.*more/[*].tar'"),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_no_shard_at_all_is_refused(folder: Path, pattern: str, sentence: str, strict: bool) -> None:
    """Protects from a run on nothing, and from a wrong folder that looks like gaps."""
    with pytest.raises(DataError, match=sentence):
        shard_names.find(str(folder / pattern), LeftOut(strict=strict))


@pytest.mark.parametrize("pattern", ["s3://b/{0..1}.tar", "pipe:aws s3 cp s3://b/0.tar -", "https://h/0.tar"])
def test_what_is_elsewhere_is_not_fetched(pattern: str) -> None:
    """Protects from fetching, and people who bring open_clip's addresses from a puzzle."""
    with pytest.raises(DataError, match="must be files of this machine, copied or mounted"):
        shard_names.find(pattern, LeftOut(strict=False))


def test_two_shards_of_one_name_are_refused(folder: Path) -> None:
    """Protects keys from standing for two images."""
    (folder / "more" / "00000.tar").touch()
    with pytest.raises(DataError, match="the same name"):
        shard_names.find(str(folder / "**/*.tar"), LeftOut(strict=False))
