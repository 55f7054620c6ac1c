"""How many partitions a search looks into."""

import pytest

from babelclip.index.structure import Structure

MILLION = Structure("ivf_rq", 1_000_000, 977, 4, probes=96, refine=2, wide_probes=192)


def test_more_rows_take_as_many_more_partitions_as_were_measured() -> None:
    """A search for 1,000 rows, or for 10 of a hundredth of them, looks into what 1,000 were found in."""
    assert MILLION.effort_for(10) == (96, 2)
    assert MILLION.effort_for(1000)[0] == MILLION.effort_for(10, share=0.01)[0] == 192
    assert 96 < MILLION.effort_for(100)[0] < 192
    assert MILLION.effort_for(10, share=0.001)[0] > 192


@pytest.mark.parametrize("wanted", [11, 50, 100])
def test_pages_of_a_ranking_are_of_one_search(wanted: int) -> None:
    """Whoever asks for more of what was found gets it from the same partitions."""
    assert MILLION.effort_for(wanted)[0] == MILLION.effort_for(100)[0]


def test_what_an_older_version_wrote_is_searched_with_care() -> None:
    """A structure whose growth was not measured takes more partitions than it would by measure."""
    text = MILLION.to_json().replace(', "wide_probes": 192', "")
    older = Structure.from_json(text)
    assert older is not None
    assert older.wide_probes == 0
    assert older.effort_for(10)[0] == 96
    assert older.effort_for(10, share=0.01)[0] > 192


def test_all_partitions_are_enough_for_everything() -> None:
    """Nobody looks into more than there are."""
    assert MILLION.effort_for(1_000_000)[0] == MILLION.effort_for(10, share=0.0)[0] == 977
