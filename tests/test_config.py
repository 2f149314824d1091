"""Every gin file parses, builds, takes effect and binds nothing unused."""

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gin
import jax
import pytest

from mt3x import config
from mt3x.evaluation.task_evaluation import Evaluation, Inference
from mt3x.models import batch_norm
from mt3x.models.objectives import PianoConfig, PianoObjective, make_objective
from mt3x.training.experiment import Experiment

ROOT = Path(__file__).parent.parent
FILES = sorted(
    str(path.relative_to(config.gin_dir()))
    for path in config.gin_dir().rglob("*.gin")
    if path.parent.name != "t5x"  # read by T5X: see test_t5x_runs.py
)
MT3 = "models/mt3_small.gin"
TRAIN = ["TRAIN_STEPS=2000", "MODEL_DIR='runs/a'"]
EVAL = ["CHECKPOINT_PATH='a.safetensors'", "EVAL_OUTPUT_DIR='scores'"]
INFER = ["CHECKPOINT_PATH='a.safetensors'", "INFER_OUTPUT_DIR='midi'"]


def program_of(file):
    """What a file is for: the class that is built of it, other files and bindings."""
    if file == "train.gin":
        return Experiment, [MT3, file, "tasks/slakh.gin"], TRAIN
    if file == "eval.gin":
        return Evaluation, [MT3, file, "tasks/slakh.gin"], EVAL
    if file == "infer.gin":
        return Inference, [MT3, file, "tasks/slakh.gin"], INFER
    if file.startswith("tasks/"):
        model = "models/hppnet_tiny.gin" if "rolls" in file else MT3
        needs = ["TASK_PREFIX='other'"] if file in BASES else []
        return Experiment, [model, "train.gin", file], TRAIN + needs
    return Experiment, [file], []


BASES = {"tasks/notes.gin", "tasks/notes_ties.gin", "tasks/rolls.gin"}


def build(kind, files, bindings=()):
    """The built object, with the model where there is one."""
    if kind is Experiment:
        return config.load(files, bindings)
    loaded = config.load_transcription(kind, files, bindings)
    return loaded.program, loaded.objective


def dataclass_values(value):
    """(class name, field, value) of a dataclass and all inside it."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            yield type(value).__name__, field.name, inner
            yield from dataclass_values(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            yield from dataclass_values(inner)


def test_there_are_gin_files():
    assert {"train.gin", "models/hppnet_sp.gin", "tasks/mega.gin"} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_gin_file_builds_and_takes_effect(file):
    kind, files, bindings = program_of(file)
    built = build(kind, files, bindings)
    found = {(c, f, repr(v)) for c, f, v in dataclass_values(built)}
    macros, bound = {}, []
    with config._parsed([file], [], []):
        for (scope, selector), values in gin.config._CONFIG.items():
            for name, value in values.items():
                if selector == "gin.macro":
                    macros[scope] = value
                else:
                    bound.append((selector.split(".")[-1], name, value))
    assert bound or macros
    for class_name, name, value in bound:
        value = macros.get(repr(value).removeprefix("%"), value)
        if "@" in repr(value) or "%" in repr(value) or class_name in FUNCTIONS:
            continue  # what it builds is bound below it or in another file
        assert (class_name, name, repr(value)) in found
    assert macros.keys() <= config.MACROS.keys()


FUNCTIONS = {"task_name", "feature_length", "num_embeddings", "unset"}
# A change of each macro, with what changes by it.
TRAINED = [
    ("TASK_PREFIX='urmp_notes_ties'", "data.task", "urmp_notes_ties_vb1_train"),
    ("TASK_PREFIX='a'", "validation.task", "a_vb1_validation"),
    ("TRAIN_TASK_SUFFIX='eval'", "data.task", "slakh_notes_ties_vb1_eval"),
    ("EVAL_TASK_SUFFIX='test'", "validation.task", "slakh_notes_ties_vb1_test"),
    ("TASK_FEATURE_LENGTHS={'inputs': 9, 'targets': 5}", "objective.num_frames", 9),
    ("TASK_FEATURE_LENGTHS={'inputs': 9, 'targets': 5}", "objective.max_tokens", 5),
    ("NUM_VELOCITY_BINS=127", "objective.tokens.vocab.num_velocity_bins", 127),
    ("NUM_VELOCITY_BINS=127", "objective.model.vocab_size", 1664),
    ("NUM_VELOCITY_BINS=1", "objective.model.vocab_size", 1536),
    ("NUM_VELOCITY_BINS=127", "data.task", "slakh_notes_ties_train"),
    ("PROGRAM_GRANULARITY='flat'", "objective.tokens.program_granularity", "flat"),
    ("USE_TIES=False", "objective.tokens.use_ties", False),
    ("Z_LOSS=0.5", "objective.z_loss", 0.5),
    ("LABEL_SMOOTHING=0.1", "objective.label_smoothing", 0.1),
    ("BATCH_SIZE=3", "data.batch_size", 3),
    ("USE_CACHED_TASKS=True", "data.use_cached", True),
    ("MAX_EXAMPLES_PER_MIX=4", "data.max_examples_per_mix", 4),
    ("TRAIN_STEPS=1001", "train.steps", 1001),
]


@pytest.mark.parametrize(("binding", "path", "value"), TRAINED)
def test_macros_of_training(binding, path, value):
    experiment = config.load([MT3, "train.gin", "tasks/slakh.gin"], [*TRAIN, binding])
    assert functools.reduce(getattr, path.split("."), experiment) == value


@pytest.mark.parametrize(
    "file", [f for f in FILES if f.startswith("tasks/") and f not in BASES]
)
def test_tasks_are_registered(file):
    from mt3x.data import pipeline

    _, files, _ = program_of(file)
    experiment = config.load(files, TRAIN)
    loaded = config.load_transcription(Evaluation, ["eval.gin", files[0], file], EVAL)
    data, objective = experiment.data, experiment.objective
    for name in (data.task, experiment.validation.task, loaded.program.task):
        assert pipeline.find_task(name, "mt3x.tasks").name == name
    if isinstance(objective, PianoConfig):
        assert data.clip_frames == 1024
    else:
        pipeline.check_tokens(data.task, "mt3x.tasks", objective.tokens)


def test_onsets_only():
    changes = ["ONSETS_ONLY=True", "USE_TIES=False", "TASK_PREFIX='slakh_onsets'"]
    built = config.load([MT3, "train.gin", "tasks/slakh.gin"], [*TRAIN, *changes])
    assert built.objective.tokens.onsets_only
    assert built.data.task == "slakh_onsets_vb1_train"


@pytest.mark.parametrize(("kind", "bindings"), [(Evaluation, EVAL), (Inference, INFER)])
def test_macros_of_transcription(kind, bindings):
    program_file = "eval.gin" if kind is Evaluation else "infer.gin"
    files = ["models/ismir2021.gin", program_file]
    program, model = build(kind, [*files, "tasks/maestro.gin"], bindings)
    assert program.checkpoint == "a.safetensors"
    assert program.output_dir == ("scores" if kind is Evaluation else "midi")
    assert program.task == "maestrov3_notes_test"
    assert model.num_frames == 512
    program, _ = build(
        kind, [*files, "tasks/maestro.gin"], [*bindings, "TASK_SUFFIX='eval'"]
    )
    assert program.task == "maestrov3_notes_eval"


@pytest.mark.parametrize(
    ("kind", "files", "bindings", "name"),
    [
        (Experiment, ["train.gin"], TRAIN, "TASK_PREFIX"),
        (Experiment, ["train.gin", "tasks/slakh.gin"], TRAIN[1:], "TRAIN_STEPS"),
        (Evaluation, ["eval.gin"], EVAL, "TASK_PREFIX"),
        (Evaluation, ["eval.gin", "tasks/slakh.gin"], EVAL[1:], "CHECKPOINT_PATH"),
        (Evaluation, ["eval.gin", "tasks/slakh.gin"], EVAL[:1], "EVAL_OUTPUT_DIR"),
        (Inference, ["infer.gin", "tasks/slakh.gin"], INFER[:1], "INFER_OUTPUT_DIR"),
        (Experiment, [], ["train.TrainConfig.steps=%STEPS"], "STEPS"),
    ],
)
def test_missing_macros(kind, files, bindings, name):
    with pytest.raises(ValueError, match=rf"^{name} is not set: give --gin\.{name}="):
        build(kind, [MT3, *files], bindings)


def test_required_parameters(tmp_path):
    own = tmp_path / "own.gin"
    own.write_text(
        "from __gin__ import dynamic_registration\nfrom mt3x.training import train\n"
        "train.TrainConfig.steps = %gin.REQUIRED\n"
    )
    with pytest.raises(ValueError, match=r"TrainConfig\.steps is not set"):
        config.load([MT3, own])
    assert config.load([MT3, own], ["train.TrainConfig.steps=2000"]).train.steps == 2000


def test_macros_without_effect():
    files = [MT3, "train.gin", "tasks/guitarset.gin"]
    config.load(files, TRAIN)  # its TASK_SUFFIX is for `mt3x eval`
    for wrong in ("TASK_SUFFIX='test'", "TASK_PREFX='a'"):
        name = wrong.partition("=")[0]
        with pytest.raises(ValueError, match=f"without effect: {name};"):
            config.load(files, [*TRAIN, wrong])
    steps = r"without effect: mt3x\.training\.train\.TrainConfig\.steps"
    with pytest.raises(ValueError, match=steps):
        build(
            Evaluation,
            [MT3, "train.gin", "eval.gin", "tasks/slakh.gin"],
            [*EVAL, "train.TrainConfig.steps=2000"],
        )


PLAIN = [MT3, "train.gin", "tasks/slakh.gin"]


@pytest.mark.parametrize(
    ("binding", "advice"),
    [
        ("foo.Bar.x=1", "known are classes of .*experiment"),
        ("trian.TrainConfig.steps=3", r"close to .*: train\.TrainConfig\.steps"),
        ("TrainConfig.steps=3", r"close to .*: train\.TrainConfig\.steps"),
        ("train.TrainConfg.steps=3", r"close to .*: train\.TrainConfig\.steps"),
        ("train.TrainConfig.stepz=3", r"close to .*: train\.TrainConfig\.steps"),
        ("BATCH_SIZE=@train.TrainConfg()", r"close to .*: train\.TrainConfig"),
        ("network.T5Config.emb_dim=8", r"is seq2seq\.Seq2SeqConfig\.emb_dim here"),
        ("T5Config.dropout_rate=0.1", r"is seq2seq\.Seq2SeqConfig\.dropout_rate here"),
        ("Trainer.num_microbatches=8", r"is train\.TrainConfig\.microbatches here"),
        ("BATCHSIZE=8", "close to BATCHSIZE: BATCH_SIZE"),
        ("CHECKPOINT_PATH='a'", "CHECKPOINT_PATH is INITIAL_CHECKPOINT_PATH here"),
        ("SPECTROGRAM_CONFIG=None", r"is features\.LogMelConfig here"),
        ("OUTPUT_VOCABULARY=None", "is VOCAB_CONFIG here"),
        ("EVAL_STEPS=20", r"is experiment\.ValidationConfig\.loss_batches here"),
    ],
)
def test_unknown_names_have_one_line_that_names_ours(binding, advice):
    with pytest.raises(ValueError, match=advice) as error:
        config.load(PLAIN, [*TRAIN, binding])
    assert "\n" not in str(error.value)
    assert binding.partition("=")[0] in str(error.value)


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("BATCH_SIZE='x'", '"batch_size" - should be "int"'),
        ("train.TrainConfig.mesh=3", '"mesh" - should be "MeshConfig"'),
        ("seq2seq.Seq2SeqConfig.emb_dim=None", 'emb_dim" - should be "int"'),
        ("TASK_PREFIX=3", "look at what task_name is given"),
        ("TRAIN_STEPS=%TRAIN_STEPS", "is made of itself"),
        ("objectives.TokensConfig.model=@objectives.TokensConfig()", "of itself"),
    ],
)
def test_values_of_another_kind(binding, message):
    with pytest.raises(ValueError, match=message) as error:
        config.load(PLAIN, [*TRAIN, binding])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo.x = 1\n", "No configurable matching 'foo'; .*line 1; known are"),
        ("DYNAMIC\ntrain.TrainConfig.steps = 3\n", "from mt3x.training import train"),
        (
            "DYNAMIC\nfrom mt3 import network\nnetwork.T5Config.emb_dim = 8\n",
            r"for MT3's or T5X's modules.*is seq2seq\.Seq2SeqConfig\.emb_dim here",
        ),
        (
            "DYNAMIC\nimport __main__ as run\nrun.train.x = 1\n",
            "MT3's or T5X's modules",
        ),
        ("include 'model.gin'\n", r"model\.gin .* is models/mt3_small\.gin here"),
        ("include 'ismir2022/base.gin'\n", r"is models/mt3_base\.gin here"),
        ("BATCH_SIZE = [\n", r"EOF in multi-line statement \(line 2"),
        (
            "SPECTROGRAM_CONFIG = 3\n",
            r"CONFIG \(.*own\.gin:1\).*features\.LogMelConfig",
        ),
        (
            "\nCHECKPOINT_PATH = 'a'\n",
            r"PATH \(.*own\.gin:2\).*INITIAL_CHECKPOINT_PATH",
        ),
    ],
)
def test_errors_in_files_name_file_and_remedy(tmp_path, text, message):
    own = tmp_path / "own.gin"
    own.write_text(text.replace("DYNAMIC", "from __gin__ import dynamic_registration"))
    with pytest.raises((ValueError, OSError), match=message) as error:
        config.load([*PLAIN, own], TRAIN)
    assert "\n" not in str(error.value) and "own.gin" in str(error.value)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("ismir2022/small.gin", r"is models/mt3_small\.gin here"),
        ("local_tiny.gin", r"is experiments/tiny_cpu\.gin here"),
        ("experiments/tinycpu.gin", r"close to it: experiments/tiny_cpu\.gin"),
        ("t5x/pretrain.gin", "for T5X.*take train.gin"),
    ],
)
def test_files_of_others(name, remedy):
    with pytest.raises((ValueError, OSError), match=remedy):
        config.load([MT3, name], TRAIN)


def test_training_begins_with_a_checkpoint_by_its_macro(tmp_path):
    initial = "INITIAL_CHECKPOINT_PATH='a.safetensors'"
    for files in (PLAIN, ["models/hppnet_tiny.gin"]):
        train = config.load(files, [*TRAIN[:1] * (files is PLAIN), initial]).train
        assert train.init_weights == "a.safetensors"
    both = [initial, "train.TrainConfig.init_weights='b'"]
    with pytest.raises(ValueError, match="without effect: INITIAL_CHECKPOINT_PATH;"):
        config.load(PLAIN, [*TRAIN, *both])
    own = tmp_path / "own.gin"
    own.write_text("INITIAL_CHECKPOINT_PATH = 'a.safetensors'\n")
    with pytest.raises(ValueError, match=r"effect: INITIAL_CHECKPOINT_PATH \(.*gin:1"):
        config.load([*PLAIN, own], [*TRAIN, both[1]])


@pytest.mark.parametrize(
    "bindings",
    [
        ["MODEL_DIR='runs/b'", "INITIAL_CHECKPOINT_PATH='a'"],
        ["MODEL_DIR='runs/a'"],  # its own checkpoint
    ],
)
def test_macros_of_other_commands_are_warned_of(tmp_path, bindings):
    own = tmp_path / "own.gin"
    own.write_text("CHECKPOINT_PATH = 'runs/a/checkpoints/5'\nTASK_SUFFIX = 'test'\n")
    files, bindings = [*PLAIN, own], [TRAIN[0], *bindings]
    with pytest.warns(UserWarning, match=r"CHECKPOINT_PATH \(.*own\.gin:1\), TASK_S"):
        training = config.load_training(files, bindings)
    assert "\nCHECKPOINT_PATH =" not in training.operative
    config.load_transcription(Evaluation, ["eval.gin", *files], EVAL)


def test_run_folder():
    files, steps = [MT3, "train.gin", "tasks/slakh.gin"], TRAIN[0]
    assert config.load_training(files, TRAIN).run_dir == Path("runs/a")
    same = config.load_training(files, TRAIN, run_dir=Path("runs/b/../a"))
    assert same.run_dir == Path("runs/a")
    assert config.load_training(files, [steps], run_dir=Path("b")).run_dir == Path("b")
    with pytest.raises(ValueError, match=r"runs/b and MODEL_DIR runs/a differ"):
        config.load_training(files, TRAIN, run_dir=Path("runs/b"))
    for given in (files, [MT3]):
        with pytest.raises(ValueError, match="MODEL_DIR is not set"):
            config.load_training(given, [steps] if given is files else [])


@pytest.mark.parametrize(
    "files",
    [
        [MT3, "train.gin", "tasks/slakh.gin"],
        ["experiments/piano_cpu.gin"],
        ["experiments/piano_gpu.gin"],
        ["experiments/pedal_cpu.gin"],
        ["experiments/band_cpu.gin"],
        ["experiments/band_gpu.gin"],
        ["models/hppnet_sp.gin"],
    ],
)
def test_operative_config_reads_back(files, tmp_path):
    bindings = TRAIN[:1] if "train.gin" in files else []
    training = config.load_training(files, bindings, run_dir=Path("runs/a"))
    file = tmp_path / "operative_config.gin"
    file.write_text(training.operative)
    again = config.load_training([file], run_dir=Path("runs/b"))
    assert again.experiment == training.experiment
    assert again.operative == training.operative


def test_search_paths(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "part.gin").write_text("TRAIN_STEPS = 1234\n")
    (own / "whole.gin").write_text(
        f"include '{MT3}'\ninclude 'train.gin'\ninclude 'part.gin'\nTASK_PREFIX = 'a'\n"
    )
    assert config.load(["whole.gin"], search_paths=[own]).train.steps == 1234
    with pytest.raises(FileNotFoundError, match=r"whole\.gin: no such gin file"):
        config.load(["whole.gin"])
    with pytest.raises(OSError, match=r"part\.gin"):
        config.load([own / "whole.gin"])
    with pytest.raises(FileNotFoundError, match="no such folder of gin files"):
        config.load(["whole.gin"], search_paths=[tmp_path / "none"])


@pytest.mark.parametrize("file", FILES)
def test_gin_file_has_a_header(file):
    text = (config.gin_dir() / file).read_text(encoding="utf-8")
    assert text.startswith("# ")
    if file.startswith("experiments/"):
        header = text.split("from __gin__")[0]
        assert f"--gin_file={file}" in header
        for word in ("mt3x train", "Hardware", "Time", "result"):
            assert word in header, word


@pytest.mark.parametrize(
    ("size", "thousands"), [("tiny", 151), ("base", 820), ("sp", 1240)]
)
def test_models_have_their_size(size, thousands):
    experiment = config.load([f"models/hppnet_{size}.gin"])
    shapes = jax.eval_shape(
        PianoObjective(experiment.objective).init, jax.random.key(0)
    )
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == pytest.approx(1000 * thousands, rel=0.01)


@pytest.mark.parametrize("name", ["acoustic", "mt3_heads", "band"])
def test_models_have_the_size_that_they_tell(name):
    file = f"models/{name}.gin"
    objective = make_objective(config.load([file]).objective)
    shapes = jax.eval_shape(objective.init, jax.random.key(0))
    arrays = batch_norm.variables(shapes)["params"]
    count = sum(leaf.size for leaf in jax.tree.leaves(arrays))
    assert f" {count:,} parameters" in (config.gin_dir() / file).read_text()


def test_the_acoustic_transformer_has_tasks_of_its_vocabulary():
    from mt3x.data import pipeline

    files = ["models/acoustic.gin", "train.gin", "tasks/slakh.gin"]
    experiment = config.load(files, TRAIN)
    task, tokens = experiment.data.task, experiment.objective.tokens
    assert task == "slakh_notes_ties_ms2.04vb1_train"
    pipeline.check_tokens(task, "mt3x.tasks", tokens)
    with pytest.raises(ValueError, match="slakh_notes_ties_vb1_train"):
        pipeline.check_tokens("slakh_notes_ties_vb1_train", "mt3x.tasks", tokens)


def test_bindings_win_and_need_no_import():
    experiment = config.load(
        ["models/hppnet_tiny.gin"],
        [
            "train.TrainConfig.steps=7",
            "hppnet.HPPNetConfig.channels=16",
            "objectives.PianoConfig.decoding=@roll_decoder.RollDecodingConfig()",
            "roll_decoder.RollDecodingConfig.onset_threshold=0.25",
        ],
    )
    assert experiment.train.steps == 7
    assert experiment.objective.model.channels == 16
    assert experiment.objective.decoding.onset_threshold == 0.25


def test_stems_and_heads_can_be_bound():
    bindings = [
        "seq2seq.Seq2SeqConfig.stem=@stem.StemConfig()",
        "stem.StemConfig.mode='conformer'",
        "objectives.TokensConfig.rolls=@objectives.RollsConfig()",
        "objectives.RollsConfig.channels=4",
    ]
    objective = config.load([MT3], bindings).objective
    assert objective.model.stem.mode == "conformer"
    assert objective.rolls.channels == 4


def test_files_are_found_here_first(tmp_path, monkeypatch):
    (tmp_path / "own.gin").write_text(
        "from __gin__ import dynamic_registration\n"
        "from mt3x.training import optimizers\n"
        "include 'models/hppnet_tiny.gin'\n"
        "optimizers.OptimizerConfig.learning_rate = 0.5\n"
    )
    monkeypatch.chdir(tmp_path)
    assert config.load(["own.gin"]).train.optimizer.learning_rate == 0.5


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("train.TrainConfig.step=1", "parameter named 'step'"),
        ("train.Trainer.steps=1", "has no attribute Trainer"),
        ("train.TrainConfig.steps=", "Unable to parse"),
        ("train.TrainConfig.steps=-3", "steps=-3 must be at least 1"),
        ("optimizers.OptimizerConfig.schedule='linear'", "none of constant"),
        ("rolls.RollLabelConfig.onset_radius_frames=2", "without effect"),
        ("x/train.TrainConfig.steps=1", "without effect: x/"),
    ],
)
def test_bad_bindings(binding, message):
    with pytest.raises(ValueError, match=message) as error:
        config.load(["models/hppnet_tiny.gin"], [binding])
    assert "\n" not in str(error.value)


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.gin"):
        config.load(["nowhere.gin"])
    bad = tmp_path / "bad.gin"
    bad.write_text("train.TrainConfig.steps = [\n")
    with pytest.raises(ValueError, match=r"bad\.gin"):
        config.load([bad])
    bad.write_text("from __gin__ import dynamic_registration\nimport mt3x.nothing\n")
    with pytest.raises(ValueError, match=r"bad\.gin.*mt3x\.nothing"):
        config.load([bad])
    bad.write_text("include 'nowhere.gin'\n")
    with pytest.raises(OSError, match=r"nowhere\.gin"):
        config.load([bad])


def test_nothing_is_left_behind():
    config.load(["models/hppnet_tiny.gin"], ["hppnet.HPPNetConfig.channels=16"])
    assert gin.config_str().strip() == ""
    assert config.load(["models/hppnet_tiny.gin"]).objective.model.channels == 48


LOAD = """
from mt3x import config
print(config.gin_dir())
print(config.load(["models/hppnet_base.gin"]).objective.model.channels)
"""


@pytest.mark.parametrize("kind", ["checkout", "built"])
def test_gin_files_are_found(kind, tmp_path):
    """From the checkout, and from an installation's layout in another folder."""
    source = ROOT
    if kind == "built":
        source = tmp_path / "source"
        source.mkdir()
        for name in ("setup.py", "pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, source)
        for name in ("mt3x", "gin", "tasks"):
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        # What goes into a wheel, without the wheel's zip file.
        subprocess.run(
            [sys.executable, "setup.py", "-q", "build_py", "--build-lib", "built"],
            cwd=source,
            check=True,
            capture_output=True,
        )
        source = source / "built"
        assert (source / "mt3x" / "py.typed").is_file()
    folder = source / ("mt3x/gin" if kind == "built" else "gin")
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOAD],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(folder), "128"]
