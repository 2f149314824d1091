"""Mixtures of data sets: `mega`, which the model `mt3` was trained on."""

import functools

from mt3x.tasks import cerberus4, guitarset, maestro, musicnet, slakh, urmp

from mt3x.data.pipeline import add_mixture, mixing_rate, token_task_name
from mt3x.music.vocabulary import TokenizerConfig

MEGA = (
    maestro.MAESTRO_V3,
    guitarset.GUITARSET,
    urmp.URMP,
    musicnet.MUSICNET_EM,
    cerberus4.CERBERUS4,
    slakh.SLAKH,
)
TEMPERATURE = 10 / 3

for _suffix, _of_each in {"train": "train", "eval": "validation"}.items():
    add_mixture(
        token_task_name("mega", TokenizerConfig(), _suffix),
        [token_task_name(data.name, TokenizerConfig(), _of_each) for data in MEGA],
        rate=functools.partial(mixing_rate, temperature=TEMPERATURE),
    )
