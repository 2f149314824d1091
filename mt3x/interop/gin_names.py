"""Names in gin files: ours, what those of MT3 and T5X are called here, near misses."""

import difflib
import functools
import importlib
import inspect
import re
from collections.abc import Iterable

from mt3x.interop.gin_files import gin_dir

# What a binding on the command line may name, whether or not a gin file imports it.
HEADER = """
from __gin__ import dynamic_registration
from mt3x.data import augment
from mt3x.data import batches
from mt3x.data import stem_batches
from mt3x.music import vocabulary
from mt3x.training import experiment
from mt3x.models import features
from mt3x.models import objectives
from mt3x.training import optimizers
from mt3x.training import partitioning
from mt3x.music import piano_postprocessing
from mt3x.music import drum_decoder
from mt3x.music import instrument_assignment
from mt3x.music import roll_decoder
from mt3x.music import rolls
from mt3x.data import task_names
from mt3x.training import train
from mt3x.models import hppnet
from mt3x.models import band
from mt3x.models import seq2seq
from mt3x.models import stem
from mt3x.models import adversarial_objective
from mt3x.models import discriminator
from mt3x.models import generator
"""

MACROS = {
    "TASK_PREFIX": "'slakh_notes_ties'",
    "TASK_FEATURE_LENGTHS": "{'inputs': 256, 'targets': 1024}",
    "NUM_VELOCITY_BINS": "1",
    "PROGRAM_GRANULARITY": "'full'",
    "ONSETS_ONLY": "False",
    "USE_TIES": "True",
    "VOCAB_CONFIG": "None",
    "Z_LOSS": "1e-4",
    "LABEL_SMOOTHING": "0.0",
    "TRAIN_STEPS": "100000",
    "MODEL_DIR": "'runs/one'",
    "BATCH_SIZE": "32",
    "LEARNING_RATE": "1e-3",
    "SEED": "1",
    "USE_CACHED_TASKS": "True",
    "MAX_EXAMPLES_PER_MIX": "8",
    "TRAIN_TASK_SUFFIX": "'train'",
    "EVAL_TASK_SUFFIX": "'validation'",
    "TASK_SUFFIX": "'test'",
    "INITIAL_CHECKPOINT_PATH": "'mt3.safetensors'",
    "CHECKPOINT_PATH": "'runs/one'",
    "EVAL_OUTPUT_DIR": "'scores'",
    "INFER_OUTPUT_DIR": "'transcriptions'",
}
"""The macros of the library's gin files, with an example of each.

A file may set one that the command at hand has no use for; others are refused.
"""

OUR_FILES = {
    "model.gin": "models/mt3_small.gin",
    "small.gin": "models/mt3_small.gin",
    "base.gin": "models/mt3_base.gin",
    "ismir2021.gin": "models/ismir2021.gin with tasks/maestro.gin",
    "mt3.gin": "tasks/mega.gin",
    "local_tiny.gin": "experiments/tiny_cpu.gin",
    "pretrain.gin": "train.gin, and t5x/pretrain.gin under T5X",
    "finetune.gin": "train.gin, and t5x/pretrain.gin under T5X, with "
    "INITIAL_CHECKPOINT_PATH",
}
"""MT3's and T5X's gin files, and what does their work here."""

_MODEL = {
    **{
        f"T5Config.{size}": f"seq2seq.Seq2SeqConfig.{size}"
        for size in (
            "emb_dim num_heads head_dim num_encoder_layers num_decoder_layers mlp_dim "
            "mlp_activations dropout_rate vocab_size"
        ).split()
    },
    "T5Config": "seq2seq.Seq2SeqConfig",
    "Transformer.config": "objectives.TokensConfig.model",
    "SpectrogramConfig.sample_rate": "features.LogMelConfig.sample_rate_hz",
    "SpectrogramConfig.hop_width": "features.LogMelConfig.hop_samples",
    "SpectrogramConfig.num_mel_bins": "features.LogMelConfig.num_bins",
    "SpectrogramConfig": "features.LogMelConfig",
    "VocabularyConfig.steps_per_second": "vocabulary.VocabConfig.steps_per_second",
    "VocabularyConfig.max_shift_seconds": "vocabulary.VocabConfig.max_shift_steps",
    "VocabularyConfig.num_velocity_bins": "NUM_VELOCITY_BINS",
    "VocabularyConfig": "vocabulary.VocabConfig",
    "map_midi_programs.granularity_type": "PROGRAM_GRANULARITY",
    "mix_transcription_examples.max_examples_per_mix": "MAX_EXAMPLES_PER_MIX",
    "construct_task_name.task_prefix": "TASK_PREFIX",
    "construct_task_name.vocab_config": "VOCAB_CONFIG",
    "construct_task_name.task_suffix": "TASK_SUFFIX",
    "ContinuousInputsEncoderDecoderModel.z_loss": "Z_LOSS",
    "ContinuousInputsEncoderDecoderModel.label_smoothing": "LABEL_SMOOTHING",
    "write_inferences_to_file.vocab_config": "VOCAB_CONFIG",
    "write_inferences_to_file.onsets_only": "ONSETS_ONLY",
    "write_inferences_to_file.use_ties": "USE_TIES",
    "CHECKPOINT_PATH": "INITIAL_CHECKPOINT_PATH",
    "SPECTROGRAM_CONFIG": "features.LogMelConfig",
    "OUTPUT_VOCABULARY": "VOCAB_CONFIG",
    "DROPOUT_RATE": "seq2seq.Seq2SeqConfig.dropout_rate",
    "MIXTURE_OR_TASK_NAME": "TASK_PREFIX",
}
"""What MT3's names are here, whoever trains: classes by their last two parts."""

_TRAINER = {
    "T5Config.dtype": "train.TrainConfig.dtype",
    "train.total_steps": "TRAIN_STEPS",
    "train.model_dir": "MODEL_DIR",
    "train.eval_period": "train.TrainConfig.eval_interval",
    "train.eval_steps": "experiment.ValidationConfig.loss_batches",
    "train.random_seed": "train.TrainConfig.seed",
    "Trainer.num_microbatches": "train.TrainConfig.microbatches",
    "PjitPartitioner.num_partitions": "partitioning.MeshConfig.model",
    "DatasetConfig.mixture_or_task_name": "TASK_PREFIX",
    "DatasetConfig.module": "experiment.TaskConfig.module",
    "DatasetConfig.task_feature_lengths": "TASK_FEATURE_LENGTHS",
    "DatasetConfig.batch_size": "BATCH_SIZE",
    "DatasetConfig.use_cached": "USE_CACHED_TASKS",
    "DatasetConfig.seed": "experiment.TaskConfig.seed",
    "SaveCheckpointConfig.period": "train.TrainConfig.checkpoint_interval",
    "SaveCheckpointConfig.keep": "train.TrainConfig.keep",
    "RestoreCheckpointConfig.path": "INITIAL_CHECKPOINT_PATH",
    "create_learning_rate_scheduler.base_learning_rate": (
        "optimizers.OptimizerConfig.learning_rate"
    ),
    "create_learning_rate_scheduler.factors": "optimizers.OptimizerConfig.schedule",
    "create_learning_rate_scheduler.warmup_steps": (
        "optimizers.OptimizerConfig.warmup_steps"
    ),
    "MODEL": "experiment.Experiment.objective",
    "OBJECTIVE": "experiment.Experiment.objective",
    "OPTIMIZER": "train.TrainConfig.optimizer",
    "RANDOM_SEED": "train.TrainConfig.seed",
    "EVAL_STEPS": "experiment.ValidationConfig.loss_batches",
    "EVAL_PERIOD": "train.TrainConfig.eval_interval",
    "CHECKPOINT_PERIOD": "train.TrainConfig.checkpoint_interval",
    "EVALUATOR_NUM_EXAMPLES": "experiment.ValidationConfig.max_clips",
    "MIXTURE_OR_TASK_MODULE": "experiment.TaskConfig.module",
}
"""What T5X's names are for `mt3x train`; under T5X they are T5X's own."""

_TRAINER_UNDER_T5X = {
    "T5Config.dtype": "t5x_models.TokensModel.dtype",
    "ContinuousInputsEncoderDecoderModel.loss_normalizing_factor": (
        "LOSS_NORMALIZING_FACTOR"
    ),
}


def ours(name: str, under_t5x: bool = False) -> str | None:
    """Return what a name of MT3 or T5X is called here; None where nothing is.

    Args:
      name: a macro, or `SCOPE/MODULE.CLASS.PARAMETER` from its class on or from before.
      under_t5x: whether T5X trains, and not `mt3x train`.
    """
    table = _MODEL | (_TRAINER_UNDER_T5X if under_t5x else _TRAINER)
    words = name.rpartition("/")[2].split(".")
    return table.get(".".join(words[-2:])) or table.get(words[-1])


def advice(names: Iterable[str], near: bool = True, under_t5x: bool = False) -> str:
    """Return what to write instead of names, as `; A is B here; ...`, or nothing.

    Args:
      names: as of `ours`.
      near: whether to name the nearest of ours where no name has that meaning.
      under_t5x: as of `ours`.
    """
    parts = []
    for name in names:
        found = ours(name, under_t5x)
        close = nearest(name) if near and not found else []
        if found:
            parts.append(f"{name} is {found} here")
        elif close:
            parts.append(f"close to {name}: {', '.join(close)}")
    more = f"; and {len(parts) - 6} more" if len(parts) > 6 else ""
    return "".join(f"; {part}" for part in parts[:6]) + more


def nearest(name: str) -> list[str]:
    """Return up to two of our names that are most like a name."""
    known = known_names()
    name = name.rpartition("/")[2]
    # Where a module is left out or another one is named, the rest counts.
    tail = ".".join(name.split(".")[-2:])
    same = [one for one in known if "." in tail and one.endswith(f".{tail}")]
    if same:
        return same[:2]
    found = difflib.get_close_matches(name, known, n=2, cutoff=0.7)
    return [one for one in found if one != name]


def modules() -> dict[str, str]:
    """Return the modules of the header, by the names that they have there."""
    found = re.findall(r"^from (mt3x\S*) import (\w+)$", HEADER, re.MULTILINE)
    return {name: f"{package}.{name}" for package, name in found}


@functools.cache
def known_names() -> tuple[str, ...]:
    """Return the macros, and all that the command line may bind.

    The latter as MODULE.CLASS and MODULE.CLASS.PARAMETER.
    """
    names = list(MACROS)
    paths = modules().values()
    for path in paths:
        module = importlib.import_module(path)
        for name, found in vars(module).items():
            home = getattr(found, "__module__", None) or ""
            # What a module takes from another of them is known by the other's name.
            elsewhere = not home.startswith("mt3x.") or home in {*paths} - {path}
            if name.startswith("_") or elsewhere or not callable(found):
                continue
            try:
                arguments = inspect.signature(found).parameters
            except ValueError:
                continue
            start = f"{path.rpartition('.')[2]}.{name}"
            names += [start, *(f"{start}.{argument}" for argument in arguments)]
    return tuple(names)


def near_files(name: str) -> str:
    """Return what to do about the name of a gin file that is not there, or nothing."""
    found = OUR_FILES.get(name.rpartition("/")[2])
    if found:
        return f"; the {name} of MT3 or T5X is {found} here"
    names = [
        path.relative_to(gin_dir()).as_posix() for path in gin_dir().rglob("*.gin")
    ]
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.7)
    return f"; close to it: {', '.join(near)}" if near else ""


_UNKNOWN = (
    r"'(?P<name>\w+)' was not provided by an import",
    r"Couldn't resolve selector (?P<name>[\w.]+)",
    r"No configurable matching (?:reference )?'@?(?P<name>[\w./]+)",
    r"Configurable '(?P<name>[\w.]+)' doesn't have a parameter named '(?P<last>\w+)'",
)


def unknown_name(message: str) -> str | None:
    """Return the name that gin does not know, out of its message; None: of no name."""
    for pattern in _UNKNOWN:
        found = re.search(pattern, message)
        if found:
            name = ".".join(filter(None, found.groupdict().values()))
            # The whole of it stands in the line that gin quotes.
            whole = re.search(
                rf"(?<![\w.]){re.escape(name)}[\w.]*", message[found.end() :]
            )
            return whole[0] if whole else name
    return None
