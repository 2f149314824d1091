"""Makes scores.json: MT3's scores of the pieces of `score_inputs.py`.

    PYTHONPATH=. python tests/golden/make_scores.py

needs what `mt3_reference.py` needs. The tolerance sweep is that of the notes as they
are, before MT3's frame scores lengthen them.
"""

import json
from pathlib import Path

import mt3_reference
import score_inputs as inputs


def main() -> None:
    pieces = []
    for seed in range(inputs.NUM_GOLDEN):
        ref, est = inputs.piece(seed)
        scores = mt3_reference.scores(ref, est)
        pieces.append(scores | mt3_reference.tolerance_sweep(ref, est))
    names = list(pieces[0])
    rows = [[round(scores[name], 9) for name in names] for scores in pieces]
    text = json.dumps({"names": names, "pieces": rows}, indent=1)
    Path(__file__).with_name("scores.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
