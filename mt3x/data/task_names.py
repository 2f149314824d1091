"""What gin files work out from MT3's macros: names of tasks, lengths, sizes.

MT3 names a task by a prefix that says what it is about, what differs from the defaults
in spectrogram and vocabulary, and a suffix: `slakh_notes_ties` + `vb1` + `train`.
"""

from collections.abc import Mapping

from mt3x.music.vocabulary import Codec, VocabConfig

__all__ = ["feature_length", "num_embeddings", "task_name"]


def task_name(
    task_prefix: str,
    vocab: VocabConfig | None = None,
    task_suffix: str = "",
    sample_rate_hz: int = 16000,
    hop_samples: int = 128,
) -> str:
    """Return MT3's name of a task, such as `slakh_notes_ties_vb1_train`.

    Args:
      task_prefix: data set and what is written of it: `slakh_notes_ties`,
        `maestrov3_rolls`.
      vocab: of the tokens; None where the task has none.
      task_suffix: train, eval, validation, test, ...
      sample_rate_hz: of the audio.
      hop_samples: in a frame of the audio.
    """
    words = [task_prefix]
    words.append(_abbreviated(sr=(sample_rate_hz, 16000), hw=(hop_samples, 128)))
    if vocab is not None:
        words.append(
            _abbreviated(
                ss=(vocab.steps_per_second, 100),
                ms=(vocab.max_shift_steps / vocab.steps_per_second, 10),
                vb=(vocab.num_velocity_bins, 127),
            )
        )
    return "_".join(word for word in [*words, task_suffix] if word)


def _abbreviated(**parts: tuple[float, float]) -> str:
    """Return the values that differ from their defaults, as letters and numbers."""
    return "".join(
        f"{letters}{value:g}"
        for letters, (value, default) in parts.items()
        if value != default
    )


def feature_length(lengths: Mapping[str, int], feature: str) -> int:
    """Return one of TASK_FEATURE_LENGTHS, `{'inputs': frames, 'targets': tokens}`.

    Raises:
      ValueError: it is not there.
    """
    if not isinstance(lengths, Mapping) or feature not in lengths:
        raise ValueError(
            f"TASK_FEATURE_LENGTHS={lengths!r} has no {feature!r}; give "
            "{'inputs': frames, 'targets': tokens}"
        )
    return lengths[feature]


def num_embeddings(vocab: VocabConfig) -> int:
    """Return the rows of a model's embedding for a vocabulary."""
    return Codec(vocab).num_embeddings
