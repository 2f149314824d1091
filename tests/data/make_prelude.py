"""Makes prelude.ogg and prelude.mid: python tests/data/make_prelude.py PIANO.sfz

The opening of J. S. Bach's Prelude in C major, BWV 846 (public domain), as a person
might play it: uneven time, swelling and fading, the pedal changed every half bar;
then a small room and a little noise. PIANO is Splendid Grand Piano (public domain).
"""

import argparse
from pathlib import Path

import numpy as np
import soundfile

from mt3x.data.augment import AugmentConfig, augment
from mt3x.data.synthesis.performance import from_keys
from mt3x.data.synthesis.pianos import SampledPiano, load_piano
from mt3x.data.synthesis.render import RenderConfig, render
from mt3x.music.notes import Notes

RATE_HZ = 44100
SIXTEENTH_S = 0.215
# Each half bar: bass, tenor, and three notes that are played twice.
BARS = (
    (60, 64, 67, 72, 76),
    (60, 62, 69, 74, 77),
    (59, 62, 67, 74, 77),
    (60, 64, 67, 72, 76),
)


def perform(rng: np.random.Generator) -> Notes:
    """Four bars, sixteen notes each, and a last chord."""
    rows, pedal_s = [], []
    time_s = 0.4
    for number, bar in enumerate(BARS):
        for half in (0, 1):
            pitches = [*bar[:2], *bar[2:], *bar[2:]]
            start_s = time_s
            for place, pitch in enumerate(pitches):
                held = {0: 7.6, 1: 6.6}.get(place, 1.05)  # in sixteenths
                swell = 14 * np.sin(np.pi * (number + half / 2) / 4)
                velocity = 50 + swell + 5 * (place == 0) - 3 * (place == 1)
                onset_s = time_s + rng.normal(0, 0.006)
                key_up_s = onset_s + held * SIXTEENTH_S
                rows.append((onset_s, key_up_s, pitch, velocity + rng.normal(0, 2.5)))
                slow = 1 + 0.02 * np.cos(np.pi * place / 4) + rng.normal(0, 0.01)
                time_s += SIXTEENTH_S * slow * (1.04 if number == 3 and half else 1)
            pedal_s.append((start_s + 0.09, time_s - 0.015))
    for place, pitch in enumerate((48, 60, 64, 67, 72)):  # close it, softly
        onset_s = time_s + 0.08 + 0.018 * place
        rows.append((onset_s, time_s + 1.5, pitch, 44 + rng.normal(0, 2)))
    onset_s, key_up_s, pitch, velocity = np.array(rows).T
    return from_keys(onset_s, key_up_s, pitch, velocity, np.array(pedal_s))


def main() -> None:
    """Write both files beside this one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("piano", help="Splendid Grand Piano.sfz")
    piano = load_piano(parser.parse_args().piano, sample_rate_hz=RATE_HZ)
    assert isinstance(piano, SampledPiano)
    notes = perform(np.random.default_rng(846))
    config = RenderConfig(tuning_cents=4.0, gamma=1.8, tail_s=0.6)
    samples_S = render(notes, piano, config, sample_rate_hz=RATE_HZ)
    room = AugmentConfig(
        eq_prob=0,
        highpass_prob=0,
        lowpass_prob=0,
        reverb_prob=1,
        rt60_s=(0.7, 0.7),
        reverb_db=(-11, -11),
        noise_prob=1,
        snr_db=(48, 48),
        hum_prob=0,
        clip_prob=0,
        gain_db=(0, 0),
    )
    samples_S = augment(samples_S, np.random.default_rng(1), room, RATE_HZ)
    here = Path(__file__).parent
    soundfile.write(
        here / "prelude.ogg", samples_S, RATE_HZ, format="OGG", subtype="VORBIS"
    )
    notes.to_midi(here / "prelude.mid", overwrite=True)


if __name__ == "__main__":
    main()
