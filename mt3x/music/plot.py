"""Pictures of notes, and of instruments that are taken for one another.

Notes are a piano roll, over the recording's spectrogram where given. matplotlib is
imported when a picture is drawn: it is an extra, `mt3x[plot]`.
"""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np

from mt3x.files import write_whole
from mt3x.music.instruments import PROGRAM_NAMES
from mt3x.music.pitches import pitch_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mt3x.music.notes import Notes

LOWEST_KEY, HIGHEST_KEY = 21, 108
BLACK_KEYS = (1, 3, 6, 8, 10)
DOTS_PER_INCH = 120
# Inches; 90 s and more get the widest picture.
INCHES_PER_SECOND, NARROWEST, WIDEST, HEIGHT = 0.45, 9.0, 40.0, 7.0
# Of the height, for few octaves.
LEAST_HEIGHT = 0.5
INCHES_PER_CLASS = 0.35
FORMS = ("png", "svg")
THEMES = {"dark": "gray", "light": "gray_r"}
"""Themes, and the colours of their spectrograms."""
# The part of the spectrogram's levels that is drawn, below its maximum.
RANGE_DB = 70.0


@dataclass(frozen=True)
class Spectrogram:
    """Levels in dB on a frequency axis that is even in pitch, as a CQT's."""

    level_db_TxF: np.ndarray
    # Frames per second; frame t is centred on t / frame_rate_hz.
    frame_rate_hz: float
    # MIDI pitch of bin 0 (need not be whole).
    lowest_pitch: float
    bins_per_semitone: float


def plot_notes(
    notes: "Notes",
    path: str | os.PathLike[str] | IO[bytes] | None = None,
    spectrogram: Spectrogram | None = None,
    title: str | None = None,
    overwrite: bool = False,
    names: Mapping[int, str] | None = None,
    theme: str = "dark",
    form: str | None = None,
) -> "Figure | None":
    """Draw notes over piano keys, coloured by instrument; those of one, by velocity.

    Drawn are the octaves that have notes, two at least. Drum hits are crosses at their
    General MIDI key.

    Args:
      notes: notes in seconds.
      path: the picture to write, or a binary file to write it to; without it the
        figure is returned.
      spectrogram: of the recording, as the background.
      title: a line above the picture.
      overwrite: replace an existing file.
      names: of instruments, by program; by default General MIDI's.
      theme: `dark` or, for print, `light`: how the spectrogram is drawn.
      form: `png` or `svg`; by default what the path ends in.

    Raises:
      ValueError: there is no such theme or form.
      ModuleNotFoundError: matplotlib is missing; the message names the extra.
    """
    if theme not in THEMES:
        raise ValueError(f"theme is {theme!r}: give one of {', '.join(THEMES)}")
    end_s = float(notes.offset_s.max(initial=0.0))
    if spectrogram is not None:
        num_frames = len(spectrogram.level_db_TxF)
        end_s = max(end_s, num_frames / spectrogram.frame_rate_hz)
    end_s = end_s or 1.0  # an axis needs a length
    width = float(np.clip(2 + INCHES_PER_SECOND * end_s, NARROWEST, WIDEST))
    lowest, highest = _octaves(notes)
    share = (highest + 1 - lowest) / (HIGHEST_KEY + 1 - LOWEST_KEY)
    figure = _figure(width, HEIGHT * max(share, LEAST_HEIGHT))
    keys, roll = figure.subplots(
        1,
        2,
        sharey=True,
        gridspec_kw={"width_ratios": [0.3, width]},
    )
    _draw_keyboard(keys)
    if spectrogram is None or not spectrogram.level_db_TxF.size:
        _draw_rows(roll)
    else:
        _draw_spectrogram(roll, spectrogram, theme)
    instruments = _by_instrument(notes, names or {})
    on_dark = spectrogram is not None and theme == "dark"
    if len(instruments) > 1 or notes.is_drum.any():
        _draw_instruments(roll, instruments, on_dark)
    else:
        bars = _draw_bars(roll, notes, on_dark)
        bars.set(array=notes.velocity, cmap="plasma" if on_dark else "plasma_r")
        bars.set_clim(1, 127)
        figure.colorbar(bars, ax=roll, label="velocity", pad=0.01, fraction=0.3 / width)
    roll.set_xlim(0, end_s)
    roll.set_ylim(lowest - 0.5, highest + 0.5)
    roll.set_xlabel("time in s" if end_s < 120 else "time in min:s")
    if end_s >= 120:
        roll.xaxis.set_major_formatter(lambda s, _: f"{int(s // 60)}:{int(s % 60):02}")
    roll.locator_params(axis="x", nbins=max(int(width), 4), steps=[1, 2, 3, 5, 6, 10])
    roll.tick_params(axis="y", left=False, labelleft=False)
    if title:
        # Only as text: a name with a $ in it is not a formula.
        roll.set_title(title, loc="left", parse_math=False)
    return _delivered(figure, path, overwrite, form)


def _octaves(notes: "Notes") -> tuple[int, int]:
    """Return the first and last key of the octaves, from C to B, that have notes."""
    if not len(notes):
        return LOWEST_KEY, HIGHEST_KEY
    lowest = int(notes.pitch.min()) // 12 * 12
    highest = int(notes.pitch.max()) // 12 * 12 + 11
    if highest - lowest < 12:
        lowest, highest = (
            (lowest, highest + 12) if lowest < 96 else (lowest - 12, highest)
        )
    # The piano's first octave begins with A and its last one ends with C.
    lowest = max(lowest, min(LOWEST_KEY, int(notes.pitch.min())))
    return lowest, min(highest, max(HIGHEST_KEY, int(notes.pitch.max())))


def plot_confusion(
    names: list[str],
    counts: np.ndarray,
    path: str | os.PathLike[str] | IO[bytes] | None = None,
    title: str | None = None,
    overwrite: bool = False,
) -> "Figure | None":
    """Draw how many notes of each class are written as each, shaded by shares of a row.

    Args:
      names: of the classes.
      counts: whole numbers [classes + 1, classes + 1]; the last row are notes that are
        in the estimate alone, the last column those that it has missed.
      path: the PNG to write, or a binary file to write it to; without it the figure
        is returned.
      title: a line above the picture.
      overwrite: replace an existing file.

    Raises:
      ModuleNotFoundError: matplotlib is missing; the message names the extra.
    """
    size = len(names) + 1
    side = 3.5 + INCHES_PER_CLASS * size
    figure = _figure(side, side)
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            fontsize="small",
            color="white" if share[row, column] > 0.6 else "black",
        )
    axes.set_xticks(range(size), [*names, "missed"], rotation=90)
    axes.set_yticks(range(size), [*names, "extra"])
    axes.set_xlabel("written as")
    axes.set_ylabel("played by")
    for middle in (axes.axhline, axes.axvline):
        middle(size - 1.5, color="0.3", linewidth=0.8)
    axes.set_xticks(np.arange(size - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(size - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    if title:
        axes.set_title(title, loc="left", parse_math=False)
    return _delivered(figure, path, overwrite)


def _figure(width: float, height: float) -> "Figure":
    """Return an empty figure of so many inches."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "pictures need matplotlib: pip install 'mt3x[plot]'"
        ) from error

    layout = ConstrainedLayoutEngine(w_pad=0.01, wspace=0.0)
    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def _delivered(
    figure: "Figure",
    path: str | os.PathLike[str] | IO[bytes] | None,
    overwrite: bool,
    form: str | None = None,
) -> "Figure | None":
    """Write a figure, as PNG unless told or named otherwise, or return it."""
    if path is None:
        return figure
    is_path = isinstance(path, str | os.PathLike)
    if form is None:
        is_svg = is_path and os.fspath(path).lower().endswith(".svg")
        form = "svg" if is_svg else "png"
    if form not in FORMS:
        raise ValueError(f"form is {form!r}: give one of {', '.join(FORMS)}")
    if is_path:
        with write_whole(path, overwrite) as file:
            figure.savefig(file, format=form)
    else:
        figure.savefig(path, format=form)
    return None


def _draw_keyboard(axes: "Axes") -> None:
    all_keys = np.arange(LOWEST_KEY, HIGHEST_KEY + 1)
    black = np.isin(all_keys % 12, BLACK_KEYS)
    axes.set_facecolor("white")
    axes.barh(all_keys[black], 0.62, height=0.9, color="0.1", zorder=2)
    # White keys meet between E and F and B and C, and under the black ones.
    seams = np.concatenate([all_keys[black], all_keys[all_keys % 12 == 5] - 0.5])
    axes.hlines(seams, 0, 1, color="0.6", linewidth=0.5)
    octaves = all_keys[all_keys % 12 == 0]
    axes.hlines(octaves - 0.5, 0, 1, color="0.3", linewidth=0.8)
    axes.set_yticks([LOWEST_KEY, *octaves], map(pitch_name, [LOWEST_KEY, *octaves]))
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, 1)
    axes.set_xticks([])


def _draw_rows(axes: "Axes") -> None:
    """Draw lines as on a keyboard, where there is no spectrogram."""
    for key in range(LOWEST_KEY, HIGHEST_KEY + 1):
        if key % 12 in BLACK_KEYS:
            axes.axhspan(key - 0.5, key + 0.5, color="0.95", linewidth=0, zorder=0)
        if key % 12 == 0:
            axes.axhline(key - 0.5, color="0.8", linewidth=0.8, zorder=0)
    axes.grid(axis="x", color="0.9", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)


def _draw_spectrogram(axes: "Axes", spectrogram: Spectrogram, theme: str) -> None:
    level_db_TxF = spectrogram.level_db_TxF
    num_frames, num_bins = level_db_TxF.shape
    rate, step = spectrogram.frame_rate_hz, 1 / spectrogram.bins_per_semitone
    bottom = spectrogram.lowest_pitch - step / 2
    highest_db = float(level_db_TxF.max())
    axes.imshow(
        level_db_TxF.T,
        cmap=THEMES[theme],
        vmin=highest_db - RANGE_DB,
        # Never white, or black, for the notes to stand out.
        vmax=highest_db + 0.3 * RANGE_DB,
        extent=(
            -0.5 / rate,
            (num_frames - 0.5) / rate,
            bottom,
            bottom + num_bins * step,
        ),
        origin="lower",
        aspect="auto",
        interpolation="antialiased",
        zorder=0,
    )
    axes.set_facecolor("black" if theme == "dark" else "white")


def _by_instrument(notes: "Notes", own_names: Mapping[int, str]) -> "dict[str, Notes]":
    """Return the notes of each program and the drums by name, the busiest first."""
    key_N = np.where(notes.is_drum, len(PROGRAM_NAMES), notes.program)
    keys, counts = np.unique(key_N, return_counts=True)
    names = {**dict(enumerate((*PROGRAM_NAMES, "Drums"))), **own_names}
    return {names[k]: notes[key_N == k] for k in keys[np.argsort(-counts)]}


def _draw_instruments(
    axes: "Axes", instruments: "dict[str, Notes]", on_dark: bool
) -> None:
    """Give each instrument a colour, and a legend that names them."""
    from matplotlib import colormaps
    from matplotlib.lines import Line2D

    # Nine strong colours and then nine pale ones: all but the greys.
    tab20 = colormaps["tab20"].colors  # pyright: ignore[reportAttributeAccessIssue]
    ungrey = [*tab20[:14], *tab20[16:]]
    palette = itertools.cycle([*ungrey[::2], *ungrey[1::2]])
    handles = []
    for notes in instruments.values():
        if notes.is_drum.any():
            color = "white" if on_dark else "0.3"
            axes.plot(
                notes.onset_s, notes.pitch, "x", color=color, markersize=4, zorder=3
            )
            handles.append(Line2D([], [], color=color, marker="x", linestyle=""))
        else:
            color = next(palette)
            _draw_bars(axes, notes, on_dark).set_color(color)
            handles.append(Line2D([], [], color=color, linewidth=6))
    axes.legend(
        handles,
        list(instruments),
        loc="upper left",
        bbox_to_anchor=(1.0, 1.0),
        fontsize="small",
        facecolor="0.3" if on_dark else "white",
        labelcolor="white" if on_dark else "black",
    )


def _draw_bars(axes: "Axes", notes: "Notes", on_dark: bool):
    from matplotlib.collections import PolyCollection

    left, right = notes.onset_s, notes.offset_s
    low, high = notes.pitch - 0.4, notes.pitch + 0.4
    corners_Nx4x2 = np.stack(
        [
            np.stack([left, low], axis=1),
            np.stack([left, high], axis=1),
            np.stack([right, high], axis=1),
            np.stack([right, low], axis=1),
        ],
        axis=1,
    )
    bars = PolyCollection(
        list(corners_Nx4x2),
        alpha=0.7 if on_dark else 1.0,
        linewidths=0.0,
        zorder=3,
    )
    axes.add_collection(bars)
    # A bright line marks the onset, so that repeated notes can be told apart.
    axes.vlines(
        left, low, high, color="white" if on_dark else "black", linewidth=0.9, zorder=4
    )
    return bars
