"""Collections beside what else happens: a promotion of the model, and other processes of the gateway."""

import threading
from pathlib import Path

import pytest

from babelclip.ingest.locks import alone
from gateway.collections.store import Store
from tests.gateway.collections.album import album, call, encoded, engine, ids, made, picture, refused, told


def test_a_promotion_leaves_a_collection_to_its_version(tmp_path: Path) -> None:
    """It is asked and filled by the version it is of; a new collection is of the new one."""
    served = engine(("1.0", "in-memory"), ("2.0", "new"))
    with album(tmp_path, served) as front:
        made(front, "old")
        told(call(front, "POST", "/v1/admin/models/clip/promote", json={"version": "2.0"}))
        assert front.post(json={"input": "beach"}).json()["space"] == "new"
        found = told(call(front, "POST", "/old/search", json={"query": "city"}))
        assert (ids(found)[0], found["version"], found["space"]) == ("city", "1.0", "in-memory")
        item = {"items": [{"id": "later", "image": encoded(picture(1))}]}
        assert told(call(front, "POST", "/old/items", json=item))["items"][0]["status"] == "added"
        assert told(call(front, "POST", "", json={"name": "new"}), 201)["version"] == "2.0"
        del served.versions["1.0"]
    served.default = dict.fromkeys(served.default, "2.0")
    later = tmp_path / "later"
    later.mkdir()
    with album(later, served, collections=str(tmp_path / "collections")) as front:
        answer = call(front, "POST", "/old/search", json={"query": "city"})
        assert "clip@1.0" in refused(answer, 409, "model_not_found")
        assert told(call(front, "POST", "/old/similar", json={"id": "city"}))["hits"]


def test_two_gateways_share_a_folder(tmp_path: Path) -> None:
    """What one makes, fills and deletes the other sees, and it searches while the first one adds."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    shared = str(tmp_path / "shared")
    with (
        album(tmp_path / "one", collections=shared) as one,
        album(tmp_path / "other", collections=shared) as other,
    ):
        made(one, "both")
        assert told(call(other, "GET", "/both"))["items"] == 3
        refused(call(other, "POST", "", json={"name": "both"}), 409, "collection_exists")
        ended = threading.Event()
        wrong: list[str] = []

        def search() -> None:
            while not ended.is_set():
                answer = call(other, "POST", "/both/search", json={"query": "city"})
                if answer.status_code != 200 or ids(answer.json())[0] != "city":
                    wrong.append(answer.text)

        searching = threading.Thread(target=search)
        searching.start()
        try:
            for number in range(10, 16):
                item = {"items": [{"id": f"{number}", "image": encoded(picture(number))}]}
                told(call(one, "POST", "/both/items", json=item))
        finally:
            ended.set()
            searching.join()
        assert wrong == []
        assert told(call(other, "GET", "/both"))["items"] == 9
        assert call(one, "DELETE", "/both").status_code == 204
        refused(call(other, "GET", "/both"), 404, "collection_not_found")
        refused(call(other, "POST", "/both/search", json={"query": "a"}), 404, "collection_not_found")
        told(call(other, "POST", "", json={"name": "both"}), 201)
        assert told(call(one, "GET", "/both"))["items"] == 0


def test_nothing_is_added_behind_a_migration_that_is_ending(tmp_path: Path) -> None:
    """What was added then would be left behind with the old rows, so the caller is told to come again."""
    item = {"items": [{"id": "later", "image": encoded(picture(4))}]}
    with album(tmp_path) as front:
        made(front, "moving")
        with alone(str(tmp_path / "collections" / "moving" / "index")):
            refused(call(front, "POST", "/moving/items", json=item), 409, "index_busy")
            refused(call(front, "DELETE", "/moving/items/city"), 409, "index_busy")
            assert told(call(front, "GET", "/moving"))["items"] == 3
        assert told(call(front, "POST", "/moving/items", json=item))["items"][0]["status"] == "added"


def test_a_place_where_no_index_can_be_kept_is_told_at_the_start(tmp_path: Path) -> None:
    """An operator learns it from the gateway and not from the first caller."""
    with pytest.raises(ValueError, match="no index can be kept at redis://"):
        Store(tmp_path, "redis://127.0.0.1:6379")
