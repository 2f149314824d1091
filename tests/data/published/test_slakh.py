"""Tracks are written as Slakh's, and read as Slakh's."""

import numpy as np
import pytest
import soundfile
import toy_data_sets as toys
import yaml

import mt3x.data.published.slakh
from mt3x.data.published.slakh import (
    LOUDNESS_LUFS,
    Origin,
    RenderedStem,
    SlakhSource,
    integrated_loudness,
    write_track,
)
from mt3x.data.published.source import ReadOptions
from mt3x.music.notes import Notes

RATE_HZ = 16000
RATE_48K = 48000
ORIGIN = Origin("a/b.mid", "0123456789abcdef" * 2)


def stem(seed, program=0, is_drum=False, level=1.0, gain_db=0.0):
    notes = toys.tune(seed, 8, program, is_drum)
    samples_S = None
    if level is not None:
        samples_S = level * toys.sound(notes, RATE_HZ)
    return RenderedStem(notes, program, is_drum, "a.sf2", samples_S, gain_db)


STEMS = [
    stem(1, 33, level=0.1),
    stem(2, 8, is_drum=True, level=0.9),
    stem(3, 120, level=None),
    stem(4, 48, gain_db=-6.0),
    stem(5, 40, level=0.0),
]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train").mkdir()
    return tmp_path / "train" / "Track00001"


def test_metadata_is_slakhs(folder, tmp_path):
    write_track(folder, STEMS, RATE_HZ, ORIGIN)
    toys.slakh_track(tmp_path / "toy", 0)
    toy = yaml.safe_load((tmp_path / "toy" / "metadata.yaml").read_text())
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    stems = metadata.pop("stems")
    assert metadata.pop("lmd_midi_dir") == "a/b.mid"
    assert metadata.keys() == toy.keys() - {"stems"}
    assert metadata["UUID"] == ORIGIN.md5 and metadata["normalized"] is True
    assert stems["S00"].keys() == toy["stems"]["S00"].keys()
    families = [about["inst_class"] for about in stems.values()]
    assert families[:2] == ["Bass", "Drums"]
    assert families[3:] == ["Strings (continued)", "Strings"]
    programs = [about["program_num"] for about in stems.values()]
    assert programs == [33, 128, 120, 48, 40]
    assert stems["S00"]["midi_program_name"] == "Electric Bass (finger)"
    assert [about["is_drum"] for about in stems.values()] == [0, 1, 0, 0, 0]
    # What nothing plays, and what plays but is silent.
    rendered = [about["audio_rendered"] for about in stems.values()]
    assert rendered == [True, True, False, True, False]
    assert "integrated_loudness" not in stems["S02"]


def test_levels(folder):
    write_track(folder, STEMS, RATE_HZ, ORIGIN)
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    mix_S, rate_hz = soundfile.read(folder / "mix.flac", dtype="int16")
    assert rate_hz == RATE_HZ
    assert np.abs(mix_S).max() == pytest.approx(32767 * 10 ** (-1 / 20), abs=3)
    sum_S = np.zeros(len(mix_S), int)
    gain_db = 20 * np.log10(metadata["overall_gain"])
    for name in ("S00", "S01", "S03"):
        samples_S, _ = soundfile.read(folder / "stems" / f"{name}.flac", dtype="int16")
        sum_S += samples_S
        lufs = integrated_loudness(samples_S / 32768, RATE_HZ)
        said = metadata["stems"][name]["integrated_loudness"]
        assert said == LOUDNESS_LUFS + (-6 if name == "S03" else 0)
        assert lufs == pytest.approx(said + gain_db, abs=0.05)
    np.testing.assert_array_equal(sum_S, mix_S)
    assert sorted(p.name for p in (folder / "stems").iterdir()) == [
        *("S00.flac", "S01.flac", "S03.flac")
    ]


def test_the_reader_of_slakh_reads_it(folder):
    write_track(folder, STEMS, RATE_HZ, ORIGIN)
    options = ReadOptions(stem_audio=True, midi_programs=True)
    piece, problems = SlakhSource("Track00001", "train", folder).read(options)
    assert piece is not None and not problems
    assert [s.name for s in piece.stems] == ["S00", "S01", "S03"]
    for read, written in zip(piece.stems, [STEMS[0], STEMS[1], STEMS[3]], strict=True):
        np.testing.assert_allclose(
            read.notes.onset_s, written.notes.onset_s, atol=0.0006
        )
        np.testing.assert_array_equal(read.notes.pitch, written.notes.pitch)
        assert set(read.notes.is_drum) == {written.is_drum}
    everything = Notes.from_midi(folder / "all_src.mid")
    assert len(everything) == sum(len(s.notes) for s in STEMS)


def test_a_track_appears_whole_or_not_at_all(folder, monkeypatch):
    def full(*arguments):
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(mt3x.data.published.slakh, "_write_metadata", full)
        with pytest.raises(OSError, match="disk full"):
            write_track(folder, STEMS, RATE_HZ, ORIGIN)
    assert not folder.exists()
    write_track(folder, STEMS, RATE_HZ, ORIGIN)
    assert [path.name for path in folder.parent.iterdir()] == ["Track00001"]
    before = (folder / "mix.flac").read_bytes()
    with pytest.raises(OSError, match="Track00001"):
        write_track(folder, STEMS[:1], RATE_HZ, ORIGIN)
    assert (folder / "mix.flac").read_bytes() == before


def test_nothing_to_hear(folder):
    with pytest.raises(ValueError, match="no instrument"):
        write_track(folder, STEMS[2:3] + STEMS[4:], RATE_HZ, ORIGIN)
    assert not list(folder.parent.iterdir())


def tone(level_db, seconds=5.0, frequency_hz=997, rate_hz=RATE_48K):
    time_S = np.arange(int(seconds * rate_hz)) / rate_hz
    return 10 ** (level_db / 20) * np.sin(2 * np.pi * frequency_hz * time_S)


@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
@pytest.mark.parametrize("level_db", [0, -23])
def test_sine(rate_hz, level_db):
    """BS.1770: a sine of 997 Hz at 0 dBFS in one channel is -3.01 LKFS."""
    lufs = integrated_loudness(tone(level_db, rate_hz=rate_hz), rate_hz)
    assert lufs == pytest.approx(-3.01 + level_db, abs=0.05)


def test_weighting():
    """Bass counts less and treble more, by the filters of the recommendation."""
    middle = integrated_loudness(tone(-20), RATE_48K)
    for frequency_hz, gain_db in ((40, -5.9), (100, -1.8), (10000, 3.4)):
        lufs = integrated_loudness(tone(-20, frequency_hz=frequency_hz), RATE_48K)
        assert lufs - middle == pytest.approx(gain_db, abs=0.4)


def test_gates():
    """EBU Tech 3341, case 3: what is 10 LU below the rest does not count."""
    signal = np.concatenate([tone(-36, 10), tone(-23, 60), tone(-36, 10)])
    assert integrated_loudness(signal, RATE_48K) == pytest.approx(-26.01, abs=0.1)
    quiet = np.concatenate([tone(-23, 5), np.zeros(5 * RATE_48K)])
    assert integrated_loudness(quiet, RATE_48K) == pytest.approx(-26.01, abs=0.2)


def test_silence_and_short():
    assert integrated_loudness(np.zeros(0), RATE_48K) == -np.inf
    assert integrated_loudness(np.zeros(RATE_48K), RATE_48K) == -np.inf
    assert integrated_loudness(tone(-90), RATE_48K) == -np.inf
    short = integrated_loudness(tone(-20, 0.1), RATE_48K)
    assert short == pytest.approx(-23.01, abs=0.3)
