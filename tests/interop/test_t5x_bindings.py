"""Which bindings T5X may be given, without T5X: of a program that gin decorates."""

import importlib
import sys
import types

import gin
import pytest

from mt3x import config
from mt3x.interop import not_under_t5x
from mt3x.interop.t5x_bindings import check_bindings


@gin.configurable(module="toy_t5x")
def train(model=None, model_dir=None, begin=None, data=None):
    """Take what T5X's program takes."""


RUN = """
import toy_t5x
MODEL_DIR = '/runs/a'
INITIAL_CHECKPOINT_PATH = []
MODEL = @objectives.TokensConfig()
toy_t5x.train.model = %MODEL
toy_t5x.train.model_dir = %MODEL_DIR
toy_t5x.train.begin = %INITIAL_CHECKPOINT_PATH
toy_t5x.train.data = @here/experiment.TaskConfig()
objectives.TokensConfig.model = @seq2seq.Seq2SeqConfig()
seq2seq.Seq2SeqConfig.emb_dim = 8
here/experiment.TaskConfig.batch_size = 3
experiment.TaskConfig.seed = 4
"""


class T5Config:
    def __init__(self, emb_dim=512):
        """Take what T5X's class takes."""


class Transformer:
    def __init__(self, config=None):
        """Take what T5X's class takes."""


MODULE = types.ModuleType("toy_t5x")
for _one in (train, T5Config, Transformer):
    _one.__module__ = MODULE.__name__
    setattr(MODULE, _one.__name__, _one)


@pytest.fixture
def bind(monkeypatch):
    """Let gin parse a text after a run's."""
    monkeypatch.setitem(sys.modules, MODULE.__name__, MODULE)
    gin.clear_config()
    yield lambda text: gin.parse_config(config.HEADER + RUN + text)
    gin.clear_config()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "TASK_SUFFIX = 'test'\nEVAL_OUTPUT_DIR = 'scores'\n",  # of t5x/eval.gin
        "train.TrainConfig.log_interval = 3\n",  # of `mt3x train`
        "hppnet.HPPNetConfig.channels = 4\n",  # of models/hppnet_tiny.gin
        "MINE = 4\nseq2seq.Seq2SeqConfig.num_heads = %MINE\n",  # read by way of others
        "CHECKPOINT_PATH = '/runs/a/checkpoint_5'\n",  # the run's own
        "CHECKPOINT_PATH = %MODEL_DIR\n",
        "CHECKPOINT_PATH = '/b'\nINITIAL_CHECKPOINT_PATH = '/c'\n",
    ],
)
def test_bindings_that_may_stand(bind, text):
    bind(text)
    check_bindings()


T5 = "toy_t5x.T5Config.emb_dim = 8\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("CHECKPOINT_PATH = '/b'\n", "CHECKPOINT_PATH is INITIAL_CHECKPOINT_PATH here"),
        ("SPECTROGRAM_CONFIG = 1\n", r"CONFIG is features\.LogMelConfig here"),
        ("OUTPUT_VOCABULARY = 1\n", "OUTPUT_VOCABULARY is VOCAB_CONFIG here"),
        ("MY_OWN = 1\n", "effect under T5X: MY_OWN; remove them"),
        (T5, r"T5Config\.emb_dim is seq2seq\.Seq2SeqConfig\.emb_dim here"),
        (
            f"toy_t5x.Transformer.config = @toy_t5x.T5Config()\n{T5}",
            r"Transformer\.config is objectives\.TokensConfig\.model here",
        ),
        ("there/seq2seq.Seq2SeqConfig.emb_dim = 3\n", "effect under T5X: there/"),
    ],
)
def test_bindings_without_effect(bind, text, message):
    bind(text)
    with pytest.raises(ValueError, match=message) as error:
        check_bindings()
    assert "\n" not in str(error.value)


def test_nothing_is_checked_where_no_program_is_bound():
    gin.clear_config()
    check_bindings()


@pytest.mark.parametrize("name", ["train", "eval", "infer"])
def test_files_of_our_commands_end_t5x(monkeypatch, name):
    """MT3's and T5X's have their names; `mt3x train` reads them all the same."""
    text = (config.gin_dir() / f"{name}.gin").read_text(encoding="utf-8")
    assert "from mt3x.interop import not_under_t5x\n" in text
    main = types.ModuleType("__main__")
    for spec, file, ends in [
        ("t5x.train", None, True),
        (None, "/lib/t5x/infer.py", True),
        ("mt3x.__main__", None, False),
        (None, "/home/me/t5x.py", False),
        (None, None, False),
    ]:
        main.__spec__ = types.SimpleNamespace(name=spec) if spec else None
        main.__file__ = file
        monkeypatch.setitem(sys.modules, "__main__", main)
        if ends:
            with pytest.raises(ImportError, match=r"give t5x/pretrain\.gin"):
                importlib.reload(not_under_t5x)
        else:
            importlib.reload(not_under_t5x)
