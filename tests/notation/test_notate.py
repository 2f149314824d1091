"""Notes become scores, and files that others read."""

import base64
import re
import warnings
import xml.etree.ElementTree as ET
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt3x.music.beats import Beats, read_meter
from mt3x.music.notes import Notes
from mt3x.notation.notate import notate

DATA = Path(__file__).parent.parent / "data"
BEATS = Beats.from_bpm(120, 0, 20)


def symbols(score):
    """Of each part, staff, voice and bar: the bar and its symbols."""
    for part in score.parts:
        for staff in part.staves:
            for voice in staff.voices:
                assert len(voice) == len(score.bars)
                yield from zip(score.bars, voice, strict=True)


def written_notes(score):
    """How many notes there are, ties counted once."""
    return sum(
        len(symbol.chord.notes)
        for _, found in symbols(score)
        for symbol in found
        if symbol.chord and not symbol.is_continued
    ) + sum(len(g) for part in score.parts for g in part.graces.values())


def prelude():
    """The printed piece: notes, and the beats at which they were played."""
    notes = Notes.from_midi(DATA / "prelude.mid")
    beat_s = np.append(notes.onset_s[:64:4], notes.onset_s[64])
    return notes, Beats(beat_s, np.arange(17) % 4 + 1, 4)


def test_the_prelude_is_written_as_it_is_printed():
    score = notate(*prelude())
    assert [(b.numerator, b.denominator) for b in score.bars] == [(4, 4)] * 5
    assert score.key == (0, "major")
    assert 68 <= score.bpm <= 70
    (part,) = score.parts
    right, left = part.staves
    assert (right.clef, left.clef) == ("treble", "bass")
    for number in range(4):
        above = [s.type for s in right.voices[0][number] if s.chord]
        assert above == ["16th"] * 12
        upper, lower = (voice[number] for voice in left.voices)
        assert [(s.type, s.duration) for s in lower] == [("half", 48)] * 2
        assert [s.tick % 48 for s in upper if s.chord and not s.is_continued] == [6, 6]
    last = [voice[4] for staff in part.staves for voice in staff.voices if voice[4]]
    assert [[s.type for s in voice] for voice in last] == [["whole"]] * 2


notes_lists = st.lists(
    st.tuples(
        st.floats(0, 12), st.floats(0.01, 4), st.integers(24, 100), st.integers(1, 127)
    ),
    min_size=1,
    max_size=40,
)


@settings(deadline=None, max_examples=40)
@given(
    notes_lists,
    st.sampled_from(["4/4", "3/4", "6/8", "7/8", "2/2", "5/4", "3/8"]),
    st.sampled_from([[0], [0, 40], [33, 73]]),
)
def test_every_voice_fills_every_bar_and_no_note_is_lost(rows, meter, programs):
    onset_s, length_s, pitch, velocity = np.array(rows).T
    program = np.resize(programs, len(rows))
    is_drum = np.arange(len(rows)) % 7 == 6
    notes = Notes(onset_s, onset_s + length_s, pitch, velocity, program, is_drum)
    per_bar, unit, is_dotted = read_meter(meter)
    score = notate(notes, Beats.from_bpm(100, 0, 12, per_bar, unit, is_dotted))
    for bar, found in symbols(score):
        assert not found or sum(symbol.duration for symbol in found) == bar.length
        assert all(symbol.duration > 0 for symbol in found)
    trilled = any(part.trills for part in score.parts)
    assert written_notes(score) == sum(len(part.pitch) for part in score.parts)
    if trilled:
        return
    # Strokes of one key on one tick are one note.
    assert len(set(notes.pitch)) <= written_notes(score) <= len(notes)
    if np.diff(notes.onset_s).min(initial=1) > 0.2:
        assert written_notes(score) == len(notes)


def test_names_of_notes_are_their_pitches():
    notes = Notes(np.arange(88) * 0.2, np.arange(88) * 0.2 + 0.2, np.arange(21, 109))
    (part,) = notate(notes, BEATS).parts
    semitones = dict(zip("CDEFGAB", (0, 2, 4, 5, 7, 9, 11), strict=True))
    for pitch, name in zip(part.pitch, part.names, strict=True):
        step, alter, octave = name
        assert 12 * (octave + 1) + semitones[step] + alter == pitch


def test_flats_and_sharps_follow_the_key():
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12, 11, 9, 7, 5, 4, 2, 0, 0])
    onset_s = np.arange(len(scale)) * 0.5
    score = notate(Notes(onset_s, onset_s + 0.5, 63 + scale), BEATS)
    assert score.key.name == "E flat major"
    assert {name.alter for name in score.parts[0].names} <= {0, -1}


def test_a_grace_note_is_one():
    onset_s = np.array([0, 0.5, 0.945, 1.0, 1.5])
    offset_s = np.array([0.45, 0.9, 0.99, 1.45, 1.95])
    notes = Notes(onset_s, offset_s, [60, 64, 69, 67, 72])
    (part,) = notate(notes, BEATS).parts
    assert part.graces == {3: [2]}


def test_a_trill_is_one_note_with_a_mark():
    onset_s = np.append(np.arange(12) / 12, 1.0)
    notes = Notes(onset_s, onset_s + 0.08, [72, 74] * 6 + [72])
    score = notate(notes, BEATS)
    (part,) = score.parts
    assert len(part.pitch) <= 2 and len(part.trills) == 1
    assert b"<trill-mark" in score.to_musicxml()


def test_loud_and_soft_are_marked():
    onset_s = np.arange(64) * 0.5
    notes = Notes(onset_s, onset_s + 0.4, [60] * 64, [40] * 32 + [100] * 32)
    (part,) = notate(notes, BEATS).parts
    assert part.dynamics == [(0, "p"), (32 * 24, "ff")]


def test_the_pedal_is_marked_where_it_is_known():
    notes, beats = prelude()
    pedal_s = [[0.5, 2.1], [2.2, 3.8]]
    score = notate(notes, beats, pedal_s=pedal_s)
    assert score.parts[0].pedal.shape == (2, 2)
    assert score.to_musicxml().count(b"<pedal ") == 4


def test_a_band_has_a_part_for_each_instrument():
    onset_s = np.arange(8) * 0.5
    columns = [onset_s, onset_s + 0.4]
    band = Notes.concatenate(
        [
            Notes(*columns, [36, 42] * 4, is_drum=[True] * 8),
            Notes(*columns, [40] * 8, program=[33] * 8),
            Notes(*columns, [64] * 8, program=[0] * 8),
            Notes(*columns, [60] * 8, program=[41] * 8),
        ]
    )
    score = notate(band, BEATS, names={33: "Bass"})
    names = [(part.name, [s.clef for s in part.staves]) for part in score.parts]
    assert names == [
        ("Acoustic Grand Piano", ["treble", "bass"]),
        ("Viola", ["alto"]),
        ("Bass", ["bass8"]),
        ("Drums", ["percussion"]),
    ]
    data = score.to_musicxml()
    assert data.count(b"<unpitched>") == 8 == data.count(b"<stem>up")


def test_hits_of_drums_are_one_value_each():
    tick = np.array([0, 21, 24, 60, 64, 68, 96, 150, 192, 205, 222])
    onset_s = tick / 24 * 0.5
    pitch = np.full(len(tick), 38)
    notes = Notes(onset_s, onset_s + 0.1, pitch, is_drum=[True] * len(tick))
    (part,) = notate(notes, BEATS).parts
    hits = [
        symbol
        for bar in part.staves[0].voices[0]
        for symbol in bar
        if symbol.chord is not None
    ]
    assert len(hits) == len(tick)
    assert not any(symbol.continues or symbol.is_continued for symbol in hits)


@pytest.mark.parametrize(
    ("program", "pitch", "clef"),
    [(65, 56, "treble"), (71, 55, "treble"), (70, 62, "bass"), (70, 70, "treble")],
)
def test_winds_have_their_usual_clefs(program, pitch, clef):
    onset_s = np.arange(8) * 0.5
    notes = Notes(onset_s, onset_s + 0.5, np.full(8, pitch), program=[program] * 8)
    (part,) = notate(notes, BEATS).parts
    assert [staff.clef for staff in part.staves] == [clef]


def test_parts_are_in_the_order_of_scores():
    program = np.array([0, 32, 40, 65, 70, 71, 73, 127, 0])
    onset_s = np.arange(9) * 0.5
    is_drum = np.arange(9) == 8
    notes = Notes(onset_s, onset_s + 0.5, [60] * 9, program=program, is_drum=is_drum)
    parts = notate(notes, BEATS).parts
    assert [part.program for part in parts] == [73, 71, 65, 70, 0, 40, 127, 32, 0]
    assert [part.is_drum for part in parts] == [False] * 8 + [True]


@pytest.mark.parametrize("drum", [False, True])
def test_one_note_is_a_bar(drum):
    score = notate(Notes([1.0], [1.5], [60], is_drum=[drum]), BEATS)
    assert len(score.bars) == 1 and written_notes(score) == 1


def test_no_notes_are_no_score():
    with pytest.raises(ValueError, match="no notes"):
        notate(Notes.empty(), BEATS)


def busy():
    """Notes with much that can be written: triplets, voices, graces, drums."""
    rng = np.random.default_rng(1)
    onset_s = np.sort(rng.uniform(0, 16, 150))
    return Notes(
        onset_s,
        onset_s + rng.exponential(0.4, 150),
        rng.integers(36, 90, 150),
        rng.integers(30, 120, 150),
        rng.choice([0, 40], 150),
        rng.random(150) < 0.15,
    )


@pytest.mark.parametrize("meter", ["4/4", "6/8", "7/8"])
def test_musicxml_is_valid(meter, tmp_path):
    from partitura.io.importmusicxml import validate_musicxml

    per_bar, unit, is_dotted = read_meter(meter)
    beats = Beats.from_bpm(90, 0, 16, per_bar, unit, is_dotted)
    path = tmp_path / "a.musicxml"
    notate(busy(), beats, title="A <b> & \0", pedal_s=[[0, 3], [3, 5]]).to_musicxml(
        path
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        validate_musicxml(str(path), debug=True)


def test_partitura_and_music21_read_the_notes_back(tmp_path):
    import music21
    import partitura

    notes = busy()[~busy().is_drum]
    score = notate(notes, BEATS)
    path = tmp_path / "a.musicxml"
    score.to_musicxml(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = partitura.load_score(str(path)).parts
        stream = music21.converter.parse(path, forceSource=True)
    expected = sorted(p for part in score.parts for p in part.pitch.tolist())
    assert sorted(n.midi_pitch for part in parts for n in part.notes_tied) == expected
    found = [
        note.pitch.midi
        for element in stream.recurse().notes
        for note in (element.notes if element.isChord else [element])
        if note.tie is None or note.tie.type == "start"
    ]
    assert sorted(found) == expected
    for part in stream.parts:
        for measure in part.getElementsByClass("Measure"):
            bar = measure.barDuration.quarterLength
            assert measure.duration.quarterLength == pytest.approx(bar)


def test_accidentals_are_written_where_the_bar_and_the_key_do_not_tell():
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    pitch = 67 + np.concatenate([scale, scale[::-1], [4, 1, 1, 0], [1, 0, 0, 0]])
    onset_s = np.arange(len(pitch)) * 0.5
    data = notate(Notes(onset_s, onset_s + 0.5, pitch), BEATS).to_musicxml().decode()
    bars = [re.findall("<accidental>(.*?)<", bar) for bar in data.split("<measure")[1:]]
    assert bars == [[], [], [], [], ["flat"], ["flat"]]


def test_threads_draw_the_same_score():
    notes = Notes([0.0, 0.5], [0.4, 0.9], [60, 64])
    score = notate(notes, Beats.from_bpm(120, 0, 2))
    with ThreadPoolExecutor(1) as thread:
        found = thread.submit(score.to_svg).result()
    assert found == score.to_svg()


def test_pictures_and_pages(tmp_path):
    notes, beats = prelude()
    score = notate(notes, beats, title="Prelude")
    svg = score.to_svg(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes() == svg == score.to_svg()
    root = ET.fromstring(svg)
    assert b"Prelude" in svg and float(root.get("height").removesuffix("px")) < 900
    pdf = score.to_pdf()
    assert pdf.startswith(b"%PDF") and pdf == score.to_pdf()


@pytest.mark.parametrize("music", ["prelude", "busy"])
def test_all_that_is_drawn_is_in_the_pdf(music):
    notes, beats = prelude() if music == "prelude" else (busy()[:60], BEATS)
    score = notate(notes, beats, title="Prelude")
    svg, data = score.to_svg().decode(), score.to_pdf()
    streams = re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL)
    drawn = b"\n".join(
        zlib.decompress(base64.a85decode(stream.strip().removesuffix(b"~>")))
        for stream in streams
    ).decode()
    assert "(Prelude) Tj" in drawn
    assert len(re.findall(r"/\S+ Do", drawn)) == svg.count("<use ")
    # Lines, beams and symbols, but for what is not shown, and the tempo mark's note.
    root = ET.fromstring(svg)
    hidden = [g for g in root.iter() if "placeholder" in g.get("class", "")]
    shapes = ("path", "polygon", "polyline", "ellipse", "rect")
    outlines = {e for e in root.iter() if e.tag.endswith(shapes)}
    outlines -= {element for group in hidden for element in group.iter()}
    assert any(e.tag.endswith("polyline") for e in outlines) == (music == "busy")
    assert len(re.findall(r"\s[fBS](?=\s)", drawn)) == len(outlines) + 1


def test_long_scores_have_pages_below_each_other():
    onset_s = np.arange(900) * 0.25
    notes = Notes(onset_s, onset_s + 0.2, 60 + np.arange(900) % 12)
    root = ET.fromstring(notate(notes, Beats.from_bpm(120, 0, 230)).to_svg())
    pages = [float(page.get("y")) for page in root]
    assert len(pages) > 1 and pages == sorted(set(pages))
    names = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(names) == len(set(names))
    for page in root:  # staff lines and stems are drawn by the style of their page
        styles = [style.text for style in page.iter() if style.tag.endswith("style")]
        assert set(re.findall(r"#([\w-]+) path", "".join(styles))) == {page.get("id")}


def test_pages_that_fit_hold_all_their_staves():
    num = 140
    onset_s, pitch = np.arange(num) * 0.125, 60 + np.arange(num) % 12
    parts = [
        Notes(onset_s, onset_s + 0.1, pitch, program=[program] * num)
        for program in (0, 25, 32, 40, 65, 70)
    ]
    drums = Notes(onset_s, onset_s + 0.1, [38] * num, is_drum=[True] * num)
    score = notate(Notes.concatenate([*parts, drums]), BEATS)
    pages = score.to_svg().decode().split('viewBox="0 0 ')[1:]
    assert len(pages) > 1
    for page in pages:
        height = page[: page.index('"')].split()[1]
        lines = re.findall(r'd="M\d+ (\d+) L\d+ \1"', page)
        assert len(lines) >= 40 and max(map(int, lines)) < int(height)


def test_files_that_exist_are_kept(tmp_path):
    notes, beats = prelude()
    path = tmp_path / "a.musicxml"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        notes.to_musicxml(path, beats)
    assert path.read_text() == "mine"
    assert notes.to_musicxml(path, beats, overwrite=True) == path.read_bytes()
