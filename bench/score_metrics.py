"""Scores of a notated piece against its print.

Scores after MV2H (McLeod and Steedman 2018), in percent, means over pieces. Notes match
if they have the same pitch and their performed onsets are within 0.25 s:
pitch: F-measure of matches; metre: of the matched notes, how many have their place in
the bar; value: one less the relative error of the written length, at least 0; voice:
F-measure of the links from notes to the next ones of their voice; harmony: the mean of
the key signature (half for one sharp or flat off) and of the names of notes. Mean: of
these five. Voices: how many a bar has, for the reader. Staff: matched notes on their
staff (lieder).
"""

import itertools
from dataclasses import dataclass

import numpy as np

TOLERANCE_S = 0.25


@dataclass
class Printed:
    """N notes of a score.

    Attributes:
      onset, duration, place: quarters; the place counts from the bar line.
      voice: a number for each voice of each staff or part.
      name: place on the line of fifths.
    """

    onset: np.ndarray
    duration: np.ndarray
    pitch: np.ndarray
    place: np.ndarray
    voice: np.ndarray
    staff: np.ndarray
    name: np.ndarray
    fifths: int  # 99: keys and names are not known
    onset_s: np.ndarray | None = None  # as performed

    def __getitem__(self, index: np.ndarray) -> "Printed":
        arrays = (
            getattr(self, n)[index]
            for n in ("onset", "duration", "pitch", "place", "voice", "staff", "name")
        )
        onset_s = None if self.onset_s is None else self.onset_s[index]
        return Printed(*arrays, self.fifths, onset_s)


def compare(ref: Printed, est: Printed, est_s: np.ndarray) -> dict[str, float]:
    """Scores of one piece."""
    pairs = np.array(matches(ref, est, est_s), int).reshape(-1, 2)
    r, e = pairs.T
    metre = np.abs(ref.place[r] - est.place[e]) < 0.02
    length = ref.duration[r]
    value = np.clip(1 - np.abs(est.duration[e] - length) / length, 0, 1)
    links_r = links(ref, dict(zip(r.tolist(), range(len(r)), strict=True)))
    links_e = links(est, dict(zip(e.tolist(), range(len(e)), strict=True)))
    found = {
        "pitch": 2 * len(pairs) / (len(ref.onset) + len(est.onset)),
        "metre": metre.mean() if len(pairs) else 0.0,
        "value": value.mean() if len(pairs) else 0.0,
        "voice": 2 * len(links_r & links_e) / max(len(links_r) + len(links_e), 1),
    }
    if ref.fifths != 99 and len(pairs):
        names = (ref.name[r] == est.name[e]).mean()
        off = abs(ref.fifths - est.fifths) % 12
        key = {0: 1.0, 1: 0.5, 11: 0.5}.get(off, 0.0)
        found["harmony"] = (names + key) / 2
    found["mean"] = float(np.mean(list(found.values())))
    found["voices"] = voices_in_bars(est) / 100
    found["staff"] = float((ref.staff[r] == est.staff[e]).mean()) if len(pairs) else 0.0
    return {name: 100 * float(score) for name, score in found.items()}


def voices_in_bars(printed: Printed) -> float:
    """How many voices there are, mean over the bars."""
    bar = np.round(printed.onset - printed.place, 2)
    counts: dict[float, set[int]] = {}
    for start, voice in zip(bar.tolist(), printed.voice.tolist(), strict=True):
        counts.setdefault(start, set()).add(voice)
    return float(np.mean([len(voices) for voices in counts.values()]))


def matches(ref: Printed, est: Printed, est_s: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of notes: of each pitch in order, where counts differ by the nearest."""
    assert ref.onset_s is not None
    pairs = []
    for pitch in np.unique(ref.pitch):
        ours, theirs = (
            np.flatnonzero(ref.pitch == pitch),
            np.flatnonzero(est.pitch == pitch),
        )
        ours = ours[np.argsort(ref.onset_s[ours])]
        theirs = theirs[np.argsort(est_s[theirs])].tolist()
        for index, note in enumerate(ours.tolist()):
            if not theirs:
                break
            away = [abs(est_s[other] - ref.onset_s[note]) for other in theirs]
            best = int(np.argmin(away))
            in_order = len(theirs) == len(ours) - index
            if in_order:
                best = 0
            if away[best] <= TOLERANCE_S:
                pairs.append((note, theirs[best]))
            if away[best] <= TOLERANCE_S or in_order:
                del theirs[best]
    return pairs


def links(printed: Printed, number: dict[int, int]) -> set[tuple[int, int]]:
    """Links between matched notes that follow each other in a voice."""
    found = set()
    for voice in np.unique(printed.voice):
        members = np.flatnonzero(printed.voice == voice)
        members = [i for i in members.tolist() if i in number]
        chords: dict[float, list[int]] = {}
        for i in members:
            chords.setdefault(round(float(printed.onset[i]), 3), []).append(i)
        onsets = sorted(chords)
        for here, then in itertools.pairwise(onsets):
            found |= {
                (number[i], number[j]) for i in chords[here] for j in chords[then]
            }
    return found
