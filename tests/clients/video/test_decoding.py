"""Frames of films and their times, and what is said of films that are broken."""

from __future__ import annotations

import gc
import io
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip.video import Decoding, VideoError, open_video
from babelclip.video.frames import upright
from tests.clients.video.films import av, brightness, counting, grey, scene, write_film


def times(path: Path, start: float = 0.0, **decoding: object) -> list[float]:
    """When each frame is shown."""
    with open_video(path, Decoding(**decoding)) as video:  # type: ignore[arg-type]
        return [frame.time for frame in video.frames(start)]


def refusal(source: Path | io.BytesIO, **decoding: object) -> VideoError:
    """What is said of a film that gives no frame."""
    with pytest.raises(VideoError) as refused, open_video(source, Decoding(**decoding)) as video:  # type: ignore[arg-type]
        list(video.frames())
    assert "\n" not in refused.value.message
    return refused.value


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of frames that grow lighter, with B-frames and a key frame in every second."""
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    return write_film(path, counting(40), options={"g": "10", "bf": "3", "b-adapt": "0"})


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("film.mp4", "libx264", {"bf": "3", "b-adapt": "0"}),
        ("film.mkv", "libx265", {"x265-params": "bframes=3:log-level=none"}),
        ("film.webm", "libvpx-vp9", {"deadline": "realtime"}),
        ("film.avi", "mpeg4", {"bf": "2"}),
        ("film.ts", "mpeg2video", {"bf": "2"}),
    ],
)
def test_frames_come_in_the_order_they_are_shown(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    """Whatever the codec stores first, frames come by their times, each picture at its own."""
    write_film(tmp_path / name, counting(20), rate=25, codec=codec, options=options)
    with open_video(tmp_path / name) as video:
        found = [(frame.time, brightness(frame.picture(48))) for frame in video.frames()]
        assert video.corrupt == 0
    np.testing.assert_allclose([time for time, _ in found], np.arange(20) / 25, atol=0.05)
    shown = [light for _, light in found]
    np.testing.assert_allclose(shown, [20 + 200 * number // 19 for number in range(20)], atol=8)


def test_times_are_those_of_the_film_where_frames_come_at_no_fixed_rate(tmp_path: Path) -> None:
    """Phones record as many frames as the light allows: a time is read, never counted."""
    shown = [0.0, 0.1, 0.15, 1.0, 1.05, 4.0, 4.5]
    path = write_film(tmp_path / "film.mp4", counting(7), times=shown)
    np.testing.assert_allclose(times(path), shown, atol=0.002)


def test_a_film_begins_at_0_whatever_its_clock_says(tmp_path: Path) -> None:
    """A broadcast begins at any time of its clock; what players show as 0 is 0."""
    path = write_film(tmp_path / "film.ts", counting(5), times=[500.0, 500.1, 500.2, 500.3, 500.4])
    np.testing.assert_allclose(times(path), [0.0, 0.1, 0.2, 0.3, 0.4], atol=0.002)


def test_pictures_that_begin_after_the_sound_keep_their_times(tmp_path: Path) -> None:
    """The film begins with its sound, and its first picture is where players show it."""
    path = write_film(tmp_path / "film.mkv", counting(3), times=[0.5, 0.6, 0.7], sound=1.0)
    np.testing.assert_allclose(times(path), [0.5, 0.6, 0.7], atol=0.03)


def test_recordings_that_were_joined_go_on_in_time(tmp_path: Path) -> None:
    """A clock that begins anew in the middle does not fold two recordings over each other."""
    one = write_film(tmp_path / "one.ts", counting(30)).read_bytes()
    (tmp_path / "joined.ts").write_bytes(one + one)
    found = times(tmp_path / "joined.ts")
    assert found == sorted(found)
    assert len(found) >= 59
    assert found[-1] == pytest.approx(5.9, abs=0.11)


@pytest.mark.parametrize(
    ("rotation", "mirrored"), [(0, False), (90, False), (180, False), (-90, False), (0, True)]
)
def test_what_a_phone_held_upright_recorded_is_upright(tmp_path: Path, rotation: int, mirrored: bool) -> None:
    """A film that says how it is to be turned is turned, as every player does."""
    picture = grey(0, (96, 64))
    picture[:32, :48] = 255  # top left
    path = write_film(tmp_path / "film.mp4", [picture], rotation=rotation, mirrored=mirrored)
    with open_video(path) as video:
        shown = np.asarray(next(video.frames()).picture(64))
    expected = np.rot90(np.fliplr(picture) if mirrored else picture, rotation // 90)
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 10


@given(st.sampled_from([0, 1, 2, 3]), st.booleans())
def test_display_matrices_turn_and_mirror(quarters: int, mirrored: bool) -> None:
    """All eight ways to lay a picture are those of the matrix, computed point by point."""
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    a, b, c, d = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0)][quarters]
    if mirrored:
        a, c = -a, -c
    shown = {(a * x + c * y, b * x + d * y): pixels[y, x] for x in range(3) for y in range(2)}
    left, top = min(x for x, _ in shown), min(y for _, y in shown)
    result = upright(pixels, [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30])
    assert result.size == pixels.size
    for (x, y), value in shown.items():
        np.testing.assert_array_equal(result[y - top, x - left], value)


def test_pixels_that_are_not_square_are_shown_in_their_proportions(tmp_path: Path) -> None:
    """A DVD's 4:3 picture stored in wide pixels is as wide as it is shown."""
    path = write_film(tmp_path / "film.mp4", [scene(1, (96, 64))], aspect=Fraction(4, 3))
    with open_video(path) as video:
        assert next(video.frames()).picture(64).size == (128, 64)


def test_of_an_interlaced_frame_one_field_is_used(tmp_path: Path) -> None:
    """Two fields are two times: a picture of both would have everything twice."""
    picture = grey(0, (96, 64))
    picture[::2] = 200
    options = {"x264-params": "tff=1", "crf": "10", "flags": "+ildct+ilme"}
    path = write_film(tmp_path / "film.mkv", [picture] * 5, rate=25, options=options)
    with open_video(path) as video:
        shown = np.asarray(next(video.frames()).picture(64))
    assert shown.shape == picture.shape
    assert shown.std() < 30


def test_a_start_gives_the_same_frames_as_from_the_beginning(film: Path) -> None:
    """Going on in the middle of a film costs no frame and gives none twice."""
    whole = times(film)
    for start in (0.05, 1.0, 1.05, 2.95, 3.9, 10.0):
        assert times(film, start) == [time for time in whole if time >= start]


def test_key_frames_alone_are_decoded_where_that_is_enough(film: Path) -> None:
    """`keyframes_only` gives one frame in each second of a film that has a key frame in each."""
    np.testing.assert_allclose(times(film, keyframes_only=True), [0.0, 1.0, 2.0, 3.0], atol=0.01)


def test_a_broken_packet_costs_its_own_frames_alone(tmp_path: Path) -> None:
    """A scratch in the middle of a film leaves all before it and nearly all after it."""
    path = write_film(
        tmp_path / "film.ts",
        [scene(number) for number in range(60)],
        codec="mpeg2video",
        options={"g": "5", "bf": "0"},
    )
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = os.urandom(2000)
    path.write_bytes(data)
    found = times(path)
    assert len(found) >= 40
    assert found[0] == pytest.approx(0.0, abs=0.01)
    assert found[-1] == pytest.approx(5.9, abs=0.11)


@pytest.mark.parametrize("name", ["film.mkv", "film.ts", "film.avi"])
def test_of_a_film_that_was_cut_off_there_is_what_came_before(tmp_path: Path, name: str) -> None:
    """A recording whose end is missing is searched as far as it goes."""
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = write_film(
        tmp_path / name, [scene(number) for number in range(60)], codec=codec, options={"g": "5"}
    )
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = times(path)
    assert 15 <= len(found) < 60


def test_what_is_no_film_is_said_in_a_sentence(tmp_path: Path, film: Path) -> None:
    """Whoever gives a wrong file is told why it is wrong, by a word for programs as well."""
    whole = film.read_bytes()
    for data in (b"", b"hello " * 1000, whole[: len(whole) // 4], bytes(5000)):
        assert refusal(io.BytesIO(data)).code == "video_undecodable"
    for missing in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(OSError, match=str(missing)), open_video(missing):
            pass


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    """Nobody waits for a writer that never comes."""
    os.mkfifo(tmp_path / "film.mp4")
    assert "no regular file" in refusal(tmp_path / "film.mp4").message


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{film}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{film}'\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        '<AdaptationSet><Representation id="1"><BaseURL>{film}</BaseURL></Representation></AdaptationSet>'
        "</Period></MPD>",
    ],
)
def test_a_playlist_opens_no_other_file(film: Path, tmp_path: Path, playlist: str) -> None:
    """A file that names others could read what its sender may not, or call an address."""
    path = tmp_path / "film.mp4"
    path.write_text(playlist.format(film=film), encoding="utf-8")
    assert refusal(path).code == "video_undecodable"


def test_a_name_is_never_an_address(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes `http:…` and `concat:…|…` for protocols; here they are names of files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a|b.mp4").write_bytes(film.read_bytes())
    assert len(times(Path("concat:a|b.mp4"))) == 40
    name = os.fsdecode(b"caf\xe9.mp4")
    (tmp_path / name).write_bytes(film.read_bytes())
    assert len(times(tmp_path / name)) == 40


def test_a_recording_of_sound_has_no_pictures(tmp_path: Path) -> None:
    """Sound alone is told from a broken film; a cover does not make it one."""
    with av.open(str(tmp_path / "sound.mka"), "w") as out:
        speaker = out.add_stream("aac", rate=8000)
        quiet = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        quiet.sample_rate = 8000
        out.mux(speaker.encode(quiet))
        out.mux(speaker.encode(None))
    refused = refusal(tmp_path / "sound.mka")
    assert refused.code == "no_video_stream"
    assert "only audio" in refused.message


def test_limits_of_pixels_and_of_length_are_kept(film: Path) -> None:
    """What would fill the memory, or take a day, is refused, and the sentence names the limit."""
    assert refusal(film, max_pixels=1000).code == "video_too_many_pixels"
    assert "1,000 are allowed" in refusal(film, max_pixels=1000).message
    assert refusal(film, max_seconds=2.0).code == "video_too_long"


def test_a_film_that_hides_its_length_is_stopped_at_the_limit(tmp_path: Path) -> None:
    """The limit counts what is decoded, not only what the film says."""
    path = write_film(tmp_path / "film.ts", counting(5), times=[0.0, 0.1, 0.2, 30.0, 30.1])
    with pytest.raises(VideoError, match="video_too_long"):
        times(path, max_seconds=10.0)


def test_a_device_that_is_not_there_is_named(film: Path) -> None:
    """Who asks for a device that cannot decode is told so, not left with a slow run."""
    with pytest.raises(ValueError, match="no device 'nonsense'"):
        times(film, hardware="nonsense")


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """However long a film is, the frames before are gone when the next one comes, pictures of them or not."""
    path = write_film(tmp_path / "film.mp4", (grey(number % 256) for number in range(1500)), rate=25)
    count, most = 0, 0
    gc.collect()
    gc.disable()  # Frames go when they are let go, not when the collector comes by.
    try:
        with open_video(path) as video:
            for frame in video.frames():
                count += 1
                frame.tiny(), frame.picture(32)
                if count % 100 == 0:
                    alive = sum(type(one) is av.VideoFrame for one in gc.get_objects())
                    most = max(most, alive)
    finally:
        gc.enable()
    assert count == 1500
    assert 1 <= most <= 10  # the decoder gives several at a time


@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_whatever_the_bytes_are_a_film_is_decoded_or_refused(film: Path, data: st.DataObject) -> None:
    """A film whose bytes were changed anywhere gives frames or a VideoError, nothing else."""
    changed = bytearray(film.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        begin = data.draw(st.integers(0, len(changed) - 1))
        changed[begin : begin + 8] = data.draw(st.binary(min_size=0, max_size=8))
    try:
        with open_video(io.BytesIO(bytes(changed)), Decoding(max_pixels=100_000)) as video:
            found = [frame.time for frame in video.frames()]
            assert found == sorted(found)
    except VideoError:
        pass
