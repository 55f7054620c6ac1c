"""Films in an index: a row for each moment, added as they are embedded.

    with open_index("films.index") as index:
        index_video(index, client, "holiday.mp4")

A run that was broken off goes on behind the last moment that was committed; a film that is in the index as it
is now is not decoded again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from babelclip.index import Index, Row, row_id
from babelclip.video.decoding import Decoding, open_video
from babelclip.video.errors import VIDEO_UNDECODABLE, VideoError
from babelclip.video.moments import Merging, Moment, embed_moments, failures
from babelclip.video.sampling import Sampling

if TYPE_CHECKING:
    from babelclip.client.sync import Client

KIND = "moment"
NOTES = "video"
"""The key of a moment's metadata under which this module keeps its own."""


@dataclass(frozen=True, kw_only=True)
class IndexedVideo:
    """What became of a film.

    Attributes:
        source: the film, as its rows have it.
        moments: rows that were added by this run.
        known: rows of it that were there before and still hold.
        seconds: its length, as far as it was decoded.
        frames: that were embedded by this run.
        failed: of these, the ones without a vector.
        corrupt: packets that could not be decoded.
    """

    source: str
    moments: int
    known: int
    seconds: float
    frames: int
    failed: int
    corrupt: int


@dataclass
class _Known:
    """Rows of a film that the index has."""

    others: list[str] = field(default_factory=list)  # of another state of the film, or of failures
    current: int = 0
    end: float = 0.0  # of the last moment that is committed
    complete: bool = False


def index_video(
    index: Index,
    client: Client,
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    collection: str = "",
    metadata: Mapping[str, Any] | None = None,
    sampling: Sampling | None = None,
    merging: Merging | None = None,
    decoding: Decoding | None = None,
    progress: Callable[[float, float | None], None] | None = None,
) -> IndexedVideo:
    """The moments of a film → rows of the kind `moment` in an index.

    Rows of an earlier state of the film are deleted when the last new one is there.

    Args:
        source: what its rows call the film; default: its path from the root.
        collection, metadata: of its rows.
        progress: called with the seconds that are done and those of the film, None where it does not say.

    Raises:
        VideoError: it cannot be decoded; the index has a row of the film with its code.
        SpaceMismatch: the model is not the index's.
        BabelclipError: a batch got no answer; the moments before it are in the index.
        OSError: the file cannot be read.
    """
    sampling, merging = sampling or Sampling(), merging or Merging()
    path = os.fspath(path)
    name = source if source is not None else _named(path)
    status = os.stat(path)
    fingerprint = _fingerprint(status, sampling, merging, decoding or Decoding())
    known = _known(index, name, fingerprint)
    if known.complete:
        return IndexedVideo(
            source=name, moments=0, known=known.current, seconds=known.end, frames=0, failed=0, corrupt=0
        )
    common: dict[str, Any] = {"source": name, "collection": collection, "kind": KIND}
    common |= {"fingerprint": fingerprint, "size": status.st_size}
    added = frames = failed = 0
    reason = ""
    try:
        with open_video(path, decoding) as video:
            common |= {"width": video.info.width, "height": video.info.height}
            held: list[Moment] = []  # the newest one, until it is known whether it is the last
            space = ""
            for batch in embed_moments(client, video, sampling=sampling, merging=merging, start=known.end):
                if batch.answer is not None:
                    frames += len(batch.answer)
                    space = batch.answer.space or space
                errors = failures(batch)
                failed += len(errors)
                reason = reason or (errors[0].message if errors else "")
                held += batch.moments
                ready = held if batch.last else held[:-1]
                held = [] if batch.last else held[-1:]
                rows = [_row(one, common, metadata or {}, complete=False) for one in ready]
                if batch.last and ready:
                    rows[-1] = _row(ready[-1], common, metadata or {}, complete=True)
                if rows:
                    index.upsert(rows, space=space)
                    added += len(rows)
                if progress is not None:
                    progress(batch.seconds, video.info.seconds)
            if not added and not known.current:
                raise VideoError(VIDEO_UNDECODABLE, f"no frame of {name} could be embedded: {reason}")
            seconds, corrupt = video.seconds, video.corrupt
    except VideoError as error:
        row = Row(id=row_id(name), error_code=error.code, error_message=error.message, **common)
        index.upsert([row], space=index.settings.space)
        raise
    if known.others:
        kept = {
            row.id for part in index.scan(where=_rows_of(name)) for row in part if _holds(row, fingerprint)
        }
        index.delete([one for one in known.others if one not in kept])
    return IndexedVideo(
        source=name,
        moments=added,
        known=known.current,
        seconds=seconds,
        frames=frames,
        failed=failed,
        corrupt=corrupt,
    )


def _named(path: str) -> str:
    # Names of files may be no valid text, and an index holds nothing else.
    return os.fsencode(os.path.abspath(path)).decode("utf-8", "backslashreplace")


def _row(moment: Moment, common: Mapping[str, Any], metadata: Mapping[str, Any], *, complete: bool) -> Row:
    notes = {"key_frame": moment.key_frame, "complete": complete}
    return Row(
        id=row_id(common["source"], moment.begin),
        vector=moment.vector,
        begin=moment.begin,
        end=moment.end,
        thumbnail=moment.thumbnail(),
        metadata={**metadata, NOTES: notes},
        **common,
    )


def _known(index: Index, source: str, fingerprint: str) -> _Known:
    known = _Known()
    columns = ("fingerprint", "end", "metadata", "error_code")
    for rows in index.scan(where=_rows_of(source), columns=columns):
        for row in rows:
            if _holds(row, fingerprint):
                known.current += 1
                known.end = max(known.end, row.end or 0.0)
                known.complete |= bool(row.metadata.get(NOTES, {}).get("complete"))
            else:
                known.others.append(row.id)
    return known


def _rows_of(source: str) -> dict[str, Any]:
    return {"source": source, "kind": KIND}


def _holds(row: Row, fingerprint: str) -> bool:
    return row.fingerprint == fingerprint and not row.error_code


def _fingerprint(status: os.stat_result, sampling: Sampling, merging: Merging, decoding: Decoding) -> str:
    """Of a file and of what decides which moments it has."""
    settings = f"{sampling}{merging.alike}{merging.longest}{decoding.keyframes_only}"
    digest = hashlib.sha256(settings.encode()).hexdigest()[:8]
    return f"{status.st_size}-{status.st_mtime_ns}-{digest}"
