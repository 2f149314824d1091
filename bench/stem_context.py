"""What the band model hears of short segments: its notes, each segment by itself.

    python bench/stem_context.py band/test [--frames 16 128]

The folder holds tracks as `mt3x synth` writes them. Of pitched notes, F1 within 50 ms
and with offset, means over the tracks, where the model hears a track whole, and where
it hears no more than segments of so many frames of 32 ms.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
import soundfile

from mt3x.models import weights_file
from mt3x.models.objectives import BandConfig, BandObjective
from mt3x.music.metrics import Scores, note_scores
from mt3x.music.notes import Notes
from mt3x.music.roll_decoder import RollDecoder
from mt3x.music.rolls import ROLL_NAMES, Rolls

BATCH = 64


class Model:
    """The package's band model."""

    def __init__(self) -> None:
        weights = weights_file.load(weights_file.packaged("band"))
        self._config = BandConfig.from_dict(weights.config)
        self._params = weights.params
        self._predict = jax.jit(BandObjective(self._config).predict)

    def notes(self, samples_S: np.ndarray, num_frames: int) -> Notes:
        """Transcribe segments of so many frames; what is left at the end is not."""
        size = num_frames * self._config.features.hop_samples
        whole = len(samples_S) // size * size
        segments_BxS = samples_S[:whole].reshape(-1, size)
        outputs = [
            self._predict(self._params, segments_BxS[first : first + BATCH])
            for first in range(0, len(segments_BxS), BATCH)
        ]
        rolls = {
            name: np.concatenate([np.asarray(o[name]) for o in outputs]).reshape(-1, 88)
            for name in ROLL_NAMES
        }
        rate_hz = self._config.labels.frame_rate_hz
        decoder = RollDecoder(self._config.decoding, rate_hz)
        first = decoder.push(Rolls.from_names(rolls, rate_hz))
        return Notes.concatenate([first, decoder.finish()])


def main() -> None:
    """Print a row for each length."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 128])
    args = parser.parse_args()
    tracks = sorted(args.folder.glob("Track*"))
    if not tracks:
        parser.error(f"{args.folder} has no tracks; give one that mt3x synth wrote")
    model, scores = Model(), dict[str, list[Scores]]()
    for track in tracks:
        samples_S, _ = soundfile.read(track / "mix.flac", dtype="float32")
        ref = Notes.from_midi(track / "all_src.mid")
        ref = ref[~ref.is_drum]
        for frames in (*args.frames, len(samples_S) // 512):
            name = f"{frames} frames" if frames in args.frames else "whole tracks"
            est = model.notes(samples_S, frames)
            scores.setdefault(name, []).append(note_scores(ref, est))
    for name, found in scores.items():
        note = np.mean([score.note.f1 for score in found])
        offset = np.mean([score.note_offset.f1 for score in found])
        print(f"{name}: {100 * note:.1f} / {100 * offset:.1f}")


if __name__ == "__main__":
    main()
