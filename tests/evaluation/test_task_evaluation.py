"""`mt3x eval` and `mt3x infer`: scores and MIDI files, stopped runs, bad input."""

import csv
import dataclasses
import json

import numpy as np
import pytest
import seqio
import toy_band
from click.testing import CliRunner
from tiny_models import (
    SMALL,
    SMALL_ROLLS,
    SMALL_TOKENS,
    random_params,
    save_small_weights,
)
from toy_band import RATE
from toy_band_tasks import BAND

from mt3x.cli.eval import command as eval_command
from mt3x.cli.infer import command as infer_command
from mt3x.data.pipeline import add_task
from mt3x.data.pipeline.task_pieces import task_pieces
from mt3x.evaluation import task_evaluation
from mt3x.evaluation.reports import read_mean
from mt3x.evaluation.task_evaluation import (
    Evaluation,
    Inference,
    TranscriberConfig,
    check_model,
)
from mt3x.inference.transcriber import Transcriber
from mt3x.models import weights_file
from mt3x.music.audio import decode_audio, encode_audio
from mt3x.music.instrument_metrics import instrument_scores
from mt3x.music.metrics import integrated, note_scores
from mt3x.music.notes import Notes
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig

TOKENS = TokenizerConfig(VocabConfig(max_shift_steps=100))
MODEL = dataclasses.replace(SMALL_TOKENS, tokens=TOKENS)
SONGS = "band_notes_ties_ms1vb1_songs"
GIN = """
from __gin__ import dynamic_registration
from mt3x.music import vocabulary
from mt3x.evaluation import task_evaluation
from mt3x.models import seq2seq

include 'models/mt3_small.gin'

TASK_PREFIX = 'band_notes_ties'
TASK_SUFFIX = 'songs'
TASK_FEATURE_LENGTHS = {'inputs': 32, 'targets': 24}
vocabulary.VocabConfig.max_shift_steps = 100
seq2seq.Seq2SeqConfig.vocab_size = 1536
seq2seq.Seq2SeqConfig.emb_dim = 16
seq2seq.Seq2SeqConfig.num_heads = 2
seq2seq.Seq2SeqConfig.head_dim = 8
seq2seq.Seq2SeqConfig.num_encoder_layers = 1
seq2seq.Seq2SeqConfig.num_decoder_layers = 1
seq2seq.Seq2SeqConfig.mlp_dim = 16
task_evaluation.PROGRAM.module = 'toy_band_tasks'
"""


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    """Records of three songs, weights, and what `mt3x eval` makes of them."""
    folder = tmp_path_factory.mktemp("evaluation")
    toy_band.write_records(folder / "records" / "band", range(3))
    toy_band.write_records(folder / "records" / "duo", range(3, 5))
    save_small_weights(folder / "tokens.safetensors", MODEL)
    save_small_weights(folder / "piano.safetensors", SMALL)
    for program in ("Evaluation", "Inference"):
        (folder / f"{program}.gin").write_text(GIN.replace("PROGRAM", program))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MT3X_DATA_DIR", str(folder / "records"))
        yield folder


def run(folder, out, *bindings, checkpoint="tokens.safetensors", infer=False):
    """The command's result; `out` is the output folder."""
    name = "Inference" if infer else "Evaluation"
    out_macro = "INFER_OUTPUT_DIR" if infer else "EVAL_OUTPUT_DIR"
    arguments = [
        f"--gin_file={'infer' if infer else 'eval'}.gin",
        f"--gin_file={folder / name}.gin",
        f"--gin.CHECKPOINT_PATH='{folder / checkpoint}'",
        f"--gin.{out_macro}='{out}'",
        *(f"--gin.{binding}" for binding in bindings),
    ]
    return CliRunner().invoke(infer_command if infer else eval_command, arguments)


def recording(seed):
    """A song as its record has it."""
    return decode_audio(
        encode_audio(toy_band.play(toy_band.song(seed)), RATE, "WAV"), RATE
    )


@pytest.fixture(scope="module")
def scores(folder):
    result = run(folder, folder / "scores")
    assert result.exit_code == 0, result.output
    assert SONGS in result.output and "00002_song2" in result.output
    return folder / "scores"


def test_scores_are_those_of_the_pieces(folder, scores):
    document = json.loads((scores / f"{SONGS}.json").read_text())
    names = [piece["name"] for piece in document["pieces"]]
    assert names == ["00000_song0", "00001_song1", "00002_song2"]
    est = Transcriber(folder / "tokens.safetensors")(recording(1), RATE)
    piece = document["pieces"][1]
    assert len(est) == piece["num_est"] > 0
    assert piece["note"] == note_scores(toy_band.song(1), est).to_dict()["note"]
    assert piece["instruments"] == instrument_scores(toy_band.song(1), est)
    cells = integrated(toy_band.song(1), est)
    assert piece["integrated"] == {**vars(cells.score), **vars(cells)}
    assert document["config"]["integrated_frame_rate_hz"] == 50
    with (scores / f"{SONGS}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [*names, "mean", "pooled"]
    assert float(rows[-2]["note_f1"]) == pytest.approx(
        document["mean"]["note"]["f1"], abs=1e-6
    )


def test_a_stopped_run_goes_on(folder, scores, monkeypatch):
    log, table = scores / "pieces.jsonl", scores / f"{SONGS}.json"
    lines, text = log.read_text().splitlines(keepends=True), table.read_text()
    assert len(lines) == 3
    table.unlink()
    log.write_text(lines[0] + lines[1][:50])
    seen = []
    call = Transcriber.__call__
    monkeypatch.setattr(
        Transcriber,
        "__call__",
        lambda self, *a, **k: seen.append(len(a[0])) or call(self, *a, **k),
    )
    assert run(folder, scores).exit_code == 0
    # 201 frames: 200, and the one that a recording of whole frames gets.
    assert seen == [201 * 128 - 1] * 2
    assert table.read_text() == text
    assert log.read_text() == "".join(lines)
    assert run(folder, scores).exit_code == 0
    assert len(seen) == 2


def test_rows_without_integrated_scores_go_on(folder, scores, tmp_path):
    """Those of older versions: the pieces have none, so there is no mean of them."""
    for name in ("config.json", "pieces.jsonl"):
        (tmp_path / name).write_text((scores / name).read_text())
    text = (tmp_path / "pieces.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows[0].pop("integrated")
    lines = [json.dumps(row) + "\n" for row in rows]
    (tmp_path / "pieces.jsonl").write_text("".join(lines))
    assert run(folder, tmp_path).exit_code == 0
    document = json.loads((tmp_path / f"{SONGS}.json").read_text())
    assert "pooled" not in document and "integrated" not in document["mean"]
    assert ["integrated" in piece for piece in document["pieces"]] == [0, 1, 1]


def test_other_runs_and_folders_are_left_alone(folder, scores, tmp_path):
    before = {path: path.read_bytes() for path in scores.iterdir()}
    other = random_params(MODEL)
    other["decoder"]["decoder_norm"]["scale"] += 1
    weights_file.save_weights(tmp_path / "b.safetensors", other, MODEL.to_dict())
    # The same parameters, but other notes of their tokens.
    config = dataclasses.replace(MODEL, least_again_s=0.1).to_dict()
    same = weights_file.load(folder / "tokens.safetensors").params
    weights_file.save_weights(tmp_path / "c.safetensors", same, config)
    for result in (
        run(folder, scores, checkpoint=tmp_path / "b.safetensors"),
        run(folder, scores, checkpoint=tmp_path / "c.safetensors"),
        run(folder, scores, "task_evaluation.Evaluation.max_pieces=1"),
        run(folder, scores, infer=True),
    ):
        with pytest.raises(ValueError, match="run with another config"):
            raise result.exception
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "a.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="no output of mt3x"):
        raise run(folder, foreign).exception
    assert [path.name for path in foreign.iterdir()] == ["a.txt"]
    assert before == {path: path.read_bytes() for path in scores.iterdir()}


@pytest.mark.parametrize(
    ("bindings", "checkpoint", "message"),
    [
        ([], "piano.safetensors", "is a piano model, but the gin files describe"),
        (["seq2seq.Seq2SeqConfig.mlp_dim=32"], None, "has model.mlp_dim 16"),
        ([], "none.safetensors", "no such weights file"),
        (["TASK_PREFIX='bend_notes_ties'"], None, "no task 'bend_notes_ties_ms1vb1_"),
        (["TASK_SUFFIX='train'"], None, "no whole pieces"),
        (["task_evaluation.Evaluation.max_pieces=0"], None, "must be at least 1"),
        (["train.TrainConfig.steps=2000"], None, "without effect"),
        (["EVAL_OUTPUT_DIR='gs://a/b'"], None, "gs://a/b is not a folder"),
        (["CHECKPOINT_PATH='gs://a/b'"], None, "gs://a/b is not a folder"),
        (["CHECKPOINT_PATH=''"], None, r"Evaluation\.checkpoint is not set"),
    ],
)
def test_bad_input(bindings, checkpoint, message, folder, tmp_path):
    checkpoint = checkpoint or "tokens.safetensors"
    result = run(folder, tmp_path / "out", *bindings, checkpoint=checkpoint)
    with pytest.raises((ValueError, OSError), match=message) as error:
        raise result.exception
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_records_that_can_not_be_read(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MT3X_DATA_DIR", str(tmp_path / "records"))
    with pytest.raises(FileNotFoundError, match="no records of band"):
        raise run(folder, tmp_path / "out").exception
    (tmp_path / "records" / "band").mkdir(parents=True)
    record = "band/validation-00000-of-00001.tfrecord"
    whole = (folder / "records" / record).read_bytes()
    (tmp_path / "records" / record).write_bytes(whole[:1000])
    with pytest.raises(ValueError, match="a record cannot be used: truncated"):
        raise run(folder, tmp_path / "out").exception
    assert not (tmp_path / "out").exists()


def test_gin_files_are_needed():
    result = CliRunner().invoke(infer_command, [])
    with pytest.raises(ValueError, match=r"mt3x infer needs gin files: infer\.gin"):
        raise result.exception


def test_inference_in_shards(folder, tmp_path):
    shard = "task_evaluation.Inference.shard_id"
    for number in (1, 0):
        result = run(
            folder,
            tmp_path / "out",
            "task_evaluation.Inference.num_shards=2",
            f"{shard}={number}",
            infer=True,
        )
        assert result.exit_code == 0, result.output
    rows = []
    for number, songs in enumerate([["song0", "song2"], ["song1"]]):
        text = (tmp_path / "out" / f"pieces-{number:05d}-of-00002.jsonl").read_text()
        shard_rows = [json.loads(line) for line in text.splitlines()]
        assert [row["id"] for row in shard_rows] == songs
        rows += shard_rows
    model = Transcriber(folder / "tokens.safetensors")
    for row in rows:
        notes = Notes.from_midi(tmp_path / "out" / row["midi"])
        est = model(recording(row["number"]), RATE)
        assert row["notes"] == len(est)
        est.to_midi(tmp_path / f"{row['id']}.mid")
        assert Notes.from_midi(tmp_path / f"{row['id']}.mid").to_csv() == notes.to_csv()
    with pytest.raises(ValueError, match=r"shard_id=2 is not one of 0 to 1"):
        Inference("a", "b", output_dir="c", shard_id=2, num_shards=2)


def test_a_piano_model(folder, tmp_path):
    """On the pieces of a task of rolls, by the package alone."""
    program = Evaluation(
        str(folder / "piano.safetensors"),
        "band_rolls_songs",
        "toy_band_tasks",
        str(tmp_path / "out"),
        max_pieces=1,
    )
    results = program.run(SMALL, _silent)
    (piece,) = results["band_rolls_songs"]
    # A recording of whole frames gets one more, as MT3's do.
    samples_S = np.pad(recording(0), (0, SMALL.features.hop_samples - 1))
    est = Transcriber(folder / "piano.safetensors")(samples_S, RATE)
    assert piece.num_est == len(est)
    assert piece.scores == note_scores(toy_band.song(0), est)


def test_a_token_model_with_heads(folder, tmp_path):
    """By its rolls, with the integrated score."""
    model = dataclasses.replace(SMALL_ROLLS, tokens=TOKENS)
    path = save_small_weights(tmp_path / "heads.safetensors", model)
    program = Evaluation(
        str(path),
        SONGS,
        "toy_band_tasks",
        str(tmp_path / "out"),
        max_pieces=1,
        transcriber=TranscriberConfig(decoder="rolls"),
    )
    (piece,) = program.run(model, _silent)[SONGS]
    est = Transcriber(path, decoder="rolls")(recording(0), RATE)
    assert piece.num_est == len(est)
    assert piece.integrated == integrated(toy_band.song(0), est)
    means = read_mean(tmp_path / "out" / f"{SONGS}.json")
    assert means["integrated_f1"] == piece.integrated.score.f1
    assert means["pooled_integrated_f1"] == piece.integrated.score.f1


def test_mixtures_are_read_by_turns(folder):
    add_task(dataclasses.replace(BAND, name="duo"), TOKENS)
    duo = SONGS.replace("band", "duo")
    seqio.MixtureRegistry.add("two_bands", [duo, SONGS], default_rate=1)
    pieces = list(task_pieces("two_bands", "toy_band_tasks", hop_samples=128))
    assert [(piece.task, piece.id) for piece in pieces] == [
        (SONGS, "song0"),
        (duo, "song3"),
        (SONGS, "song1"),
        (duo, "song4"),
        (SONGS, "song2"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("decoder", "both"),
        ("onset_threshold", 0.25),
        ("frame_threshold", 0.25),
        ("constrain", True),
        ("beams", 2),
        ("device", "cpu"),
        ("precision", "bfloat16"),
        ("batch_size", 3),
    ],
)
def test_options_reach_the_transcriber(name, value, folder, tmp_path, monkeypatch):
    def transcriber(checkpoint, **options):
        raise ValueError(f"{name} is {options[name]!r}")

    monkeypatch.setattr(task_evaluation, "Transcriber", transcriber)
    change = f"task_evaluation.TranscriberConfig.{name}={value!r}"
    with pytest.raises(ValueError, match=f"^{name} is {value!r}$"):
        raise run(folder, tmp_path / "out", change).exception


def test_check_model():
    def change(config, **fields):
        return dataclasses.replace(config, **fields)

    trained = change(MODEL.model, dropout_rate=0.5, remat="full")
    check_model(change(MODEL, z_loss=0.5, model=trained), MODEL, "a")
    decoding = dataclasses.replace(SMALL.decoding, onset_threshold=0.25)
    check_model(SMALL, change(SMALL, decoding=decoding), "a")
    check_model(MODEL, change(MODEL, least_again_s=0.1), "a")
    with pytest.raises(ValueError, match=r"least_again_s 0\.0, not 0\.1"):
        check_model(change(MODEL, least_again_s=0.1), MODEL, "a")
    with pytest.raises(ValueError, match=r"decoding\.onset_threshold 0\.4, not 0\.25"):
        check_model(change(SMALL, decoding=decoding), SMALL, "a")
    with pytest.raises(ValueError, match="num_frames 32, not 64"):
        check_model(change(MODEL, num_frames=64), MODEL, "a")


class _silent:
    def __init__(self, piece, duration_s):
        pass

    def __enter__(self):
        return lambda seconds: None

    def __exit__(self, *error):
        pass
