"""Mixtures of data sets: `mega`, which the model `mt3` was trained on."""

import functools

import seqio

from mt3x.pipeline import mixing_rate, task_name
from mt3x.tokens import TokenizerConfig

MEGA = ("maestrov3", "guitarset", "urmp", "musicnet_em", "cerberus4", "slakh")
TEMPERATURE = 10 / 3

for _suffix, _of_each in {"train": "train", "eval": "validation"}.items():
    seqio.MixtureRegistry.add(
        task_name("mega", TokenizerConfig(), _suffix),
        [task_name(name, TokenizerConfig(), _of_each) for name in MEGA],
        default_rate=functools.partial(mixing_rate, temperature=TEMPERATURE),
    )
