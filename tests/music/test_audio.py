"""Audio in: formats, rates, channels, blocks, and every kind of damaged file."""

import io
import os
import resource
import sys
import tracemalloc
import types

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.music.audio import (
    audio_info,
    decode_audio,
    load_audio,
    stream_audio,
    write_audio,
)

RATE_HZ = 16000


def sine(rate_hz=RATE_HZ, seconds=0.5, channels=1) -> np.ndarray:
    """440 Hz of amplitude 0.5; channel c has weight c, their mean is 1."""
    time_s = np.arange(round(rate_hz * seconds)) / rate_hz
    wave = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    weights = np.arange(channels) * 2 / max(channels - 1, 1) if channels > 1 else 1
    return np.outer(wave, np.ones(channels) * weights)


def wav_bytes(samples, rate_hz=RATE_HZ, form="WAV", subtype="FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
    return file.getvalue()


def assert_is_sine(samples_S, tolerance, seconds=0.5):
    ref_S = sine(seconds=seconds)[:, 0]
    assert samples_S.dtype == np.float32 and samples_S.ndim == 1
    assert abs(len(samples_S) - len(ref_S)) <= 1
    # The ends of a sine that is cut ring in every resampler.
    middle = slice(400, len(ref_S) - 400)
    np.testing.assert_allclose(samples_S[middle], ref_S[middle], atol=tolerance)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 96000, 192000])
@pytest.mark.parametrize("channels", [1, 2, 7])
def test_any_rate_and_channel_count(rate_hz, channels):
    data = wav_bytes(sine(rate_hz, channels=channels), rate_hz)
    assert_is_sine(load_audio(data), tolerance=1e-4)
    assert audio_info(data) == (pytest.approx(0.5, abs=1e-4), rate_hz, channels)


@pytest.mark.parametrize(
    "form, subtype, tolerance",
    [
        ("WAV", "PCM_U8", 0.01),
        ("WAV", "PCM_16", 1e-4),
        ("WAV", "PCM_24", 1e-6),
        ("WAV", "DOUBLE", 1e-7),
        ("WAV", "ULAW", 0.03),
        ("FLAC", "PCM_16", 1e-4),
        ("OGG", "VORBIS", 0.05),
        ("OGG", "OPUS", 0.05),
        ("MP3", "MPEG_LAYER_III", 0.05),
        ("AIFF", "PCM_16", 1e-4),
    ],
)
def test_formats(form, subtype, tolerance):
    assert_is_sine(load_audio(wav_bytes(sine(), form=form, subtype=subtype)), tolerance)


@pytest.fixture(scope="module")
def m4a() -> bytes:
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=44100, layout="stereo")
        samples_CxS = np.ascontiguousarray(
            sine(44100, seconds=2, channels=2).T, np.float32
        )
        frame = av.AudioFrame.from_ndarray(samples_CxS, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts = 44100, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def test_m4a_by_av(m4a, tmp_path):
    (tmp_path / "a.m4a").write_bytes(m4a)
    samples_S = load_audio(tmp_path / "a.m4a")
    # The last frame of 1024 samples is padded; the encoder's delay must be gone.
    assert 0 <= len(samples_S) - 2 * RATE_HZ < 1024 * RATE_HZ / 44100
    # One sample of delay would be 0.09.
    assert_is_sine(samples_S[: 2 * RATE_HZ], tolerance=0.05, seconds=2)
    np.testing.assert_array_equal(load_audio(m4a), samples_S)
    info = audio_info(tmp_path / "a.m4a")
    assert info[1:] == (44100, 2)
    assert abs(info.duration_s - 2) < 0.05


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile a.wav\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=audio 0 RTP/AVP 0\n",
    ],
    ids=["files", "streams"],
)
def test_what_a_list_names_is_not_opened(text, tmp_path, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").write_bytes(wav_bytes(sine()))
    for read in (audio_info, load_audio):
        with pytest.raises(ValueError, match="not a readable audio file"):
            read(text.encode())


def test_message_without_av(m4a, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.m4a").write_bytes(m4a)
    for read in (load_audio, audio_info):
        with pytest.raises(ValueError, match=r"a\.m4a: .*pip install 'mt3x\[av\]'"):
            read(tmp_path / "a.m4a")


@settings(max_examples=20)
@given(st.floats(0.001, 3.0), st.sampled_from([8000, 16000, 44100]))
def test_blocks_join_to_the_whole(block_s, rate_hz):
    rng = np.random.default_rng(0)
    data = wav_bytes(rng.normal(0, 0.1, (rate_hz * 5 // 3, 2)), rate_hz)
    blocks = list(stream_audio(data, block_s=block_s))
    assert {len(block) for block in blocks[:-1]} <= {round(block_s * RATE_HZ)}
    assert 0 < len(blocks[-1]) <= round(block_s * RATE_HZ)
    np.testing.assert_array_equal(np.concatenate(blocks), load_audio(data))


def test_memory_does_not_grow_with_length(tmp_path):
    path = tmp_path / "long.flac"
    soundfile.write(path, np.zeros((44100 * 120, 2), np.int16), 44100)
    tracemalloc.start()
    try:
        num_samples = sum(len(block) for block in stream_audio(path, block_s=1.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert num_samples == 120 * RATE_HZ
    assert peak < 4e6  # the whole would be 42 MB before and 7.7 MB after resampling


def test_sources(tmp_path, monkeypatch):
    data = wav_bytes(sine())
    (tmp_path / "a.wav").write_bytes(data)
    ref_S = load_audio(tmp_path / "a.wav")

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
    read_up = io.BytesIO(data)
    read_up.seek(100)
    sources = [
        str(tmp_path / "a.wav"),
        data,
        io.BytesIO(data),
        Pipe(data),
        read_up,
        "-",
    ]
    for source in sources:
        np.testing.assert_array_equal(load_audio(source), ref_S)


# Short and damaged files.


def test_zero_samples_give_an_empty_array():
    for rate_hz in (RATE_HZ, 44100):
        data = wav_bytes(np.zeros((0, 1)), rate_hz)
        assert load_audio(data).shape == (0,)
        assert list(stream_audio(data)) == []
        assert audio_info(data).duration_s == 0


def test_one_sample():
    assert load_audio(wav_bytes([0.5])).tolist() == [0.5]
    assert len(load_audio(wav_bytes([0.5], 8000))) == 2
    # A third of a sample at 16 kHz is none.
    assert len(load_audio(wav_bytes([0.5], 48000))) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_names_the_file_and_the_time(tmp_path, bad):
    samples_SxC = sine(seconds=7, channels=2)
    samples_SxC[100_000, 1] = bad  # in the second block that is decoded
    (tmp_path / "a.wav").write_bytes(wav_bytes(samples_SxC))
    with pytest.raises(ValueError, match=r"a\.wav: a sample at 6\.250 s is NaN"):
        load_audio(tmp_path / "a.wav")


@pytest.mark.parametrize("form", ["WAV", "AIFF"])
def test_cut_off_pcm_is_read_with_a_warning(tmp_path, form):
    data = wav_bytes(sine(), form=form, subtype="PCM_16")
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r"a\.\w+ is cut off: 49\.\d%"):
        samples_S = load_audio(path)
    assert_is_sine(samples_S, 1e-4, seconds=len(samples_S) / RATE_HZ)
    assert abs(len(samples_S) - 4000) < 50


def test_header_of_a_pipe_is_no_damage():
    """Programs that write WAV to a pipe cannot know its length."""
    data = wav_bytes(sine(), subtype="PCM_16")
    data = data[:40] + b"\xff\xff\xff\xff" + data[44:]
    assert data[36:40] == b"data"
    assert_is_sine(load_audio(data), 1e-4)


def test_cut_off_mp3_is_read_with_a_warning():
    data = wav_bytes(sine(seconds=5), form="MP3", subtype="MPEG_LAYER_III")
    with pytest.warns(UserWarning, match="cut off"):
        samples_S = load_audio(data[: len(data) // 2])
    assert 0 < len(samples_S) < 4 * RATE_HZ


def test_cut_off_flac_is_read_with_a_warning(tmp_path):
    rng = np.random.default_rng(0)
    data = wav_bytes(rng.normal(0, 0.1, 99_999), form="FLAC", subtype="PCM_16")
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    with pytest.warns(UserWarning, match=r"a\.flac is cut off or damaged: 49\.\d%"):
        samples_S = load_audio(tmp_path / "a.flac")
    assert np.array_equal(samples_S, load_audio(data)[: len(samples_S)])


def test_damaged_flac_is_an_error(tmp_path):
    rng = np.random.default_rng(0)
    data = bytearray(
        wav_bytes(rng.normal(0, 0.1, 99_999), form="FLAC", subtype="PCM_16")
    )
    data[80_000:85_000] = rng.bytes(5000)
    (tmp_path / "a.flac").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.flac: damaged audio"):
        load_audio(tmp_path / "a.flac")


def test_damaged_m4a_is_an_error(m4a, tmp_path):
    rng = np.random.default_rng(0)
    data = bytearray(m4a)
    middle = data.index(b"mdat") + 1000
    data[middle : middle + 5000] = rng.bytes(5000)
    for name, content in (("garbled", data), ("cut", m4a[: len(m4a) // 2])):
        (tmp_path / f"{name}.m4a").write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}\.m4a: "):
            load_audio(tmp_path / f"{name}.m4a")


NOT_AUDIO = {
    "empty.wav": b"",
    "text.wav": b"This is not a sound.\n" * 500,
    "text.txt": b"This is not a sound.\n" * 500,
    "noise.raw": np.random.default_rng(0).bytes(9000),
    "noise.flac": np.random.default_rng(1).bytes(9000),
    "header.wav": wav_bytes(sine())[:10],
    "header.flac": wav_bytes(sine(), form="FLAC", subtype="PCM_16")[:60],
    "header.ogg": wav_bytes(sine(), form="OGG", subtype="VORBIS")[:60],
    "song.mid": b"MThd\x00\x00\x00\x06\x00\x01\x00\x00\x01\xe0",
}


@pytest.mark.parametrize("has_av", [True, False])
@pytest.mark.parametrize("name", NOT_AUDIO)
def test_not_audio(tmp_path, monkeypatch, name, has_av):
    if not has_av:
        monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / name).write_bytes(NOT_AUDIO[name])
    for read in (load_audio, audio_info):
        with pytest.raises(ValueError) as caught:
            read(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("has_av", [True, False])
@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (NOT_AUDIO["song.mid"], "is a MIDI file, which holds notes and no sound"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"PK\x03\x04", "is an archive"),
        (b"%PDF-1.7", "is a PDF"),
        (b"\x89PNG\r\n", "is a picture"),
        (NOT_AUDIO["header.ogg"], "damaged, cut off|not a readable audio file"),
    ],
    ids=["midi", "html", "archive", "pdf", "picture", "cut off"],
)
def test_first_bytes_tell_what_a_file_is(tmp_path, monkeypatch, data, reason, has_av):
    if not has_av:
        monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(ValueError, match=rf"a\.wav:? ({reason})"):
        load_audio(tmp_path / "a.wav")


def test_empty_file_is_called_empty(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"")
    for source in (tmp_path / "a.wav", b"", io.BytesIO()):
        with pytest.raises(ValueError, match="empty"):
            load_audio(source)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        load_audio(tmp_path / "none.wav")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        load_audio(tmp_path)


def test_block_length_is_checked():
    with pytest.raises(ValueError, match="longer block"):
        next(stream_audio(wav_bytes(sine()), block_s=0))


# Audio out.


@pytest.mark.parametrize(
    "ending, tolerance", [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05)]
)
def test_write_audio(tmp_path, ending, tolerance):
    path = tmp_path / f"a.{ending}"
    write_audio(path, sine(44100, channels=2).astype(np.float32), 44100)
    assert audio_info(path) == (0.5, 44100, 2)
    # Channel 1 was written at weight 2, within full scale.
    assert_is_sine(load_audio(path), tolerance)
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_audio(path, sine(), RATE_HZ)
    write_audio(path, sine()[:, 0], RATE_HZ, overwrite=True)
    assert audio_info(path) == (0.5, RATE_HZ, 1)
    assert os.listdir(tmp_path) == [path.name]


def test_write_audio_clips_and_leaves_its_input(tmp_path):
    samples_S = np.array([2.0, -2.0, 0.5])
    write_audio(tmp_path / "a.wav", samples_S, RATE_HZ)
    np.testing.assert_allclose(load_audio(tmp_path / "a.wav"), [1, -1, 0.5], atol=1e-4)
    assert samples_S.tolist() == [2.0, -2.0, 0.5]


@pytest.mark.parametrize(
    "name, samples, message",
    [("a.xyz", [0.0], r"name it with one of \.wav"), ("a.wav", [np.nan], "NaN")],
)
def test_write_audio_refuses(tmp_path, name, samples, message):
    with pytest.raises(ValueError, match=message):
        write_audio(tmp_path / name, np.array(samples), RATE_HZ)
    assert os.listdir(tmp_path) == []


def test_decoded_audio_is_resampled_as_librosa_does():
    """The number of samples is ceil(S * to / from)."""
    file = io.BytesIO()
    time_s = np.arange(22051) / 22050
    soundfile.write(file, np.sin(440 * 2 * np.pi * time_s), 22050, format="WAV")
    samples_S = decode_audio(file.getvalue(), 16000)
    assert len(samples_S) == 16001 and samples_S.dtype == np.float32
    expected_S = np.sin(440 * 2 * np.pi * np.arange(16001) / 16000)
    np.testing.assert_allclose(samples_S[500:-500], expected_S[500:-500], atol=1e-3)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_a_full_disk_leaves_no_cut_file(tmp_path, ending):
    """Where the limit of a file's size is reached, writing fails as on a full disk."""
    noise_S = np.random.default_rng(0).normal(0, 0.1, 20 * RATE_HZ)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OSError, match=rf"cannot write .*a\.{ending}: the disk"):
            write_audio(tmp_path / f"a.{ending}", noise_S, RATE_HZ)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_names_that_are_not_utf8_are_read(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    write_audio(path, sine(), RATE_HZ)
    assert audio_info(path).duration_s == 0.5
    assert_is_sine(load_audio(path), tolerance=1e-4)
