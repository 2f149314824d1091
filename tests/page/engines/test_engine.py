"""The browser engine's modules: what they compute is what Python computes."""

import dataclasses

import numpy as np
import pytest

from mt3x.inference import quiet
from mt3x.inference.windows import Stitcher, WindowConfig, cut_windows
from mt3x.models.features import CQTConfig, log_cqt
from mt3x.music.instruments import PROGRAM_NAMES
from mt3x.music.notes import Notes
from mt3x.music.piano_postprocessing import PianoPostprocessing
from mt3x.music.roll_decoder import RollDecodingConfig, rolls_to_notes
from mt3x.music.rolls import NUM_PITCHES, RollLabelConfig, Rolls, notes_to_rolls
from mt3x.serve.notes_json import notes_to_json

RATE_HZ, HOP = 16000, 320


def melody(seed: int, num_notes: int, seconds: float) -> Notes:
    """Return notes in random order, chords and repeated keys among them."""
    rng = np.random.default_rng(seed)
    onset_s = np.sort(rng.uniform(0, seconds, num_notes))
    onset_s[1::3] = onset_s[:-1:3][: len(onset_s[1::3])] + 0.01
    length_s = rng.uniform(0.03, 1.5, num_notes)
    pitch = rng.integers(40, 70, num_notes)
    return Notes(onset_s, onset_s + length_s, pitch, rng.integers(20, 110, num_notes))


def rolls(seed: int = 0, num_frames: int = 400) -> Rolls:
    """Return rolls of a melody with doubts."""
    rng = np.random.default_rng(seed)
    notes = melody(seed, num_frames // 6, num_frames / 50)
    labels = RollLabelConfig(onset_radius_frames=2.5)
    parts = notes_to_rolls(notes, num_frames, labels).by_name()
    shape = (num_frames, NUM_PITCHES)
    doubtful = {
        name: np.clip(0.9 * part + rng.normal(0, 0.12, shape), 0, 1).astype(np.float32)
        for name, part in parts.items()
    }
    # As high as the threshold of tests in float32 is below an onset.
    doubtful["onset"][100:103, 80] = 0, 0.55, 0
    doubtful["frame"][100:103, 80] = 0
    return Rolls.from_names(doubtful, 50.0)


def assert_same(found: list[dict], notes: Notes) -> None:
    """Compare notes of the page with Python's: times to a microsecond."""
    times_s = np.array([[note["onset"], note["offset"]] for note in found])
    np.testing.assert_allclose(
        times_s, np.stack([notes.onset_s, notes.offset_s], axis=1), atol=1e-6
    )
    assert [note["pitch"] for note in found] == notes.pitch.tolist()
    assert [note["velocity"] for note in found] == notes.velocity.tolist()


@pytest.mark.parametrize("num_frames", [2, 40, 256])
def test_log_cqt_is_that_of_python(run_node, num_frames):
    rng = np.random.default_rng(3)
    time_s = np.arange(num_frames * HOP) / RATE_HZ
    samples_S = 0.01 * rng.standard_normal(len(time_s))
    for hz in (30, 110, 443, 1760, 4100):
        samples_S += 0.2 * np.sin(2 * np.pi * hz * time_s) * np.exp(-time_s)
    samples_S = samples_S.astype(np.float32)
    found = run_node(
        """
        import { LogCqt } from "./engines/log_cqt.js";
        const found = new LogCqt(values.config).features(floats("samples"));
        console.log(JSON.stringify([...found]));
        """,
        samples=samples_S,
        config=dataclasses.asdict(CQTConfig()),
    )
    expected_TxF = np.asarray(log_cqt(samples_S[None], CQTConfig()))[0, :-1]
    # Where tones cancel, decibels show the rounding of float32.
    found_TxF = np.array(found).reshape(expected_TxF.shape)
    error_TxF = 10 ** (found_TxF / 10) - 10 ** (expected_TxF / 10)
    assert np.abs(error_TxF).max() < 1e-5
    assert np.abs(found_TxF - expected_TxF).max() < 0.5
    assert np.abs(found_TxF - expected_TxF).mean() < 1e-3


@pytest.mark.parametrize("postprocessing", [None, PianoPostprocessing()])
@pytest.mark.parametrize("refinement", ["none", "parabola", "triangle"])
def test_rolls_become_the_notes_of_python(run_node, refinement, postprocessing):
    config = RollDecodingConfig(
        onset_threshold=0.55,
        onset_refinement=refinement,
        latency_s=0.004,
        postprocessing=postprocessing,
    )
    some = rolls()
    found = run_node(
        """
        import { rollsToNotes } from "./engines/roll_decoder.js";
        const [onset, frame, velocity] = ["onset", "frame", "velocity"].map(floats);
        const blocks = [0, 1, 2, 130, 400].slice(0, -1).map((from, n, all) => {
          const part = (x) => x.subarray(from * 88, (all[n + 1] ?? 400) * 88);
          return { onset: part(onset), frame: part(frame), velocity: part(velocity) };
        });
        console.log(JSON.stringify(rollsToNotes(blocks, values.config, 50)));
        """,
        config=dataclasses.asdict(config),
        **some.by_name(),
    )
    expected = rolls_to_notes(some, config)
    assert len(expected) > 50
    assert_same(found, expected)


def test_candidates_are_the_other_notes_of_a_lower_threshold(run_node):
    some = rolls()
    config = RollDecodingConfig(onset_threshold=0.8)
    found = run_node(
        """
        import { candidateNotes } from "./engines/roll_decoder.js";
        const [onset, frame, velocity] = ["onset", "frame", "velocity"].map(floats);
        const blocks = [{ onset, frame, velocity }];
        console.log(JSON.stringify(candidateNotes(blocks, values.config, 50)));
        """,
        config=dataclasses.asdict(config),
        **some.by_name(),
    )
    lower = dataclasses.replace(config, onset_threshold=0.8 * 0.4)

    def keys(notes: Notes) -> set:
        return set(zip(np.round(notes.onset_s, 6), notes.pitch, strict=True))

    expected = keys(rolls_to_notes(some, lower)) - keys(rolls_to_notes(some, config))
    assert len(expected) > 10
    assert {(round(n["onset"], 6), n["pitch"]) for n in found} == expected


@pytest.mark.parametrize("num_frames", [0.4, 3, 200, 300, 513, 1025, 2400, 3000.7])
def test_windows_are_cut_and_joined_as_by_python(run_node, num_frames):
    config = WindowConfig()
    samples_S = np.arange(int(num_frames * 4), dtype=np.float32)
    rng = np.random.default_rng(1)
    noise_WxTxP = rng.random((4, 1024, 2), np.float32)
    found = run_node(
        """
        import { cutWindows, Stitcher } from "./engines/windows.js";
        const stitcher = new Stitcher(values.config, 2);
        const noise = floats("noise");
        const rows = [];
        let n = 0;
        for (const window of cutWindows(floats("samples"), 4, values.config)) {
          const begin = n * 2048;
          const roll = window.samples.filter((_, i) => i % 2 === 0)
            .map((x, i) => x + noise[begin + i]);
          rows.push(...stitcher.push(window, { roll }).roll);
          n += 1;
        }
        console.log(JSON.stringify(rows));
        """,
        config=dataclasses.asdict(config),
        samples=samples_S,
        noise=noise_WxTxP,
    )
    stitcher = Stitcher(config)
    expected = []
    for n, window in enumerate(cut_windows([samples_S], 4, config)):
        roll_TxP = window.samples_S[::2].reshape(-1, 2)
        roll_TxP = roll_TxP + noise_WxTxP[n, : len(roll_TxP)]
        expected.append(stitcher.push(window, {"roll": roll_TxP})["roll"])
    np.testing.assert_allclose(
        np.array(found).reshape(-1, 2), np.concatenate(expected), rtol=1e-6
    )


def loudness_steps(levels: list[float], block: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    noise_S = rng.standard_normal(len(levels) * block).astype(np.float32)
    return noise_S * np.repeat(np.array(levels, np.float32), block)


QUIET, MUSIC = [1e-5] * 30, [0.1, 0.02] * 10
STEPS = {
    "music": MUSIC,
    "quiet first": QUIET + MUSIC,
    "quiet between": MUSIC + QUIET + MUSIC,
    "quiet last": MUSIC + QUIET,
    "long quiet": MUSIC + QUIET * 6 + MUSIC + QUIET * 3 + MUSIC,
    "all quiet": QUIET * 6,
    "short": [0.1],
    "begins with a note": [0.1, *MUSIC],
}


@pytest.mark.parametrize("name", STEPS)
def test_quiet_stretches_are_left_out_as_by_python(run_node, name):
    hop, rate_hz, width = 20, 1000, 1
    samples_S = loudness_steps(STEPS[name], 16 * hop)[: -hop // 2]
    if name.startswith("begins"):
        samples_S[:2] = 0
    found = run_node(
        """
        import { leaveOutQuiet, Restorer } from "./engines/quiet.js";
        const { samples, cuts } = leaveOutQuiet(floats("samples"), 20, 1000);
        const restorer = new Restorer(cuts, 1);
        const roll = Float32Array.from(
          { length: Math.ceil(samples.length / 20) }, (_, i) => i + 1);
        const parts = [];
        for (let i = 0; i < roll.length; i += 100)
          parts.push(...restorer.push({ roll: roll.slice(i, i + 100) }));
        parts.push(...restorer.finish());
        const rows = parts.flatMap(({ roll }) => [...roll]);
        console.log(JSON.stringify({ samples: [...samples], rows }));
        """,
        samples=samples_S,
    )
    cuts = quiet.QuietCuts(hop, rate_hz / hop)
    kept_S = np.concatenate(list(cuts.kept([samples_S])))
    roll_T = np.arange(-(-len(kept_S) // hop), dtype=np.float32) + 1
    parts = ({"roll": roll_T[i : i + 100]} for i in range(0, len(roll_T), 100))
    rows_T = np.concatenate([p["roll"] for p in cuts.restored(parts, {"roll": width})])
    np.testing.assert_array_equal(np.array(found["samples"], np.float32), kept_S)
    np.testing.assert_array_equal(found["rows"], rows_T)


def test_noise_fills_what_is_silent_and_nothing_else(run_node):
    samples_S = loudness_steps([0.1, 0, 0.1, 0], 40 * HOP)
    steps_S = np.round(quiet.noise(160 * HOP, 160 * HOP) / 0.04)
    found = run_node(
        """
        import { withNoise } from "./engines/quiet.js";
        const noise = Int8Array.from(floats("noise"));
        const samples = floats("samples");
        console.log(JSON.stringify([...withNoise(samples, 320, 140, noise)]));
        """,
        samples=samples_S,
        noise=steps_S,
    )
    expected_S = quiet.with_noise(samples_S, HOP, 140)
    np.testing.assert_allclose(found, expected_S, atol=0.021 * 5e-4)
    is_loud_S = samples_S != 0
    found_S = np.array(found, np.float32)
    np.testing.assert_array_equal(found_S[is_loud_S], samples_S[is_loud_S])


@pytest.mark.parametrize(("time_pool", "given"), [(1, 45), (2, 46)])
def test_samples_become_the_rolls_of_windows(run_node, time_pool, given):
    samples_S = loudness_steps([0.1, 0.2, 0.1], 15 * HOP)
    config = {
        "features": dataclasses.asdict(CQTConfig()),
        "window": dataclasses.asdict(WindowConfig(short_frames=(64,))),
        "time_pool": time_pool,
    }
    found = run_node(
        """
        import { Transcriber } from "./engines/transcriber.js";
        const given = [];
        const predict = async (features, numFrames) => {
          given.push(numFrames, features.length / 352);
          return { onset: Float32Array.from({ length: 88 * numFrames }, (_, i) => i) };
        };
        const noise = new Int8Array(64 * 320);
        const { config } = values;
        const transcriber = new Transcriber(config, noise, predict);
        const rows = [];
        for (const loudness of [1, 1e-5]) {
          const samples = floats("samples").map((sample) => sample * loudness);
          for await (const { onset } of transcriber.rolls(samples)) rows.push(...onset);
        }
        console.log(JSON.stringify({ given, rows }));
        """,
        samples=samples_S,
        config=config,
    )
    assert found["given"] == [given, given]
    # Of what is silent the network is not asked.
    assert found["rows"] == [*range(45 * 88), *[0] * 45 * 88]


BAND = Notes(
    [0.0, 0.5, 0.5000001, 0.5, 1.25, 1.0, 1800.0],
    [0.5, 0.9, 0.7, 0.50001, 1.2500005, 3.0, 1801.123456],
    [60, 60, 60, 64, 21, 38, 108],
    [1, 90, 91, 64, 127, 100, 30],
    [0, 0, 0, 33, 0, 0, 0],
    [False, False, False, False, False, True, False],
    [1.0, 0.75006, 0.5, 0.00001, np.nan, 0.0, 0.3],
)
MANY = Notes(np.arange(20) / 3, np.arange(20) / 3 + 0.2, [60] * 20, program=range(20))


@pytest.mark.parametrize(
    "notes", [Notes.empty(), BAND, MANY, melody(4, 60, 9)], ids=str
)
def test_files_are_those_of_python(run_node, notes):
    found = run_node(
        """
        import { WRITERS } from "./engines/note_files.js";
        const write = (form) => WRITERS[form].write(values.notes, values.names);
        const mid = Buffer.from(write("mid")).toString("hex");
        console.log(JSON.stringify({ mid, csv: write("csv"), json: write("json") }));
        """,
        notes=notes_to_json(notes),
        names=list(PROGRAM_NAMES),
    )
    assert found["mid"] == notes.to_midi().hex()
    assert found["csv"] == notes.to_csv()
    assert found["json"] == notes.to_json()
