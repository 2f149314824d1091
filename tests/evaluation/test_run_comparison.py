"""`mt3x compare`: which runs make a row, which scores are whose, table and curves."""

import dataclasses
import json

import jax
import pytest
from click.testing import CliRunner
from tiny_models import SMALL_TOKENS, random_params

from mt3x.cli.compare import command
from mt3x.evaluation.reports import to_json
from mt3x.evaluation.run_comparison import find_columns, grouped, read
from mt3x.evaluation.transcriptions import EvaluationConfig, Pairing, PieceResult
from mt3x.models.objectives import RollsConfig
from mt3x.models.stem import StemConfig
from mt3x.models.weights_file import flatten
from mt3x.music.metrics import Cells, PrecisionRecallF1, Scores
from mt3x.training.run_log import LearningCurve
from mt3x.training.train import TrainConfig

LARGE = dataclasses.replace(
    SMALL_TOKENS,
    model=dataclasses.replace(
        SMALL_TOKENS.model, stem=StemConfig(mode="before", channels=(2, 2, 2))
    ),
)
CURVE = {10: (3.0, None), 20: (2.0, 0.4), 30: (1.0, 0.2)}
NUM_PARAMETERS = sum(x.size for x in jax.tree.leaves(random_params(SMALL_TOKENS)))


def write_run(folder, seed=0, shift=0.0, objective=SMALL_TOKENS, steps=30, **train):
    """A run folder with three rows, its scores raised by `shift`."""
    folder.mkdir(parents=True)
    config = TrainConfig(seed=seed, steps=steps, **train)
    contents = {
        "objective": objective.to_dict(),
        "train": config.to_dict(),
        "data": {"task": "songs", "seed": seed},
    }
    (folder / "config.json").write_text(json.dumps(contents))
    curve = LearningCurve(folder / "learning_curve.csv", 0)
    for step, (loss, f1) in CURVE.items():
        if step <= steps:
            curve.add(step, {"loss": loss + shift})
            if f1 is not None:
                curve.add(step, {"valid/note_f1": f1 + shift})
    return folder


def write_scores(file, f1):
    triple = PrecisionRecallF1(f1, f1, f1)
    piece = PieceResult(
        "a", 1, 1, None, Scores(triple, triple, triple, triple), None, Cells(1, 1, 1)
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(to_json([piece], [], Pairing([], [], []), EvaluationConfig()))
    return file


def compare(*arguments):
    return CliRunner().invoke(command, [str(a) for a in arguments])


def cells(text):
    """Rows of the table by the run's name."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    del lines[1]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {row[0]: dict(zip(rows[0], row, strict=True)) for row in rows[1:]}


def fails(message, *arguments):
    result = compare(*arguments)
    assert isinstance(result.exception, ValueError | OSError), result.output
    assert message in str(result.exception) and "\n" not in str(result.exception)


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one model, and a larger model with one."""
    return [
        write_run(tmp_path / "runs" / "mt3_lr0.001_s0"),
        write_run(tmp_path / "runs" / "mt3_lr0.001_s1", seed=1, shift=0.1),
        write_run(tmp_path / "runs" / "stem" / "seed0", objective=LARGE),
    ]


def test_table_of_means_over_seeds(runs):
    for number, run in enumerate(runs):
        write_scores(run / "eval" / "songs.json", 0.5 + number / 10)
    result = compare(*runs)
    assert result.exit_code == 0, result.output
    rows = cells(result.output)
    assert list(rows) == ["mt3_lr0.001", "stem"]
    assert rows["mt3_lr0.001"] == {
        "run": "mt3_lr0.001",
        "seeds": "0, 1",
        "steps": "30",
        "parameters": f"{NUM_PARAMETERS:,}",
        "loss": "1.05 (1 to 1.1)",
        "valid/note_f1": "0.25 (0.2 to 0.3)",
        "eval/songs/note_f1": "0.55 (0.5 to 0.6)",
        "eval/songs/integrated_f1": "0.5",
    }
    assert rows["stem"]["eval/songs/note_f1"] == "0.7"
    # Batch norm's statistics are not parameters.
    sizes = {k: x.size for k, x in flatten(random_params(LARGE)).items()}
    of_large = {k: v for k, v in sizes.items() if not k.endswith(("/mean", "/var"))}
    assert len(of_large) == len(sizes) - 6
    assert rows["stem"]["parameters"] == f"{sum(of_large.values()):,}"
    assert "learning curve at each run's last step" in result.output
    assert "- stem: `objective.model.stem.channels=[2, 2, 2], " in result.output
    assert 'objective.model.stem.mode="before"`' in result.output


def test_best_step(runs):
    rows = cells(compare(*runs, "--best").output)
    assert rows["mt3_lr0.001"]["steps"] == "20"
    assert rows["mt3_lr0.001"]["loss"] == "2.05 (2 to 2.1)"
    assert rows["stem"]["valid/note_f1"] == "0.4"
    young = write_run(runs[0].parent / "young", steps=10)
    fails("no valid/note_f1 in its learning curve", *runs, young, "--best")
    rows = cells(compare(*runs, young).output)
    assert rows["young"]["valid/note_f1"] == "-"


def test_only_seeds_join_a_row(runs, tmp_path):
    """Runs of other settings stand alone, and a seed is cut off a name with care."""
    other = write_run(tmp_path / "runs" / "mt3_lr0.001_s2", seed=2, dtype="bfloat16")
    short = write_run(tmp_path / "runs" / "mt3_1e-3", seed=3, microbatches=2)
    names = [group.name for group in grouped(read([*runs, other, short]))]
    # Two groups would have one name: the second has its run's whole name.
    assert names == ["mt3_lr0.001_s0", "stem", "mt3_lr0.001_s2", "mt3_1e-3"]


def test_missing_values_are_told(runs):
    write_scores(runs[1] / "songs.json", 0.5)
    rows = cells(compare(*runs, "--score", "songs/note_f1").output)
    assert rows["mt3_lr0.001"]["songs/note_f1"] == "0.5 [1 of 2]"
    assert rows["stem"]["songs/note_f1"] == "-"


def test_settings_that_tell_rows_apart_are_those_that_a_run_has(tmp_path):
    heads = dataclasses.replace(SMALL_TOKENS, rolls=RollsConfig(channels=4))
    plain = write_run(tmp_path / "plain")
    with_heads = write_run(tmp_path / "heads", objective=heads)
    told = compare(plain, with_heads).output.split("What tells them apart:")[1]
    of_heads, of_plain = sorted(told.strip().splitlines())
    assert of_plain.endswith("`objective.rolls=null`")
    assert "objective.rolls.channels=4" in of_heads
    assert "objective.rolls=null" not in of_heads


def test_columns_by_name_or_end(runs):
    write_scores(runs[0] / "eval" / "songs.json", 0.5)
    found = read(runs)
    assert find_columns(found, ["note_f1"]) == ["valid/note_f1", "eval/songs/note_f1"]
    assert find_columns(found, ["songs/frame_f1", "loss"]) == [
        "eval/songs/frame_f1",
        "loss",
    ]
    fails("no score 'f1'; there are loss, valid/note_f1, eval", *runs, "--score", "f1")


def test_scores_find_their_run(runs, tmp_path, monkeypatch):
    """By the folder around them, or by the checkpoint that `mt3x eval` read."""
    monkeypatch.chdir(tmp_path)
    scores = write_scores(tmp_path / "scores" / "songs.json", 0.9)
    told = {"checkpoint": "runs/mt3_lr0.001_s1/checkpoints/20"}
    (tmp_path / "scores" / "config.json").write_text(json.dumps(told))
    inside = write_scores(runs[0] / "a" / "b" / "deep.json", 0.8)
    alone = write_scores(tmp_path / "others.json", 0.7)
    found = read([scores.parent, inside, alone])
    assert [run.path.name for run in found] == [
        "mt3_lr0.001_s1",
        "mt3_lr0.001_s0",
        "others.json",
    ]
    rows = cells(compare(scores, inside, alone, "--score", "note_f1").output)
    assert rows["runs/mt3_lr0.001"]["songs/note_f1"] == "0.9 [1 of 2]"
    assert rows["runs/mt3_lr0.001"]["a/b/deep/note_f1"] == "0.8 [1 of 2]"
    assert rows["others"]["others/note_f1"] == "0.7"
    assert rows["others"]["seeds"] == rows["others"]["parameters"] == "-"
    again = write_scores(tmp_path / "more" / "songs.json", 0.1)
    (tmp_path / "more" / "config.json").write_text(json.dumps(told))
    fails("has another songs/", scores, again)


def test_files_and_curves(runs, tmp_path):
    out, plot = tmp_path / "table.md", tmp_path / "curves.svg"
    result = compare(*runs, "--out", out, "--plot", plot)
    assert result.exit_code == 0 and result.output == ""
    assert cells(out.read_text())["stem"]["loss"] == "1"
    picture = plot.read_text()
    assert picture.startswith("<?xml") and "</svg>" in picture
    # Of two panels with two lines each, the first line has a band over two seeds.
    assert picture.count('id="FillBetweenPolyCollection') == 2
    fails("table.md exists already", *runs, "--out", out)
    assert compare(*runs, "--out", out, "--overwrite").exit_code == 0
    fails("Format 'xyz' is not supported", *runs, "--plot", tmp_path / "x.xyz")
    assert not (tmp_path / "x.xyz").exists()
    alone = write_scores(tmp_path / "s.json", 0.5)
    fails("has a learning curve to draw", alone, "--plot", tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_bad_paths(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.json").write_text('{"notes": []}')
    fails("none: no such run folder", tmp_path / "none")
    fails("empty: no run with a learning curve", tmp_path / "empty")
    fails("notes.json: no scores", tmp_path / "notes.json")
    assert compare().exit_code == 2
    # What is not a file of scores is left alone beside a run.
    (runs[0] / "notes.json").write_text("[]")
    (runs[0] / "half.json").write_text("{")
    assert compare(*runs).exit_code == 0


def test_config_of_another_kind_of_model_is_told(tmp_path):
    run = write_run(tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    config["objective"] = {"objective": "toy"}
    (run / "config.json").write_text(json.dumps(config))
    fails("objective 'toy'", run)
