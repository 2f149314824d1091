"""Headers that lie about the length of a sound, and files that consist of several."""

import io
import struct
import warnings

import numpy as np
import pytest
import soundfile

from mt3x.music.audio import audio_info, load_audio, stream_audio

RATE_HZ = 16000
SECONDS = 5
MP3 = "MPEG_LAYER_III"


def noise(seconds: float = SECONDS, rate_hz: int = RATE_HZ) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(0, 0.1, round(seconds * rate_hz))


def encoded(form: str, subtype: str = "PCM_16", samples=None, rate_hz=RATE_HZ) -> bytes:
    file = io.BytesIO()
    samples = noise() if samples is None else samples
    soundfile.write(file, samples, rate_hz, format=form, subtype=subtype)
    return file.getvalue()


def put(data: bytes, at: int, value: bytes) -> bytes:
    assert 0 < at < len(data)
    return data[:at] + value + data[at + len(value) :]


def read(data) -> tuple[np.ndarray, list[str]]:
    """Return a file's samples and what is warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        samples_S = load_audio(data)
    return samples_S, [str(each.message) for each in said]


def chunk_size(form: str, chunk: bytes, size: str, value: int) -> bytes:
    """Return a file in which a chunk's header has another size."""
    data = encoded(form)
    return put(data, data.index(chunk) + len(chunk), struct.pack(size, value))


@pytest.mark.parametrize(
    "form, chunk, size",
    [
        ("WAV", b"data", "<I"),
        ("AIFF", b"SSND", ">I"),
        ("CAF", b"data", ">q"),
        ("W64", b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a", "<q"),
        ("RF64", b"ds64", "<I"),
        ("AU", b".snd\x00\x00\x00\x18", ">I"),
    ],
)
@pytest.mark.parametrize("value", [0, 5000, 40_000])
def test_sizes_that_are_too_small(form, chunk, size, value):
    if form == "RF64":
        data = encoded("RF64")
        # After the size of the chunk and of the file: of the sound, and its samples.
        at = data.index(b"ds64") + 16
        data = put(data, at, struct.pack("<QQ", value, value // 2))
    else:
        data = chunk_size(form, chunk, size, value)
    samples_S, said = read(data)
    np.testing.assert_array_equal(samples_S[-1000:], load_audio(encoded(form))[-1000:])
    assert len(samples_S) == SECONDS * RATE_HZ
    if form == "WAV":
        assert len(said) == 1 and f"tells of {value} bytes" in said[0]


@pytest.mark.parametrize("riff", [0, 1000, 0xFFFFFFFF])
@pytest.mark.parametrize("value", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_sizes_of_recorders_that_stopped(riff, value):
    data = chunk_size("WAV", b"data", "<I", value)
    samples_S, _ = read(put(data, 4, struct.pack("<I", riff)))
    assert len(samples_S) == SECONDS * RATE_HZ


def test_what_follows_the_sound_is_no_sound():
    data = encoded("WAV")
    for tail in (b"LIST\x04\x00\x00\x00INFO", b"ID3\x03" + bytes(50), bytes(900)):
        samples_S, said = read(data + tail)
        assert len(samples_S) == SECONDS * RATE_HZ and not said


def test_sound_of_more_than_4_gb_is_read_to_its_end(tmp_path):
    path = tmp_path / "long.wav"
    size = (1 << 32) + 80_000  # the header's field holds 80,000 of it
    head = encoded("WAV", "PCM_16", noise(0.01), 192_000)
    head = put(head, 40, struct.pack("<I", 80_000))
    with path.open("wb") as file:
        file.write(head[:44])
        file.seek(44 + 80_000)
        file.write(b"\x11\x22" * 100)  # no zeros: the recording goes on
        file.truncate(44 + size)
    with pytest.warns(UserWarning, match="80000 bytes of sound, and 4295047296"):
        next(stream_audio(path))
    assert audio_info(path).duration_s == pytest.approx(size / 2 / 192_000)


def test_cut_off_files_of_any_container():
    for form in ("WAV", "AIFF", "AU", "CAF", "W64", "RF64"):
        data = encoded(form)
        samples_S, said = read(data[: len(data) * 3 // 4])
        assert 0.7 < len(samples_S) / (SECONDS * RATE_HZ) < 0.76
        assert len(said) == 1 and "cut off" in said[0]


@pytest.mark.parametrize("total", [0, 20_000, 10_000_000])
def test_flac_of_any_length(total):
    data = encoded("FLAC")
    said_total = put(data, 21, bytes([data[21] & 0xF0]) + struct.pack(">I", total))
    samples_S, said = read(said_total)
    np.testing.assert_array_equal(samples_S, load_audio(data))
    assert bool(said) == (total > len(samples_S))


@pytest.mark.parametrize("form, subtype", [("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_files_joined_to_one_are_read_one_after_another(form, subtype):
    one, other = encoded(form, subtype), encoded(form, subtype, noise(2, 44100), 44100)
    samples_S, said = read(one + other + one)
    expected_S = [load_audio(one), load_audio(other), load_audio(one)]
    assert not said
    np.testing.assert_allclose(samples_S, np.concatenate(expected_S), atol=1e-6)


def test_links_with_other_channels():
    stereo = encoded("OGG", "OPUS", np.stack([noise(2)] * 2, axis=1))
    samples_S, said = read(encoded("OGG", "OPUS") + stereo)
    assert len(samples_S) == 7 * RATE_HZ and not said
    assert audio_info(encoded("OGG", "OPUS") + stereo).duration_s == 7


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_cut_off_ogg_is_read_with_a_warning(subtype):
    data = encoded("OGG", subtype)
    samples_S, said = read(data[: len(data) * 3 // 4])
    assert 0.4 < len(samples_S) / (SECONDS * RATE_HZ) < 0.8
    assert len(said) == 1 and "cut off" in said[0]


def varied_mp3() -> tuple[bytes, int]:
    """Return 12 s whose first frames are large, and where the first with sound is."""
    samples = 0.3 * np.sin(2 * np.pi * 330 * np.arange(44100 * 12) / 44100)
    samples[:44100] += noise(1, 44100) * 3
    data = encoded("MP3", MP3, samples, 44100)
    return data, data.index(
        b"\xff\xfb", data.index(b"Info" if b"Info" in data else b"Xing")
    )


def test_mp3_of_any_length():
    data, second = varied_mp3()
    at = max(data.find(b"Xing"), data.find(b"Info"))
    (frames,) = struct.unpack(">I", data[at + 8 : at + 12])
    stale = put(data, at + 8, struct.pack(">I", frames // 4))
    whole_S = load_audio(data)
    samples_S, said = read(stale)
    assert not said and 0 <= len(samples_S) - len(whole_S) < 2000
    np.testing.assert_allclose(
        samples_S[: len(whole_S) - 2000], whole_S[:-2000], atol=1e-6
    )
    for other in (
        data[second:],
        b"ID3\x03\x00\x00\x00\x00\x00\x0a" + bytes(10) + data[second:],
    ):
        samples_S, said = read(other)
        assert not said and abs(len(samples_S) - len(whole_S)) < 4000
    samples_S, said = read(data + data)
    assert not said and abs(len(samples_S) - 2 * len(whole_S)) < 4000


def test_many_bytes_that_are_not_read_are_told_of():
    data = encoded("OGG", "VORBIS") + np.random.default_rng(1).bytes(200_000)
    samples_S, said = read(data)
    assert len(samples_S) == SECONDS * RATE_HZ
    assert any("200000 bytes after the end" in text for text in said)


@pytest.mark.parametrize("rate_hz", [1, 7, 100, 0x7FFFFFFF])
def test_rates_that_no_sound_has_are_refused(rate_hz, tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(put(encoded("WAV"), 24, struct.pack("<I", rate_hz)))
    with pytest.raises(ValueError, match=rf"a\.wav: .*{rate_hz} Hz"):
        load_audio(path)


@pytest.mark.parametrize("form", ["WAV", "RF64", "AIFF", "CAF", "W64", "AU", "FLAC"])
def test_damaged_headers_cost_a_line_at_most(form, tmp_path):
    """Sizes and starts that no file has, at each place of a header."""
    data = encoded(form, samples=noise(0.1))
    path = tmp_path / "a.bin"
    ones = b"\xff" * 7
    for at in range(4, 64, 4):
        for value in (bytes(8), ones + b"\xff", b"\x7f" + ones, ones + b"\x7f"):
            path.write_bytes(put(data, at, value))
            for length in (None, at + 6):
                path.write_bytes(path.read_bytes()[:length])
                try:
                    read(path)
                    audio_info(path)
                except ValueError as error:
                    assert "a.bin" in str(error) and "\n" not in str(error)
