"""A band model from audio to notes: windows, streams, silence, options, instruments."""

import dataclasses
import io

import mido
import numpy as np
import pytest
from tiny_models import SMALL, SMALL_BAND, save_small_weights

from mt3x.inference.audio_to_band import WINDOW
from mt3x.inference.transcriber import Transcriber
from mt3x.inference.windows import WindowConfig
from mt3x.models import weights_file
from mt3x.music.band_decoder import band_notes, heard_notes
from mt3x.music.band_rolls import BAND_NAMES, BandRolls
from mt3x.music.instrument_assignment import AssignmentConfig
from mt3x.music.instrument_classes import CLASS_NAMES, DRUM_CLASSES
from mt3x.music.instruments import parse_instruments
from mt3x.music.notes import Notes

RATE = 16000
SHORT = WindowConfig(num_frames=64, context_frames=12, fade_frames=8, short_frames=())


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "band.safetensors"
    # Levels of random weights lie around one half: few of them pass. What they say of
    # instruments is much the same everywhere.
    config = dataclasses.replace(
        SMALL_BAND,
        decoding=dataclasses.replace(SMALL_BAND.decoding, onset_threshold=0.65),
        assignment=AssignmentConfig(evidence=1.0, same_timbre=1.0, min_share=0.0),
    )
    return save_small_weights(path, config)


@pytest.fixture(scope="module")
def band(weights):
    return Transcriber(weights, window=SHORT)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 0.1 * rng.standard_normal(int(seconds * RATE)).astype(np.float32)


def test_rolls_have_one_row_per_started_frame(band):
    for num_samples, num_frames in ((1, 1), (512, 1), (513, 2), (32001, 63)):
        rolls = band.rolls(noise(3.0)[:num_samples], RATE)
        assert isinstance(rolls, BandRolls)
        assert (rolls.num_frames, rolls.frame_rate_hz) == (num_frames, 31.25)
        assert rolls.drums_UxD.shape == (4 * num_frames, len(DRUM_CLASSES))
        assert (rolls.drum_rate_hz, rolls.drum_steps) == (125, 4)
    assert WINDOW.num_frames / 31.25 == pytest.approx(32.768)
    # As many seconds overlap as of a piano model's windows.
    overlap_s = WindowConfig().overlap_frames / 50
    assert WINDOW.overlap_frames / 31.25 == pytest.approx(overlap_s)


def test_batches_and_blocks_change_nothing(weights, band):
    samples_S = noise(7.0)
    one = band.rolls(samples_S, RATE)
    three = Transcriber(weights, window=SHORT, batch_size=3)
    for rolls in (
        three.rolls(samples_S, RATE),
        BandRolls.concatenate(list(band._reader.rolls(np.split(samples_S, [9, 8000])))),
    ):
        assert rolls.num_frames == one.num_frames
        for name in BAND_NAMES:
            np.testing.assert_allclose(
                rolls.by_name()[name], one.by_name()[name], atol=1e-4
            )


def test_notes_are_those_of_the_whole_rolls(band):
    samples_S, parts = noise(7.0), []
    seconds: list[float] = []
    notes = band(samples_S, RATE, on_rolls=parts.append, on_progress=seconds.append)
    rolls = BandRolls.concatenate(parts)
    assert len(parts) == len(seconds) > 3 and sum(seconds) == pytest.approx(7.008)
    config = band.config
    heard = heard_notes([rolls], config.decoding, config.drum_decoding, 31.25, 125)
    assert notes.equals(band_notes(heard, config.assignment))
    assert (~notes.is_drum).sum() > 50 and notes.is_drum.sum() > 50
    assert set(notes.program[~notes.is_drum].tolist()) <= set(CLASS_NAMES)
    assert len(set(notes.program[~notes.is_drum].tolist())) > 1


def test_silence_has_no_notes(band):
    samples_S = np.concatenate([noise(2.0), np.zeros(8 * RATE, np.float32)])
    notes = band(samples_S, RATE)
    assert len(notes) > 0 and notes.onset_s.max() < 4.1
    rolls = band.rolls(samples_S, RATE)
    for name, array in rolls.by_name().items():
        per_frame = len(array) // rolls.num_frames
        assert not array[200 * per_frame :].any(), name
    assert len(band(np.zeros(RATE), RATE)) == 0


def test_options_take_effect(weights):
    samples_S = noise(2.0)

    def notes(**options):
        return Transcriber(weights, window=SHORT, **options)(samples_S, RATE)

    plain = notes()
    assert not notes(drum_threshold=1.0).is_drum.any()
    assert notes(onset_threshold=1.0).is_drum.all()
    louder = notes(drum_threshold=0.3)
    assert louder.is_drum.sum() > plain.is_drum.sum()
    longer = notes(frame_threshold=0.2)
    assert longer.offset_s.mean() > plain.offset_s.mean()
    few = notes(instruments=parse_instruments("brass,Tenor Sax"))
    assert set(few.program.tolist()) <= {56, 57, 60, 66} and not few.is_drum.any()
    assert len(few) == (~plain.is_drum).sum()
    drums = notes(instruments=parse_instruments("drums"))
    assert drums.equals(plain[plain.is_drum])


def test_what_is_of_other_models_is_refused(weights, tmp_path):
    for options, message in (
        ({"decoder": "tokens"}, "is a band model, which has no tokens"),
        (
            {"beams": 2},
            "beams is an option of token models, decoder both: leave it out",
        ),
        ({"constrain": True}, "constrain is an option of token models"),
        ({"drum_threshold": 2.0}, "onset_threshold is 2.0"),
        ({"model": "band"}, "are both given"),
    ):
        with pytest.raises(ValueError, match=message):
            Transcriber(weights, **options)
    piano = save_small_weights(tmp_path / "piano.safetensors", SMALL)
    with pytest.raises(ValueError, match="drum_threshold is an option of band models"):
        Transcriber(piano, drum_threshold=0.5)
    with pytest.raises(ValueError, match="decoder both, band models: leave"):
        Transcriber(piano, instruments=parse_instruments("piano"))


def test_the_packages_models_have_names(weights, monkeypatch):
    monkeypatch.setitem(weights_file.WEIGHTS, "band", weights)
    assert Transcriber(model="band").kind == "band model"
    assert Transcriber().kind == Transcriber(model="piano").kind == "piano model"
    with pytest.raises(ValueError, match="model is 'choir': give one of piano, band"):
        Transcriber(model="choir")  # type: ignore[arg-type]
    monkeypatch.setitem(weights_file.WEIGHTS, "band", weights.with_name("gone"))
    with pytest.raises(FileNotFoundError, match="no weights of a band model"):
        Transcriber(model="band")


def test_tracks_are_named_by_their_class(band):
    program = sorted(CLASS_NAMES)
    notes = Notes(
        np.arange(25),
        np.arange(25) + 1.0,
        np.full(25, 60),
        program=[*program, 0],
        is_drum=[*np.zeros(24, bool), True],
    )
    data = notes.to_midi(names=band.instrument_names)
    midi = mido.MidiFile(file=io.BytesIO(data))
    assert [track.name for track in midi.tracks[1:]] == [
        *(CLASS_NAMES[each] for each in program),
        "Drums",
    ]
    assert "Violin and viola" in CLASS_NAMES.values()
    assert "Oboe and English horn" in CLASS_NAMES.values()
    assert Notes.from_midi(data).program[:24].tolist() == program


def test_spectrogram_has_the_models_frames(band):
    spectrogram = band.spectrogram(noise(4.0), RATE)
    assert spectrogram.level_db_TxF.shape == (125, 352)
    assert spectrogram.frame_rate_hz == 31.25


def test_a_long_recording_is_streamed(band, monkeypatch):
    """Rolls come while audio is still being read, no more than a window at once."""
    read = 0

    def endless(source, rate, block_s=10.0):
        nonlocal read
        while True:
            read += 1
            yield noise(1.0)

    monkeypatch.setattr("mt3x.music.audio.stream_audio", endless)
    num_frames = 0
    for rolls in band.stream_rolls("endless.wav"):
        num_frames += rolls.num_frames
        assert rolls.num_frames <= 64
        assert read * 31.25 <= num_frames + 4 * 64 + 100
        if num_frames > 500:
            break
