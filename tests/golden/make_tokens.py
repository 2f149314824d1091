"""Makes tokens.npz: MT3's tokens of the inputs of `token_inputs.py`, and their notes.

    PYTHONPATH=. python tests/golden/make_tokens.py

needs what `mt3_reference.py` needs. For each config: the ids of all segments and of
all sub-mixes with their lengths, the notes of random ids, and how many of these are
invalid and dropped.
"""

from dataclasses import astuple
from pathlib import Path

import mt3_reference
import numpy as np
import token_inputs as inputs


def main() -> None:
    arrays = {}
    for name, config in inputs.CONFIGS.items():
        recordings = inputs.recordings(inputs.NUM_GOLDEN)
        spans = inputs.spans(recordings)
        ids = mt3_reference.segment_ids(recordings, spans, config)
        mixes = inputs.mixes(len(ids), inputs.NUM_GOLDEN)
        merged = mt3_reference.merged_ids(recordings, spans, mixes, config)
        for kind, lists in (("segments", ids), ("mixes", merged)):
            arrays[f"{name}/{kind}"] = np.concatenate(lists).astype(np.int16)
            arrays[f"{name}/{kind}_lengths"] = np.array(list(map(len, lists)), np.int16)
        for seed in range(inputs.NUM_GOLDEN):
            segments = inputs.random_segments(seed, config)
            notes, *counts = mt3_reference.decode(segments, config)
            arrays[f"{name}/notes_{seed}"] = np.array(astuple(notes))
            arrays[f"{name}/counts_{seed}"] = np.array(counts)
    np.savez_compressed(Path(__file__).with_name("tokens.npz"), **arrays)


if __name__ == "__main__":
    main()
