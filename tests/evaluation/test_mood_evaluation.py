"""Evaluation of generators, with a tiny one that has learnt nothing."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from mt3x.cli.evaluate import command
from mt3x.data.mood_pieces import MoodPiece, read_moods, write_moods
from mt3x.evaluation import mood_evaluation, mood_judge
from mt3x.models.adversarial_objective import MusicConfig, MusicObjective
from mt3x.models.generator import Generator, GeneratorConfig
from mt3x.models.weights_file import save_weights
from mt3x.music.notes import Notes
from mt3x.music.vocabulary import PAD_ID

pytest.importorskip("sklearn")

CONFIG = MusicConfig(
    GeneratorConfig(
        num_layers=1, width=8, half_lives=(4.0,), mlp_width=8, mood_width=4, taps=1
    )
)


def clip(piece, split, seed):
    rng = np.random.default_rng(seed)
    onset_s = np.sort(rng.uniform(0, 10, 40))
    notes = Notes(onset_s, onset_s + 0.3, rng.integers(40, 80, 40))
    return MoodPiece(notes, *rng.uniform(-1, 1, 2), piece, "a", split)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips, other ones for a judge, a clip that was trained on, and a generator."""
    folder = tmp_path_factory.mktemp("moods")
    splits = ["train", "validation", "test"]
    clips = [clip(f"p{n}", splits[n % 3], n) for n in range(18)]
    write_moods(folder / "clips.npz", clips)
    others = [clip(f"q{n}", "train", 100 + n) for n in range(18)]
    write_moods(folder / "others.npz", [*others, clips[1]])
    write_moods(folder / "more.npz", [replace(clips[1], split="train")])
    params = jax.jit(MusicObjective(CONFIG).init)(jax.random.key(0))
    save_weights(folder / "generator.safetensors", params, CONFIG.to_dict())
    return folder


def run(folder, *options):
    paths = folder / "clips.npz", folder / "generator.safetensors"
    arguments = [*paths, "--moods", *options]
    return CliRunner().invoke(command, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def evaluated(folder):
    """What the command printed, and the report."""
    options = ["--judge", folder / "others.npz", "--trained-on", folder / "more.npz"]
    options += ["--seeds", 2, "--json", folder / "a.json"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mood_evaluation, "SECONDS", 2.0)
        patch.setattr(mood_evaluation, "MOODS", ((-0.5, 0.5), (0.5, -0.5)))
        patch.setattr(mood_evaluation, "_RESAMPLES", 40)
        patch.setitem(mood_judge._TREES, "n_estimators", 5)
        result = run(folder, *options)
    assert result.exit_code == 0, result.output
    return result.stdout, json.loads((folder / "a.json").read_text(encoding="utf-8"))


def test_scores_are_of_real_clips_and_generated_music(evaluated):
    printed, report = evaluated
    names = ["real clips", "generated", "mood ignored"]
    assert [system["name"] for system in report["systems"]] == names
    assert all(name in printed for name in names)
    real, generated, _ = report["systems"]
    assert (real["num_pieces"], generated["num_pieces"]) == (12, 16)
    assert set(real["distances"].values()) == {0.0}
    assert all(distance > 0 for distance in generated["distances"].values())
    value, low, high = report["likelihood"]["right mood"]
    assert low < value < high


def test_every_judge_hears_all_music(evaluated):
    _, report = evaluated
    judges = ["held-out clips", "others"]
    assert list(report["judges"]) == judges
    for system in report["systems"]:
        assert list(system["control"]) == list(system["by_seed"]) == judges
        for control in system["control"].values():
            for value, low, high in control.values():
                assert -1 <= low <= value <= high <= 1
    assert len(report["systems"][1]["by_seed"]["others"]) == 2
    assert report["judges"]["others"] != report["systems"][0]["control"]["others"]


def test_a_judge_from_elsewhere_knows_no_piece(folder, monkeypatch):
    known = []

    class Recorder(mood_judge.MoodJudge):
        def __init__(self, clips):
            known.append({clip.piece for clip in clips})
            super().__init__(clips)

    monkeypatch.setattr(mood_evaluation, "MoodJudge", Recorder)
    monkeypatch.setitem(mood_judge._TREES, "n_estimators", 2)
    clips = read_moods(folder / "clips.npz")
    held_out = [clip for clip in clips if clip.split != "train"]
    mood_evaluation._judges(held_out, clips, [folder / "others.npz"])
    assert known == [{c.piece for c in held_out}, {f"q{n}" for n in range(18)}]


def test_copies_are_found_in_all_that_was_trained_on(evaluated):
    """Of 40 notes of one real clip all 39 steps are in a clip that was trained on."""
    real, generated, _ = evaluated[1]["systems"]
    median, longest = real["copies"]["steps in pitch"]
    assert (median < 6, longest) == (True, 39)
    assert real["copies"]["tokens"][1] > 100
    assert generated["copies"]["steps in pitch"][1] < 39


def test_likelihood_is_that_of_each_token(folder):
    clips = read_moods(folder / "clips.npz", "validation")
    model = Generator(CONFIG.model)
    params = jax.jit(MusicObjective(CONFIG).init)(jax.random.key(0))["generator"]
    found = mood_evaluation._likelihood(model, params, clips)
    apply = jax.jit(model.apply)

    def loss(sign):
        nats = []
        for clip in clips:
            tokens_T = CONFIG.model.stream.encode(clip.notes)[:-1]
            mood_1x2 = np.array([(clip.valence, clip.arousal)], np.float32) * sign
            inputs_1xT = np.full((1, 300), PAD_ID, np.int32)
            inputs_1xT[0, 1 : len(tokens_T)] = tokens_T[:-1]
            logits_1xTxV = apply({"params": params}, inputs_1xT, mood_1x2)
            log_TxV = np.asarray(jax.nn.log_softmax(logits_1xTxV)[0])
            nats += [-log_TxV[t, token] for t, token in enumerate(tokens_T)]
        return float(np.mean(nats))

    right = loss(np.float32(1))
    assert found["right mood"].value == pytest.approx(right, abs=1e-5)
    turned, none = (loss(np.float32(sign)) - right for sign in (-1, np.nan))
    assert found["rise, signs turned"].value == pytest.approx(turned, abs=1e-5)
    assert found["rise, no mood"].value == pytest.approx(none, abs=1e-5)


def test_control_is_measured_by_quadrants_and_axes():
    wished = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)] * 5) * 0.5
    heard = wished * (2, -1) + (0.2, 0)
    found = mood_evaluation._control(wished, heard, np.arange(20))
    assert found["valence correlation"] == pytest.approx((1, 1, 1))
    assert found["arousal correlation"] == pytest.approx((-1, -1, -1))
    assert found["quadrant accuracy"] == (0, 0, 0)


def test_intervals_draw_pieces_and_not_clips():
    values = np.repeat(np.random.default_rng(0).normal(size=50), 20)

    def width(groups):
        found = mood_evaluation._bootstrap(
            lambda rows: {"": values[rows].mean()}, groups
        )
        return found[""].high - found[""].low

    assert width(np.repeat(np.arange(50), 20)) > 3 * width(np.arange(1000))


def test_other_weights_are_an_error(folder, tmp_path):
    (tmp_path / "clips.npz").write_bytes((folder / "clips.npz").read_bytes())
    config = {"objective": "beats"}
    save_weights(tmp_path / "generator.safetensors", {"a": np.zeros(1)}, config)
    result = run(tmp_path)
    assert result.exit_code and "generator.safetensors" in str(result.exception)
