"""Notes into audio: place, length, level and pitch of what sounds."""

import numpy as np
import pytest
from toy_pianos import pitch_of, write_tone

import mt3x.data.synthesis.render
from mt3x.data.synthesis.pianos import SampledPiano, SoundFont, read_sfz
from mt3x.data.synthesis.render import (
    RenderConfig,
    attack_delays_s,
    damper_fade_s,
    render,
    render_many,
)
from mt3x.music.notes import Notes

RATE_HZ = 16000


def rms(samples_S):
    return float(np.sqrt(np.mean(np.square(samples_S))))


@pytest.fixture(scope="module")
def piano(tmp_path_factory):
    folder = tmp_path_factory.mktemp("piano")
    for key in (48, 60, 72, 96):
        write_tone(folder / f"{key}.wav", key, seconds=3.0)
    regions = ["lokey=21 hikey=53 pitch_keycenter=48 sample=48.wav"]
    regions += ["lokey=54 hikey=65 pitch_keycenter=60 sample=60.wav"]
    regions += ["lokey=66 hikey=89 pitch_keycenter=72 sample=72.wav"]
    regions += ["lokey=90 hikey=108 pitch_keycenter=96 sample=96.wav"]
    regions += ["key=60 trigger=release sample=48.wav"]
    path = folder / "p.sfz"
    path.write_text("".join(f"<region> {region}\n" for region in regions))
    return read_sfz(path)


def test_length_and_peak(piano):
    notes = Notes([0.5], [1.0], [60], [90])
    samples_S = render(notes, piano, RenderConfig(peak=0.5, tail_s=1.0))
    assert samples_S.dtype == np.float32
    assert len(samples_S) == 2 * RATE_HZ
    assert np.abs(samples_S).max() == pytest.approx(0.5)
    assert not samples_S[: int(0.499 * RATE_HZ)].any()


def test_no_notes_are_silence(piano):
    samples_S = render(Notes.empty(), piano)
    assert len(samples_S) == RATE_HZ
    assert not samples_S.any()


@pytest.mark.parametrize("cents", [0.0, 20.0, -50.0])
def test_attacks_lie_at_the_onsets(piano, cents):
    onset_s = 0.1 + np.arange(8) * 1.0137
    notes = Notes(onset_s, onset_s + 0.5, [40, 50, 60, 64, 70, 80, 85, 89])
    samples_S = render(notes, piano, RenderConfig(tuning_cents=cents))
    delays_s = attack_delays_s(samples_S, notes, RATE_HZ)
    assert np.abs(delays_s).max() < 0.005


def test_tuning_shifts_pitch(piano):
    notes = Notes([0], [2], [60])
    samples_S = render(notes, piano, RenderConfig(tuning_cents=50))
    assert pitch_of(samples_S) == pytest.approx(60.5, abs=0.02)


def test_damper_ends_a_note(piano):
    samples_S = render(Notes([0], [0.5], [60]), piano, RenderConfig(tail_s=2))
    end = round((0.5 + damper_fade_s(60)) * RATE_HZ) + 1
    assert np.abs(samples_S[end:]).max() == 0
    assert np.abs(samples_S[: round(0.5 * RATE_HZ)]).max() > 0.1
    assert damper_fade_s(21) > damper_fade_s(60) > damper_fade_s(88)


def test_dampers_stop_the_fundamental_of_the_bass_last(tmp_path):
    write_tone(tmp_path / "low.wav", 28, seconds=3.0)
    write_tone(tmp_path / "high.wav", 64, seconds=3.0)
    end = round((0.5 + damper_fade_s(28)) * RATE_HZ) + 1

    def after(name):
        path = tmp_path / f"{name}.sfz"
        path.write_text(f"<region> sample={name}.wav pitch_keycenter=28 key=28\n")
        short_S, long_S = (
            render(
                Notes([0], [offset_s], [28]), read_sfz(path), RenderConfig(peak=None)
            )
            for offset_s in (0.5, 2.0)
        )
        return rms(short_S[end:RATE_HZ]) / rms(long_S[end:RATE_HZ])

    # The same key with a sound of 41 Hz and with one of 330 Hz.
    assert after("low") > 0.15
    assert after("high") < 0.5 * after("low")


def test_slower_dampers(piano):
    config = RenderConfig(tail_s=2, damper_scale=3.0)
    samples_S = render(Notes([0], [0.5], [60]), piano, config)
    end = 0.5 + 3 * damper_fade_s(60)
    before, after = (round((end + delta) * RATE_HZ) for delta in (-0.05, 0.001))
    assert np.abs(samples_S[before : before + 400]).max() > 0
    assert np.abs(samples_S[after:]).max() == 0
    with pytest.raises(ValueError, match="damper_scale must be above 0"):
        RenderConfig(damper_scale=0)


def test_a_key_struck_again_rings_on(piano):
    """The new strike leaves the old sound, and only where the key is the same."""
    again = Notes([0.0, 0.5], [0.5, 0.6], [60, 60], [100, 1])
    other = Notes([0.0, 0.5], [0.5, 0.6], [60, 61], [100, 1])
    config = RenderConfig(tail_s=2, peak=None)
    ringing = RenderConfig(tail_s=2, peak=None, restrike_fade_s=1.0)
    late = slice(round(0.9 * RATE_HZ), round(1.2 * RATE_HZ))
    assert not render(again, piano, config)[late].any()
    assert np.abs(render(again, piano, ringing)[late]).max() > 1e-4
    np.testing.assert_array_equal(
        render(other, piano, ringing), render(other, piano, config)
    )


def test_keys_and_notes_differ_in_level(piano):
    onset_s = np.arange(6) * 0.5
    notes = Notes(onset_s, onset_s + 0.2, [60, 60, 60, 62, 62, 62], [80] * 6)

    def levels(**config):
        samples_S = render(notes, piano, RenderConfig(peak=None, **config))
        starts = np.round(onset_s * RATE_HZ).astype(int)
        return np.array([np.abs(samples_S[s : s + 2000]).max() for s in starts])

    even = levels()
    keys = levels(key_level_db=3.0, level_seed=1) / even
    np.testing.assert_allclose(keys, keys[[0, 0, 0, 3, 3, 3]], rtol=1e-5)
    assert abs(np.log(keys[0] / keys[3])) > 0.01
    each = levels(note_level_db=3.0, level_seed=1) / even
    assert len(np.unique(np.round(each, 4))) == 6
    np.testing.assert_array_equal(each, levels(note_level_db=3.0, level_seed=1) / even)
    assert (each != levels(note_level_db=3.0, level_seed=2) / even).all()


def test_top_keys_have_no_damper(piano):
    samples_S = render(Notes([0], [0.1], [96]), piano, RenderConfig(tail_s=1))
    assert np.abs(samples_S[RATE_HZ // 2 :]).max() > 0.01


def test_notes_add_up(piano):
    config = RenderConfig(peak=None)
    both = Notes([0, 0.3], [1, 1], [60, 67], [80, 40])
    sum_S = render(both[:1], piano, config) + render(both[1:], piano, config)
    np.testing.assert_allclose(render(both, piano, config), sum_S, atol=1e-6)


def test_release_noise_sounds_at_the_offset(piano):
    notes = Notes([0], [1.0], [60])
    plain_S = render(notes, piano, RenderConfig(peak=None))
    noisy_S = render(notes, piano, RenderConfig(peak=None, release_gain_db=-20))
    difference_S = np.abs(noisy_S - plain_S)
    assert difference_S[:RATE_HZ].max() == 0
    assert 0.05 < difference_S.max() < 0.11


def test_pitches_off_the_keyboard_and_drums_are_left_out(piano):
    notes = Notes([0, 0, 0], [1, 1, 1], [10, 120, 60], is_drum=[0, 0, 1])
    assert not render(notes, piano).any()


def test_rate_must_match(piano):
    with pytest.raises(ValueError, match="loaded at 16000 Hz, not 44100"):
        render(Notes.empty(), piano, sample_rate_hz=44100)
    with pytest.raises(ValueError, match="tuning_cents"):
        RenderConfig(tuning_cents=60)


def test_render_many_equals_render(piano):
    scores = [Notes([0], [1], [60]), Notes.empty(), Notes([0.2], [0.4], [72])]
    for notes, samples_S in zip(scores, render_many(scores, piano), strict=True):
        np.testing.assert_array_equal(samples_S, render(notes, piano))


def test_soundfont_pieces_are_cut_from_one_rendering(piano, monkeypatch):
    """A soundfont's pieces, its delay and its rate; the synthesiser is a stand-in."""
    calls = []

    def play(notes, path):
        calls.append(len(notes))
        hall = SampledPiano("p", piano.regions, sample_rate_hz=44100)
        samples_S = render(notes, hall, RenderConfig(peak=None), 44100)
        return np.pad(samples_S, (441, 0))  # late by 10 ms

    monkeypatch.setattr(mt3x.data.synthesis.render, "play", play)
    mt3x.data.synthesis.render._soundfont_latency_s.cache_clear()
    font = SoundFont("stand-in.sf2")
    scores = [Notes([0.5], [1], [60]), Notes([0.2], [0.4], [72])]
    pieces = render_many(scores, font)
    assert calls == [42, 2]  # the notes that measure the delay, then one rendering
    for notes, samples_S in zip(scores, pieces, strict=True):
        assert len(samples_S) == round((notes.offset_s[-1] + 1) * RATE_HZ)
        assert np.abs(attack_delays_s(samples_S, notes, RATE_HZ)).max() < 0.005
        assert np.abs(samples_S).max() == pytest.approx(0.7)
    assert pitch_of(pieces[0][RATE_HZ // 2 :]) == pytest.approx(60, abs=0.1)
    mt3x.data.synthesis.render._soundfont_latency_s.cache_clear()
