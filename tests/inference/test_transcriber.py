"""The transcriber: windows against whole, samples against files, bounded memory."""

import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest
import soundfile
from tiny_models import (
    SMALL,
    SMALL_BAND,
    SMALL_PEDAL,
    random_params,
    save_small_weights,
)

from mt3x.inference.transcriber import Transcriber
from mt3x.inference.windows import WindowConfig
from mt3x.models import weights_file
from mt3x.models.objectives import config_from_dict, make_objective
from mt3x.music.metrics import note_scores
from mt3x.music.notes import Notes
from mt3x.music.rolls import NUM_PITCHES
from mt3x.music.samples import resample
from mt3x.music.sonify import sonify

CLIP = Path(__file__).parents[1] / "data" / "prelude.ogg"
RATE = 16000
SHORT = WindowConfig(num_frames=128, context_frames=24, fade_frames=8, short_frames=())


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return save_small_weights(tmp_path_factory.mktemp("weights") / "small.safetensors")


def music(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.uniform(0, seconds, int(6 * seconds)))
    length = rng.uniform(0.1, 1.0, len(onset))
    notes = Notes(onset, onset + length, rng.integers(36, 90, len(onset)))
    samples = sonify(notes, RATE, int(seconds * RATE))
    # Without noise, the floor of the features is the rounding of their FFT.
    return samples + 1e-3 * rng.standard_normal(len(samples)).astype(np.float32)


def test_rolls_have_one_row_per_started_frame(weights):
    transcriber = Transcriber(weights)
    for num_samples, num_frames in ((1, 1), (320, 1), (321, 2), (16000, 50)):
        rolls = transcriber.rolls(music(1.0)[:num_samples], RATE)
        assert rolls.onset_TxP.shape == (num_frames, NUM_PITCHES)
        assert rolls.frame_rate_hz == 50


def test_a_performance_has_the_notes_of_a_call(tmp_path):
    path = save_small_weights(tmp_path / "pedal.safetensors", SMALL_PEDAL)
    transcriber = Transcriber(path, window=SHORT)
    samples, done, parts = music(6.0), [], []
    heard = transcriber(samples, RATE)
    played = transcriber.perform(samples, RATE, parts.append, done.append)
    assert len(heard) > 10 and transcriber.has_pedal
    for name in ("onset_s", "pitch", "velocity"):
        np.testing.assert_array_equal(getattr(played.keys, name), getattr(heard, name))
    assert (played.keys.offset_s <= heard.offset_s).all()
    assert sum(done) == pytest.approx(6.0) and len(parts) == len(done)
    # Where recordings are resampled, all times are those of the recording.
    tuned = Transcriber(path, window=SHORT, tuning=100.0)
    onset_s = tuned(samples, RATE).onset_s
    np.testing.assert_allclose(tuned.perform(samples, RATE).keys.onset_s, onset_s)


def test_rolls_of_keys_and_pedal_come_beside_those_of_notes(tmp_path):
    path = save_small_weights(tmp_path / "pedal.safetensors", SMALL_PEDAL)
    for tuning in (0.0, 100.0):
        transcriber = Transcriber(path, window=SHORT, tuning=tuning)
        rolls = list(transcriber.stream_rolls(music(6.0), RATE))
        for found, part in zip(
            transcriber.stream_pedal_rolls(music(6.0), RATE), rolls, strict=True
        ):
            np.testing.assert_array_equal(found.rolls.stacked(), part.stacked())
            assert found.rolls.frame_rate_hz == part.frame_rate_hz
            assert found.key_TxP.shape == part.frame_TxP.shape
            assert found.pedal_Tx3.shape == (part.num_frames, 3)


def test_heads_of_the_pedal_do_not_change_the_rolls(tmp_path):
    params = random_params(SMALL_PEDAL)
    path = tmp_path / "pedal.safetensors"
    weights_file.save_weights(path, params, SMALL_PEDAL.to_dict())
    del params["subnet_0"]["pedal_heads"]
    plain = tmp_path / "plain.safetensors"
    weights_file.save_weights(plain, params, SMALL.to_dict())
    found, expected = (Transcriber(p).rolls(music(2.0), RATE) for p in (path, plain))
    np.testing.assert_array_equal(found.stacked(), expected.stacked())


@pytest.mark.parametrize(
    ("config", "what"),
    [(SMALL, "no heads for the pedal"), (SMALL_BAND, "only piano models")],
)
def test_performances_need_a_model_that_hears_the_pedal(tmp_path, config, what):
    path = save_small_weights(tmp_path / "a.safetensors", config)
    transcriber = Transcriber(path)
    assert not transcriber.has_pedal
    for method in (transcriber.perform, transcriber.stream_pedal_rolls):
        with pytest.raises(ValueError, match=what):
            method(music(1.0), RATE)


def test_padding_of_short_recordings_changes_nothing(weights):
    samples = music(3.0)[-128 * 320 :]
    exact = Transcriber(weights, window=SHORT).rolls(samples, RATE)
    padded = Transcriber(weights).rolls(samples, RATE)
    np.testing.assert_allclose(exact.onset_TxP, padded.onset_TxP, atol=5e-3)


def test_batches_and_blocks_change_nothing(weights, tmp_path):
    samples = music(9.0)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    one = Transcriber(weights, window=SHORT, batch_size=1).rolls(samples, RATE)
    other = Transcriber(weights, window=SHORT, batch_size=3)
    for rolls in (other.rolls(samples, RATE), other.rolls(tmp_path / "a.wav")):
        np.testing.assert_allclose(rolls.onset_TxP, one.onset_TxP, atol=1e-5)
        np.testing.assert_allclose(rolls.velocity_TxP, one.velocity_TxP, atol=1e-5)


def test_samples_and_files_give_the_same_notes(weights, tmp_path):
    samples = music(2.0)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    transcriber = Transcriber(weights)
    notes = transcriber(tmp_path / "a.wav")
    assert len(notes) > 0
    assert transcriber(samples, RATE).equals(notes)
    assert transcriber((tmp_path / "a.wav").read_bytes()).equals(notes)
    stereo = np.stack([samples, samples], axis=1)
    assert transcriber(stereo, RATE).equals(notes)
    doubled = transcriber(np.repeat(samples, 2), 2 * RATE)
    assert abs(len(doubled) - len(notes)) < 0.2 * len(notes) + 5


def test_thresholds_replace_the_checkpoints(weights):
    samples = music(1.0)
    assert len(Transcriber(weights, onset_threshold=1.0)(samples, RATE)) == 0
    changed = Transcriber(weights, frame_threshold=0.7).roll_decoding
    assert changed is not None and changed.frame_threshold == 0.7
    assert Transcriber(weights).roll_decoding == SMALL.decoding
    assert Transcriber(weights, frame_threshold=0.0).roll_decoding.frame_threshold == 0
    with pytest.raises(ValueError, match="onset_threshold is 7"):
        Transcriber(weights, onset_threshold=7)


def test_windows_that_hold_silence_have_no_notes(weights):
    samples = np.concatenate([music(2.0), np.zeros(10 * RATE, np.float32)])
    rolls = Transcriber(weights, window=SHORT).rolls(samples, RATE)
    assert not rolls.onset_TxP[300:].any() and rolls.onset_TxP[:100].any()
    assert len(Transcriber(weights)(np.zeros(RATE), RATE)) == 0
    assert len(Transcriber(weights)(np.full(RATE, 1e-6), RATE)) == 0


def test_silent_windows_are_not_computed(weights, monkeypatch):
    transcriber = Transcriber(weights, window=SHORT)
    model = cast(Any, transcriber)._reader.model
    predict, computed = model._predict, []

    def counted(params, samples_BxS, *rest):
        computed.append(float(np.abs(samples_BxS).max()))
        return predict(params, samples_BxS, *rest)

    monkeypatch.setattr(model, "_predict", counted)
    gap_S = np.full(30 * RATE, 1e-6, np.float32)
    rolls = transcriber.rolls(np.concatenate([music(2.0), gap_S, music(2.0)]), RATE)
    assert rolls.num_frames == 34 * 50
    assert rolls.onset_TxP[:100].any() and rolls.onset_TxP[-100:].any()
    assert 2 <= len(computed) <= 6 and min(computed) > 0.01


def test_bad_samples_are_refused(weights):
    transcriber = Transcriber(weights)
    for samples, rate, message in (
        (np.zeros(0), RATE, "no samples"),
        (np.full(9, np.nan), RATE, "NaN"),
        (np.zeros(9, np.int64), RATE, "int64"),
        (np.zeros(9, complex), RATE, "complex"),
        ([[0.0], [0.0, 0.0]], RATE, "cannot be made an array"),
        (np.full(9, 1e30), RATE, "beyond"),
        (np.full((9, 2), 3e38, np.float32), RATE, "beyond"),
        (np.zeros(9), float("nan"), "nan Hz"),
        (np.zeros(9), 1, "1 Hz"),
        (np.zeros(9), -44100, "-44100 Hz"),
        (None, None, "NoneType"),
        (np.zeros((2, 2, 2)), RATE, "shape"),
        (np.zeros(9), None, "sample_rate_hz"),
        ("a.wav", RATE, "own rate"),
    ):
        with pytest.raises(ValueError, match=message):
            transcriber(samples, rate)
    with pytest.raises(FileNotFoundError, match=r"missing\.wav"):
        transcriber("missing.wav")


@pytest.mark.parametrize("as_given", [list, jax.numpy.asarray, np.float64, np.float16])
def test_arrays_of_any_library(weights, as_given):
    samples = music(2.0)
    transcriber = Transcriber(weights)
    ref = transcriber.rolls(samples, RATE).onset_TxP
    est = transcriber.rolls(as_given(samples), RATE).onset_TxP
    np.testing.assert_allclose(est, ref, atol=0.05)


def test_bytes_of_any_type(weights, tmp_path):
    soundfile.write(tmp_path / "a.wav", music(2.0), RATE, subtype="FLOAT")
    data = (tmp_path / "a.wav").read_bytes()
    transcriber = Transcriber(weights)
    for given in (bytearray(data), memoryview(data)):
        assert transcriber(given).equals(transcriber(data))


def test_a_note_at_the_beginning_is_preceded_by_silence(weights):
    """The network then hears it as if it had begun later."""
    samples = music(3.0)
    samples[:16] = 0
    before = np.zeros(60 * RATE // 1000, np.float32)
    transcriber = Transcriber(weights)
    at_once = transcriber.rolls(samples, RATE).onset_TxP
    later = transcriber.rolls(np.concatenate([before, samples]), RATE).onset_TxP
    assert len(at_once) == 150
    # The longer one has no silence of its own before it.
    np.testing.assert_allclose(at_once[:100], later[3:103], atol=0.02)


def test_very_quiet_recordings_are_told_of(weights):
    with pytest.warns(UserWarning, match="loudest sample is 9e-05"):
        assert len(Transcriber(weights)(np.full(RATE, 9e-5), RATE)) == 0


def test_tuning_moves_pitches_and_keeps_times(weights):
    samples = music(3.0)
    sharp = resample(samples, RATE * 2 ** (1 / 12), RATE)
    ref = Transcriber(weights).rolls(samples, RATE)
    transcriber = Transcriber(weights, tuning=100)
    est = transcriber.rolls(sharp, RATE)
    assert abs(est.num_frames - ref.num_frames) <= 1
    assert est.frame_rate_hz == pytest.approx(50 * 2 ** (1 / 12))
    np.testing.assert_allclose(est.onset_TxP[:100], ref.onset_TxP[:100], atol=0.1)
    found: list = []
    seconds: list = []
    notes = transcriber(sharp, RATE, found.append, seconds.append)
    assert found[0].frame_rate_hz == est.frame_rate_hz
    assert sum(seconds) == pytest.approx(len(sharp) / RATE, abs=0.05)
    assert notes.offset_s.max() <= len(sharp) / RATE + 0.05
    for wrong in (101, "flat", float("nan")):
        with pytest.raises(ValueError, match="tuning is"):
            Transcriber(weights, tuning=wrong)


def test_automatic_tuning_changes_nothing_that_is_in_tune(weights):
    samples = music(3.0)
    ref = Transcriber(weights)(samples, RATE)
    assert Transcriber(weights, tuning="auto")(samples, RATE).equals(ref)
    sharp = resample(samples, RATE * 2 ** (30 / 1200), RATE)
    given = Transcriber(weights, tuning=30).rolls(sharp, RATE)
    found = Transcriber(weights, tuning="auto").rolls(sharp, RATE)
    assert found.frame_rate_hz == pytest.approx(given.frame_rate_hz, rel=0.003)


def test_a_long_recording_is_streamed(weights, monkeypatch):
    """Rolls come while audio is still being read."""
    transcriber = Transcriber(weights, window=SHORT)
    read = 0

    def endless(source, rate, block_s=10.0):
        nonlocal read
        rng = np.random.default_rng(0)
        while True:
            read += 1
            yield 0.1 * rng.standard_normal(RATE).astype(np.float32)

    monkeypatch.setattr("mt3x.music.audio.stream_audio", endless)
    num_frames = 0
    for rolls in transcriber.stream_rolls("endless.wav"):
        num_frames += rolls.num_frames
        assert read * 50 <= num_frames + 4 * 128 + 100
        if num_frames > 1000:
            break


def test_spectrogram_is_where_the_tone_is(weights):
    for seconds in (1.0, 9.0):
        time_S = np.arange(int(seconds * RATE)) / RATE
        spectrogram = Transcriber(weights, window=SHORT).spectrogram(
            np.sin(2 * np.pi * 440 * time_S), RATE
        )
        assert spectrogram.level_db_TxF.shape == (50 * seconds, 352)
        loudest_T = spectrogram.level_db_TxF[10:-10].argmax(axis=1)
        pitch_T = spectrogram.lowest_pitch + loudest_T / spectrogram.bins_per_semitone
        assert np.abs(pitch_T - 69).max() <= 0.25


def test_long_spectrograms_are_pooled(weights, monkeypatch):
    monkeypatch.setattr("mt3x.inference.spectrogram.MAX_FRAMES", 100)
    spectrogram = Transcriber(weights, window=SHORT).spectrogram(music(6.0), RATE)
    assert len(spectrogram.level_db_TxF) == 100
    assert spectrogram.frame_rate_hz == pytest.approx(50 / 3)


@pytest.mark.parametrize("model", weights_file.WEIGHTS)
def test_the_packages_weights_are_those_of_the_model(model):
    # `Transcriber` takes their shapes as known.
    if not weights_file.WEIGHTS[model].is_file():
        pytest.skip(f"the package brings no weights of a {model} model")
    weights = weights_file.load(weights_file.packaged(model))
    objective = make_objective(config_from_dict(weights.config))
    shapes = jax.eval_shape(lambda: objective.init(jax.random.key(0)))
    weights_file.check_params(weights.params, shapes, "the package's weights")


@pytest.mark.skipif(
    not (weights_file.DEFAULT_WEIGHTS.is_file() and CLIP.is_file()),
    reason="the package's weights or the test recording are not there",
)
def test_windows_equal_whole_on_a_recording():
    from mt3x.music.audio import load_audio

    samples = load_audio(CLIP)
    num_frames = -(-len(samples) // 320)
    whole = Transcriber(window=WindowConfig(num_frames=num_frames, short_frames=()))
    window = WindowConfig(num_frames=512, short_frames=())
    ref = whole(samples, RATE)
    est = Transcriber(window=window)(samples, RATE)
    assert len(ref) > 20
    assert note_scores(ref, est).note.f1 >= 0.99
    # At the seams alone: no note is cut or doubled.
    for seam_frame in range(512 - 32, num_frames, 512 - 64):
        seam_s = seam_frame / 50
        near_ref = ref[np.abs(ref.onset_s - seam_s) < 1.0]
        near_est = est[np.abs(est.onset_s - seam_s) < 1.0]
        assert abs(len(near_ref) - len(near_est)) <= 1


def test_light_imports():
    code = (
        "import sys, mt3x.inference.transcriber, mt3x.cli.transcribe; "
        "heavy = {'tensorflow', 'orbax', 'optax', 'gin', 'seqio', 't5x', 'matplotlib', "
        "'scipy', 'mir_eval', 'torch'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
