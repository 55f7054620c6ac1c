"""The scores behind all calls: calibrations are read at the start, and fetched images are images."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from babelclip.search.relevance import SearchCalibration
from gateway.fetch import ImageAddress, image_address
from gateway.metrics import Metrics
from gateway.scoring.messages import ClassifyRequest, RerankRequest, SimilarityRequest
from gateway.scoring.scorer import Scorer, read_calibrations
from gateway.settings import Settings
from tests.gateway.engine import models
from tests.gateway.front import gateway
from tests.gateway.scored import (
    CALIBRATION,
    CAR,
    CAT,
    DOG,
    engine,
)


def test_a_calibration_that_is_none_stops_the_start(tmp_path: Path) -> None:
    """An operator learns of a wrong file at once, and of two for one space."""
    CALIBRATION.save(tmp_path / "a.json")
    CALIBRATION.save(tmp_path / "b.json")
    (tmp_path / "c.json").write_text("{}")
    texts = SearchCalibration("in-memory", text=CALIBRATION)
    both = replace(texts, image=CALIBRATION)
    both.save(tmp_path / "both.json")
    assert read_calibrations([str(tmp_path / "both.json")]) == {"in-memory": both}
    assert read_calibrations([str(tmp_path / "a.json")]) == {"in-memory": texts}
    with pytest.raises(ValueError, match=r"b\.json is the second one of the space in-memory"):
        read_calibrations([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    (tmp_path / "gateway").mkdir()
    with (
        pytest.raises(ValueError, match=r"c\.json is no calibration"),
        gateway(engine(), tmp_path / "gateway", calibrations=(str(tmp_path / "c.json"),)),
    ):
        raise AssertionError("it has started")


class Pictures:
    """Fetches what is at three addresses."""

    async def fetched(self, items: Sequence[Any]) -> list[Any]:
        found = {"cat": CAT, "dog": DOG, "car": CAR}
        return [found[item.url] if isinstance(item, ImageAddress) else item for item in items]


def test_an_image_by_its_address_is_an_image(tmp_path: Path) -> None:
    """Where images are fetched, one may be the query, has a match with a text, and may match no label."""
    CALIBRATION.save(tmp_path / "c.json")
    scorer = Scorer(Settings(calibrations=(str(tmp_path / "c.json"),)), Metrics())
    cat, car = image_address("cat"), image_address("car")

    async def run() -> None:
        known = models(engine())
        chosen = replace(known.find("clip"), fetcher=Pictures())  # type: ignore[arg-type]
        ranked = await scorer.rerank(chosen, RerankRequest(cat, ["dog", image_address("dog"), "cat"]))
        assert [(result.index, result.match is None) for result in ranked.results] == [
            (2, False),
            (1, True),
            (0, False),
        ]
        classified = await scorer.classify(chosen, ClassifyRequest([cat, car], ["cat", "dog"]))
        assert [answer.label for answer in classified.answers] == ["cat", None]
        compared = await scorer.similarity(chosen, SimilarityRequest([cat], ["cat", car]))
        assert compared.matches is not None
        assert np.isnan(compared.matches).tolist() == [[False, True]]
        await known.close()

    asyncio.run(run())
