"""Piano-roll pictures."""

import io
import subprocess
import sys

import numpy as np
import pytest

from mt3x.music.notes import Notes
from mt3x.music.plot import Spectrogram, plot_confusion, plot_notes

PNG = b"\x89PNG\r\n\x1a\n"
NOTES = Notes([0.5, 1.0, 1.5], [1.0, 2.0, 1.8], [60, 64, 108], [20, 80, 127])


def test_writes_a_png_and_keeps_an_existing_one(tmp_path):
    path = tmp_path / "a.png"
    plot_notes(NOTES, path, title="a $ in a name")
    first = path.read_bytes()
    assert first.startswith(PNG)
    with pytest.raises(FileExistsError, match=r"a\.png exists"):
        plot_notes(NOTES[:1], path)
    assert path.read_bytes() == first
    plot_notes(NOTES[:1], path, overwrite=True)
    assert path.read_bytes() != first


def test_writes_to_an_open_file_through_notes():
    file = io.BytesIO()
    NOTES.plot(file)
    assert file.getvalue().startswith(PNG)


def test_bars_show_time_pitch_and_velocity():
    figure = plot_notes(NOTES)
    bars = figure.axes[1].collections[0]
    boxes = [path.get_extents() for path in bars.get_paths()]
    np.testing.assert_allclose([box.x0 for box in boxes], NOTES.onset_s)
    np.testing.assert_allclose([box.x1 for box in boxes], NOTES.offset_s)
    middles = [(box.y0 + box.y1) / 2 for box in boxes]
    np.testing.assert_allclose(middles, NOTES.pitch)
    np.testing.assert_array_equal(bars.get_array(), NOTES.velocity)


def test_the_spectrogram_lies_where_its_pitches_and_frames_are():
    level_db_TxF = np.full((150, 352), -80.0)
    spectrogram = Spectrogram(level_db_TxF, 50.0, 20.5, 4)
    figure = plot_notes(NOTES, spectrogram=spectrogram)
    roll = figure.axes[1]
    left, right, bottom, top = roll.images[0].get_extent()
    np.testing.assert_allclose((left, right), (-0.01, 2.99))
    np.testing.assert_allclose((bottom, top), (20.375, 108.375))
    assert roll.get_xlim() == (0, 3)


@pytest.mark.parametrize(
    ("pitches", "keys"),
    [
        ([60], (60, 83)),
        ([59, 60], (48, 71)),
        ([21], (21, 35)),
        ([108], (96, 108)),
        ([21, 108], (21, 108)),
        ([5, 120], (5, 120)),
        ([], (21, 108)),
    ],
)
def test_octaves_without_notes_are_left_out(pitches, keys):
    notes = Notes([0] * len(pitches), [1] * len(pitches), pitches)
    figure = plot_notes(notes)
    assert figure.axes[1].get_ylim() == (keys[0] - 0.5, keys[1] + 0.5)
    assert figure.get_size_inches()[1] == 7 * max((keys[1] - keys[0] + 1) / 88, 0.5)


def test_a_light_picture_for_print(tmp_path):
    spectrogram = Spectrogram(np.full((150, 352), -80.0), 50.0, 20.5, 4)
    faces = []
    for theme in ("dark", "light"):
        figure = plot_notes(NOTES, spectrogram=spectrogram, theme=theme)
        faces.append(figure.axes[1].get_facecolor()[:3])
    assert faces == [(0, 0, 0), (1, 1, 1)]
    with pytest.raises(ValueError, match="'blue': give one of dark, light"):
        plot_notes(NOTES, theme="blue")


def test_svg_by_its_ending_or_by_its_name(tmp_path):
    plot_notes(NOTES, tmp_path / "a.SVG")
    plot_notes(NOTES, tmp_path / "b.x", form="svg")
    for name in ("a.SVG", "b.x"):
        assert b"<svg" in (tmp_path / name).read_bytes()[:1000]
    with pytest.raises(ValueError, match="'pdf': give one of png, svg"):
        plot_notes(NOTES, tmp_path / "c.pdf", form="pdf")


def test_instruments_have_colours_and_a_legend():
    notes = Notes(
        [0, 0.5, 1, 1.5],
        [1, 1.5, 2, 2],
        [60, 36, 64, 38],
        program=[40, 0, 33, 0],
        is_drum=[False, True, False, True],
    )
    figure = plot_notes(notes)
    roll = figure.axes[1]
    names = [text.get_text() for text in roll.get_legend().get_texts()]
    assert names == ["Drums", "Electric Bass (finger)", "Violin"]
    assert len(figure.axes) == 2  # no bar of velocities
    (hits,) = (line for line in roll.lines if line.get_marker() == "x")
    np.testing.assert_array_equal(hits.get_xydata(), [[0.5, 36], [1.5, 38]])
    bass, violin = (c for c in roll.collections if c.get_paths()[0].codes is not None)
    assert bass.get_paths()[0].get_extents().x0 == 1
    assert not np.array_equal(bass.get_facecolor(), violin.get_facecolor())
    legend = plot_notes(notes, names={40: "Fiddler"}).axes[1].get_legend()
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["Drums", "Electric Bass (finger)", "Fiddler"]


def test_many_instruments_share_no_colour_with_their_neighbours():
    programs = np.arange(30)
    figure = plot_notes(Notes(programs, programs + 1, programs + 40, program=programs))
    handles = figure.axes[1].get_legend().legend_handles
    colors = [handle.get_color() for handle in handles]
    assert len(colors) == 30
    assert len(set(colors[:18])) == 18


@pytest.mark.parametrize("num_frames", [0, 1])
def test_nothing_to_draw(num_frames):
    spectrogram = Spectrogram(np.zeros((num_frames, 352)), 50.0, 20.5, 4)
    for background in (None, spectrogram):
        file = io.BytesIO()
        plot_notes(Notes.empty(), file, background)
        assert file.getvalue().startswith(PNG)


def test_long_recordings_show_minutes():
    figure = plot_notes(Notes([0.0], [600.0], [60]))
    assert figure.get_size_inches()[0] == 40
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[1].get_xticklabels()]
    assert "5:00" in labels


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(ModuleNotFoundError, match=r"mt3x\[plot\]"):
        plot_notes(NOTES, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_importing_the_module_loads_no_matplotlib():
    code = "import sys, mt3x.music.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_confusion_shows_counts_shaded_by_shares_of_rows(tmp_path):
    """Piano: 3 right, 1 missed; violin: none; 2 invented notes of violins."""
    counts = np.array([[3, 0, 1], [0, 0, 0], [0, 2, 0]])
    figure = plot_confusion(["piano", "violin"], counts, title="a $ in a name")
    (axes,) = figure.axes
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares, [[0.75, 0, 0.25], [0, 0, 0], [0, 1, 0]])
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "3", (2, 0): "1", (1, 2): "2"}
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "piano",
        "violin",
        "missed",
    ]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "piano",
        "violin",
        "extra",
    ]
    assert plot_confusion(["piano", "violin"], counts, tmp_path / "c.png") is None
    assert (tmp_path / "c.png").read_bytes().startswith(PNG)


def test_confusion_of_nothing_is_drawn():
    assert plot_confusion([], np.zeros((1, 1), int)).axes
