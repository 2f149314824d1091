"""Feature converters, by SeqIO's rules: what a task gives -> the batch of a model."""

from collections.abc import Mapping
from typing import Any, ClassVar

import seqio
import tensorflow as tf

from mt3x.data.pipeline.record_format import ROLL_NOTES
from mt3x.data.pipeline.roll_targets import draw_rolls
from mt3x.music.rolls import ROLL_NAMES, RollLabelConfig

_Spec = seqio.FeatureConverter.FeatureSpec
_ROLL_SPECS = {name: _Spec(tf.float32, rank=2) for name in ROLL_NAMES}


class TokensFeatureConverter(seqio.FeatureConverter):
    """`inputs` and `targets` -> the batch of a model that reads frames, writes tokens.

    encoder_input_tokens: float32 TxW frames, padded with zeros.
    encoder_num_frames: int32, how many frames are not padding.
    decoder_target_tokens: int32 L model ids with EOS, padded with PAD.
    decoder_input_tokens: the same after one PAD.
    decoder_loss_weights: int32 L, 1 for all but padding.

    With labels, which the task must have in its `TrainOptions`, too, also the rolls of
    all pitched instruments together (`mt3x.music.rolls.on_one_keyboard`), 0 where audio
    is padding:

    onset, frame, offset, velocity: float32 TxP.
    """

    TASK_FEATURES: ClassVar = {
        "inputs": _Spec(tf.float32, rank=2),
        "targets": _Spec(tf.int32),
    }
    MODEL_FEATURES: ClassVar = {
        "encoder_input_tokens": _Spec(tf.float32, rank=2),
        "encoder_num_frames": _Spec(tf.int32, rank=0),
        "decoder_target_tokens": _Spec(tf.int32),
        "decoder_input_tokens": _Spec(tf.int32),
        "decoder_loss_weights": _Spec(tf.int32),
    }
    PACKING_FEATURE_DTYPES: ClassVar = {}

    def __init__(
        self,
        pack: bool = False,
        labels: RollLabelConfig | None = None,
        **options: Any,
    ):
        """Take SeqIO's options, and how rolls are drawn (None: no rolls).

        Raises:
          ValueError: for `pack`; segments of audio cannot be packed.
        """
        if pack:
            raise ValueError("audio segments cannot be packed; set pack=False")
        super().__init__(pack=False, **options)
        self._labels = labels
        if labels is not None:
            self.MODEL_FEATURES = {**self.MODEL_FEATURES, **_ROLL_SPECS}

    def _convert_features(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        num_frames, labels = task_feature_lengths["inputs"], self._labels
        given: Any = ds.element_spec
        if labels is not None and ROLL_NOTES not in given:
            raise ValueError(
                "examples have no notes to draw rolls of: make the data set of "
                "with_options(task, TrainOptions(labels=...)), a task of add_task"
            )

        def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            targets = example["targets"]
            rolls = {}
            if labels is not None:
                rolls_4xTxP = draw_rolls(
                    example[ROLL_NOTES], example["num_frames"], num_frames, labels
                )
                rolls = dict(zip(ROLL_NAMES, tf.unstack(rolls_4xTxP), strict=True))
            return {
                **rolls,
                "encoder_input_tokens": example["inputs"],
                "encoder_num_frames": example["num_frames"],
                "decoder_target_tokens": targets,
                "decoder_input_tokens": seqio.autoregressive_inputs(targets),
                "decoder_loss_weights": seqio.non_padding_position(targets),
            }

        def count_frames(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            frames_TxW = example["inputs"][:num_frames]
            notes = {ROLL_NOTES: example[ROLL_NOTES]} if labels is not None else {}
            return {
                **notes,
                "inputs": frames_TxW,
                "num_frames": tf.shape(frames_TxW)[0],
                "targets": example["targets"],
            }

        ds = ds.map(count_frames, num_parallel_calls=tf.data.AUTOTUNE)
        ds = self._pack_or_pad(ds, task_feature_lengths)
        return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

    def get_model_feature_lengths(
        self, task_feature_lengths: Mapping[str, int]
    ) -> dict[str, int]:
        num_frames = task_feature_lengths["inputs"]
        num_tokens = task_feature_lengths["targets"]
        return {
            "encoder_input_tokens": num_frames,
            "encoder_num_frames": 1,  # a scalar: SeqIO leaves it unchecked
            "decoder_target_tokens": num_tokens,
            "decoder_input_tokens": num_tokens,
            "decoder_loss_weights": num_tokens,
            **(
                dict.fromkeys(ROLL_NAMES, num_frames)
                if self._labels is not None
                else {}
            ),
        }


class RollsFeatureConverter(seqio.FeatureConverter):
    """Clips and their labels -> the batch of a model that reads samples, writes rolls.

    samples: float32 S, audio padded with zeros, S = T * hop_samples.
    onset, frame, offset, velocity: float32 TxP.

    Tasks give `inputs`, frames TxW, and `targets`, Tx4xP: the rolls in this order.
    """

    TASK_FEATURES: ClassVar = {
        "inputs": _Spec(tf.float32, rank=2),
        "targets": _Spec(tf.float32, rank=3),
    }
    MODEL_FEATURES: ClassVar = {
        "samples": _Spec(tf.float32),
        **_ROLL_SPECS,
    }
    PACKING_FEATURE_DTYPES: ClassVar = {}

    def __init__(self, pack: bool = False, hop_samples: int = 320, **options: Any):
        """Take SeqIO's options, and the samples of a frame.

        Raises:
          ValueError: for `pack`; clips of audio cannot be packed.
        """
        if pack:
            raise ValueError("audio clips cannot be packed; set pack=False")
        super().__init__(pack=False, **options)
        self._hop_samples = hop_samples

    def _convert_features(
        self, ds: tf.data.Dataset, task_feature_lengths: Mapping[str, int]
    ) -> tf.data.Dataset:
        def convert(example: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            rolls_4xTxP = tf.unstack(example["targets"], num=len(ROLL_NAMES), axis=1)
            return {
                "samples": tf.reshape(example["inputs"], [-1]),
                **dict(zip(ROLL_NAMES, rolls_4xTxP, strict=True)),
            }

        ds = ds.map(
            lambda example: {name: example[name] for name in self.TASK_FEATURES},
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        ds = self._pack_or_pad(ds, task_feature_lengths)
        return ds.map(convert, num_parallel_calls=tf.data.AUTOTUNE)

    def get_model_feature_lengths(
        self, task_feature_lengths: Mapping[str, int]
    ) -> dict[str, int]:
        lengths = dict.fromkeys(ROLL_NAMES, task_feature_lengths["targets"])
        return {
            "samples": task_feature_lengths["inputs"] * self._hop_samples,
            **lengths,
        }
