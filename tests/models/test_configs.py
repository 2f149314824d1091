"""Configs of models in weights of strangers: what is not a config is one line."""

import dataclasses
import json

import pytest

from mt3x.models.features import CQTConfig
from mt3x.models.objectives import (
    BandConfig,
    PianoConfig,
    RollsConfig,
    TokensConfig,
    config_from_dict,
)
from mt3x.models.seq2seq import Seq2SeqConfig
from mt3x.models.stem import StemConfig
from mt3x.music.piano_postprocessing import PianoPostprocessing
from mt3x.music.roll_decoder import RollDecodingConfig


def leaves(values, path=()):
    """The paths of the numbers, texts and switches in a config."""
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, (list, tuple)):
        items = enumerate(values)
    else:
        yield path
        return
    for name, value in items:
        yield from leaves(value, (*path, name))


def changed(values, path, value):
    """The config with another value at a path, as JSON gives it."""
    values = json.loads(json.dumps(values))
    node = values
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = value
    return values


FULL = {
    "piano": PianoConfig(
        decoding=RollDecodingConfig(postprocessing=PianoPostprocessing())
    ),
    "band": BandConfig(
        hppnet=PianoConfig(
            decoding=RollDecodingConfig(postprocessing=PianoPostprocessing())
        )
    ),
    "tokens": dataclasses.replace(
        TokensConfig(),
        model=Seq2SeqConfig(stem=StemConfig("before", "harmonic")),
        stem_features=CQTConfig(hop_samples=128),
        rolls=RollsConfig(),
    ),
}
ODD = (float("nan"), 1e300, -1e300, 10**400, "x", [1], {}, {"a": 1})


@pytest.mark.parametrize("kind", FULL)
def test_no_value_of_a_config_can_be_odd(kind):
    """Every single one is checked, and refused in one short line."""
    values = FULL[kind].to_dict()
    assert config_from_dict(json.loads(json.dumps(values))) == FULL[kind]
    for path in leaves(values):
        for odd in ODD:
            # No class of instruments plays so many notes; the defaults: two choices.
            if (path[-1], odd) in [("min_notes", 1e300), ("min_notes", 10**400)]:
                continue
            if (path[-1], odd) == ("postprocessing", {}):
                continue
            with pytest.raises(ValueError) as error:
                config_from_dict(changed(values, path, odd))
                pytest.fail(f"{path} may be {odd}")
            assert "\n" not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize("kind", FULL)
def test_parts_of_a_config_have_their_types(kind):
    values = FULL[kind].to_dict()
    inner = {path[:n] for path in leaves(values) for n in range(1, len(path))}
    for path in sorted(inner, key=str):
        for odd in (None, 5, "x", [], [5], {"unknown": 1}):
            if path[-1] in ("rolls", "postprocessing", "hppnet") and odd is None:
                continue
            with pytest.raises(ValueError):
                config_from_dict(changed(values, path, odd))
                pytest.fail(f"{path} may be {odd}")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("model", "num_harmonics"), 10**9),
        (("features", "hop_samples"), 2**30),
        (("features", "bins_per_octave"), 10**6),
        (("features", "num_bins"), 88 * 10**6),
        (("features", "fmin_hz"), 1e-9),
        (("decoding", "postprocessing", "near_s"), 1e12),
    ],
)
def test_sizes_that_would_take_gigabytes_are_refused(path, value):
    with pytest.raises(ValueError, match=f"{path[-1]}="):
        config_from_dict(changed(FULL["piano"].to_dict(), path, value))


def test_long_windows_are_refused():
    with pytest.raises(ValueError, match=r"windows of 352 bins .* too long"):
        CQTConfig(hop_samples=321, bins_per_octave=480)


@pytest.mark.parametrize("kind", [[], {}, None, 5, "opera", "x" * 10**6])
def test_other_kinds_of_config_are_refused(kind):
    with pytest.raises(ValueError, match="which is none of piano, band, tokens") as e:
        config_from_dict({**FULL["piano"].to_dict(), "objective": kind})
    assert len(str(e.value)) < 500
