"""Parts of recordings: where they lie, of files of several kinds and of arrays."""

import io
import math

import numpy as np
import pytest
import soundfile

from mt3x.music.audio import (
    Excerpt,
    audio_info,
    encode_audio,
    rereadable,
    stream_audio,
    write_audio,
)
from mt3x.music.excerpts import excerpts

RATE_HZ = 16000


def tones(seconds: int, rate_hz: int) -> np.ndarray:
    """A tone for each second, which tells where it is."""
    time_s = np.arange(seconds * rate_hz) / rate_hz
    return 0.5 * np.sin(2 * np.pi * (200 + 50 * np.floor(time_s)) * time_s)


def middle_second(part_S: np.ndarray) -> int:
    """Return in which second of the recording the middle of a part lies."""
    half = len(part_S) // 2
    piece_S = part_S[half - 2000 : half + 2000]
    spectrum_F = np.abs(np.fft.rfft(piece_S * np.hanning(4000), 16000))
    return round((spectrum_F.argmax() - 200) / 50)


def m4a(samples_S: np.ndarray) -> bytes:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=RATE_HZ)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(
            samples_S[None].astype(np.float32), format="fltp", layout="mono"
        )
        frame.rate = RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("form", ["array", "WAV", "FLAC", "OGG", "MP3", "M4A"])
@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_parts_are_spread_evenly(form, rate_hz):
    samples_S = tones(21, rate_hz)
    if form == "array":
        parts = list(excerpts(samples_S, rate_hz, RATE_HZ, 3.0, 3))
    else:
        if form == "M4A":
            data = m4a(tones(21, RATE_HZ))
        else:
            file = io.BytesIO()
            soundfile.write(file, samples_S, rate_hz, format=form)
            data = file.getvalue()
        parts = list(excerpts(data, None, RATE_HZ, 3.0, 3))
    assert [abs(len(part_S) - 3 * RATE_HZ) < 200 for part_S in parts] == [True] * 3
    # Seconds 0 to 3, 9 to 12 and 18 to 21.
    assert [middle_second(part_S) for part_S in parts] == [1, 10, 19]


def test_short_recordings_are_taken_whole(tmp_path):
    samples_S = tones(9, RATE_HZ).astype(np.float32)
    (part_S,) = excerpts(samples_S, RATE_HZ, RATE_HZ, 3.0, 3)
    np.testing.assert_array_equal(part_S, samples_S)
    soundfile.write(tmp_path / "a.wav", samples_S, RATE_HZ, subtype="FLOAT")
    (part_S,) = excerpts(tmp_path / "a.wav", None, RATE_HZ, 5.0, 2)
    np.testing.assert_array_equal(part_S, samples_S)
    with pytest.raises(ValueError, match="no samples"):
        list(excerpts(np.zeros(0), RATE_HZ, RATE_HZ, 1.0, 1))


def test_a_length_that_is_not_known_is_not_read_to_the_end(monkeypatch):
    info = type("Info", (), {"duration_s": None})
    monkeypatch.setattr("mt3x.music.excerpts.audio_info", lambda source: info)
    read = []

    def endless(source, rate_hz, target_hz):
        while True:
            read.append(target_hz)
            yield np.zeros(target_hz, np.float32)

    monkeypatch.setattr("mt3x.music.excerpts.stream_samples", endless)
    (part_S,) = excerpts(b"", None, 100, 2.0, 3)
    assert len(part_S) == 600 and len(read) == 6


def test_parts_beyond_the_end_of_a_broken_file_are_left_out(tmp_path):
    soundfile.write(tmp_path / "a.wav", tones(20, RATE_HZ), RATE_HZ)
    whole = (tmp_path / "a.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: len(whole) // 2])
    with pytest.warns(UserWarning, match="cut off"):
        parts = list(excerpts(tmp_path / "a.wav", None, RATE_HZ, 3.0, 3))
    assert 1 <= len(parts) <= 3


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(0, 0.5), (0.25, 0.5), (0.3, math.inf), (0.7, 9)]
)
def test_an_excerpt_is_read_as_a_recording(tmp_path, start_s, end_s):
    samples_S = np.linspace(-0.5, 0.5, 8000).astype(np.float32)
    path = tmp_path / "a.wav"
    write_audio(path, samples_S, 8000)
    excerpt = Excerpt(path, start_s, end_s)
    expected = samples_S[round(start_s * 8000) : round(min(end_s, 1) * 8000)]
    for block_s in (0.1, 10.0):
        blocks = list(stream_audio(excerpt, 8000, block_s))
        np.testing.assert_allclose(np.concatenate(blocks), expected, atol=1e-4)
    np.testing.assert_allclose(audio_info(excerpt).duration_s, len(expected) / 8000)
    (part,) = excerpts(excerpt, None, 8000, 0.1, 1)
    np.testing.assert_allclose(part, expected[:800], atol=1e-4)


def test_an_excerpt_of_a_pipe_is_read_again():
    data = io.BytesIO(encode_audio(np.full(8000, 0.5), 8000, "WAV"))
    data.seekable = lambda: False
    excerpt = rereadable(Excerpt(data, 0.5))
    for _ in range(2):
        assert sum(map(len, stream_audio(excerpt, 8000))) == 4000


def test_what_an_excerpt_cannot_be(tmp_path):
    write_audio(tmp_path / "a.wav", np.zeros(800), 800)
    with pytest.raises(ValueError, match=r"a\.wav ends at 1\.0 s, before the part"):
        audio_info(Excerpt(tmp_path / "a.wav", 1.0))
    with pytest.raises(ValueError, match="from 2 to 1 s holds nothing"):
        Excerpt("a.wav", 2.0, 1.0)
