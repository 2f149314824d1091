"""The scores of a set of pieces as JSON and CSV, and read back.

Both have the scores of each piece and their mean, by the same names: those of
`mt3x.music.metrics` as `note_f1` (in JSON `note`, `f1`), those of
`mt3x.music.instrument_metrics` as MT3 has them. The integrated score comes with its
counts of cells, and a second time for all pieces together (`pooled`). So do the scores
of `mt3x.music.band_metrics`: as `band_note_class_f1`, by class as
`band_classes_piano_f1`, and the confusion matrix in JSON alone.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mt3x.evaluation.transcriptions import (
    EvaluationConfig,
    FailedPiece,
    Pairing,
    PieceResult,
)
from mt3x.music.band_metrics import (
    BandScores,
    Counts,
    mean_band_scores,
    pooled_band_scores,
)
from mt3x.music.instrument_metrics import mean_instrument_scores
from mt3x.music.metrics import (
    Cells,
    PrecisionRecallF1,
    mean_scores,
    mean_triples,
    pooled,
)

__all__ = [
    "is_scores",
    "mean_of_bands",
    "mean_of_instruments",
    "mean_of_integrated",
    "pooled_bands",
    "pooled_cells",
    "read_mean",
    "to_csv",
    "to_json",
]

CONFUSION = "confusion"

Groups = dict[str, dict[str, Any]]
"""Scores by name, as `{"note": {"precision": ...}, ...}`, some one level deeper."""


def to_json(
    results: Sequence[PieceResult],
    failed: Sequence[FailedPiece],
    pairing: Pairing,
    config: EvaluationConfig,
) -> str:
    """Return everything as JSON: config, means, pieces, failed, files alone."""
    options = asdict(config)
    if math.isinf(config.end_s):
        options["end_s"] = None  # JSON has no infinity
    together = _pooled(results)
    document = {
        "config": options,
        "mean": _mean(results) if results else None,
        **({"pooled": together} if together else {}),
        "pieces": [
            {
                "name": result.name,
                "num_ref": result.num_ref,
                "num_est": result.num_est,
                "shift_s": result.shift_s,
                **_of_piece(result),
                "remarks": list(result.remarks),
            }
            for result in results
        ],
        "failed": [asdict(piece) for piece in failed],
        "references_without_estimate": [str(path) for path in pairing.ref_alone],
        "estimates_without_reference": [str(path) for path in pairing.est_alone],
    }
    return json.dumps(document, indent=2) + "\n"


def to_csv(results: Sequence[PieceResult]) -> str:
    """Return CSV: a line per piece, with 6 decimals, and one named `mean` at the end.

    With the integrated score or those of bands there is another, `pooled`.
    """
    rows: list[dict[str, Any]] = [
        {
            "name": result.name,
            "num_ref": result.num_ref,
            "num_est": result.num_est,
            "shift_s": _cell(result.shift_s),
            **_cells(_of_piece(result)),
        }
        for result in results
    ]
    if results:
        rows.append({"name": "mean", **_cells(_mean(results))})
    if together := _pooled(results):
        rows.append({"name": "pooled", **_cells(together)})
    head = ["name", "num_ref", "num_est", "shift_s"]
    columns = dict.fromkeys([*head, *(name for row in rows for name in row)])
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def is_scores(path: str | Path) -> bool:
    """Return whether a file is one that `to_json` makes."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(document, dict) and {"mean", "pieces"} <= document.keys()


def read_mean(path: str | Path) -> dict[str, float]:
    """Return the mean of a JSON file of scores, by the names that its CSV has.

    What is pooled is there as `pooled_integrated_f1` and so on.

    Raises:
      ValueError: it is not such a file, or no piece was scored.
      OSError: it cannot be read.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        means = {**document["mean"]}
        groups = document.get("pooled", {})
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: no scores; give what `mt3x evaluate --json` or `mt3x eval` wrote "
            "of at least one piece"
        ) from error
    means |= {f"pooled_{name}": numbers for name, numbers in groups.items()}
    return _flat(means)


def mean_of_instruments(results: Sequence[PieceResult]) -> dict[str, float] | None:
    """Return the mean of the scores of instruments; None where there are none."""
    scores = [result.instruments for result in results]
    if not all(scores):
        return None
    return mean_instrument_scores([piece for piece in scores if piece])


def mean_of_integrated(results: Sequence[PieceResult]) -> PrecisionRecallF1 | None:
    """Return the mean of the integrated scores; None where there are none."""
    cells = _all_cells(results)
    return mean_triples([piece.score for piece in cells]) if cells else None


def pooled_cells(results: Sequence[PieceResult]) -> Cells | None:
    """Return the cells of all pieces; None where they have none."""
    cells = _all_cells(results)
    return pooled(cells) if cells else None


def mean_of_bands(
    results: Sequence[PieceResult],
) -> dict[str, PrecisionRecallF1] | None:
    """Return the mean of the scores of bands; None where a piece has none."""
    pieces = _all_bands(results)
    return mean_band_scores(pieces) if pieces else None


def pooled_bands(results: Sequence[PieceResult]) -> BandScores | None:
    """Return the scores of bands of all pieces together; None where one has none."""
    pieces = _all_bands(results)
    return pooled_band_scores(pieces) if pieces else None


def _all_bands(results: Sequence[PieceResult]) -> list[BandScores]:
    bands = [result.band for result in results if result.band is not None]
    return bands if len(bands) == len(results) else []


def _all_cells(results: Sequence[PieceResult]) -> list[Cells]:
    """Return the cells of each piece, or none where a piece has none."""
    cells = [result.integrated for result in results if result.integrated is not None]
    return cells if len(cells) == len(results) else []


def _of_piece(result: PieceResult) -> Groups:
    groups: Groups = {**result.scores.to_dict()}
    if result.instruments:
        groups["instruments"] = result.instruments
    if result.integrated is not None:
        groups["integrated"] = _with_counts(result.integrated)
    if result.band is not None:
        groups["band"] = _of_band(result.band)
    return groups


def _mean(results: Sequence[PieceResult]) -> Groups:
    groups: Groups = {**mean_scores([result.scores for result in results]).to_dict()}
    if instruments := mean_of_instruments(results):
        groups["instruments"] = instruments
    if integrated := mean_of_integrated(results):
        groups["integrated"] = dict(vars(integrated))
    if bands := mean_of_bands(results):
        groups["band"] = {name: dict(vars(score)) for name, score in bands.items()}
    return groups


def _pooled(results: Sequence[PieceResult]) -> Groups:
    groups: Groups = {}
    if cells := pooled_cells(results):
        groups["integrated"] = _with_counts(cells)
    if band := pooled_bands(results):
        groups["band"] = _of_band(band)
    return groups


def _of_band(band: BandScores) -> dict[str, Any]:
    def numbers(counts: Mapping[str, Counts]) -> dict[str, dict[str, float]]:
        return {name: {**vars(c.score), **vars(c)} for name, c in counts.items()}

    return {
        **numbers(band.totals),
        "classes": numbers(band.classes),
        "families": numbers(band.families),
        "drum_classes": numbers(band.drum_classes),
        CONFUSION: band.confusion,
        "num_drums_left_out": {
            "ref": band.num_ref_left_out,
            "est": band.num_est_left_out,
        },
    }


def _with_counts(cells: Cells) -> dict[str, float]:
    return {**vars(cells.score), **vars(cells)}


def _flat(groups: Mapping[str, Any]) -> dict[str, float]:
    """Return numbers by the names of what they are in, joined; no confusion matrix."""
    flat = {}
    for group, value in groups.items():
        if not isinstance(value, Mapping):
            flat[group] = value
        elif group != CONFUSION:
            prefix = "" if group == "instruments" else f"{group}_"
            flat |= {f"{prefix}{name}": number for name, number in _flat(value).items()}
    return flat


def _cells(groups: Groups) -> dict[str, str]:
    return {name: _cell(number) for name, number in _flat(groups).items()}


def _cell(value: float | None) -> str:
    if value is None or isinstance(value, int):
        return "" if value is None else str(value)
    return f"{value:.6f}"
