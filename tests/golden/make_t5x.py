"""Write t5x_tiny.tar.gz and t5x_tiny.npz: a checkpoint of T5X and MT3's own logits.

    python tests/golden/make_t5x.py

Needs github.com/google-research/t5x and github.com/magenta/mt3 (made with commits
cc342d4 and fa04532, JAX 0.10.2, Flax 0.12.8). The checkpoint is what `t5x.train` saves
before its first step: MT3's network with Adafactor's state, every parameter moved off
its initial value. The logits are those of `mt3.network` for these parameters.
"""

import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import seqio
import t5x_inputs as inputs
from mt3 import models, network, vocabularies
from t5x import adafactor, checkpoints, partitioning, train_state

FOLDER = Path(__file__).parent


def build_model(
    network_size: Mapping[str, Any] = inputs.NETWORK,
) -> models.ContinuousInputsEncoderDecoderModel:
    """MT3's model as its gin files build it, at this size."""
    codec = vocabularies.build_codec(vocabularies.VocabularyConfig(num_velocity_bins=1))
    vocabulary = vocabularies.vocabulary_from_codec(codec)
    size = {**network_size, "vocab_size": vocabularies.num_embeddings(vocabulary)}
    return models.ContinuousInputsEncoderDecoderModel(
        module=network.Transformer(config=network.T5Config(**size)),
        input_vocabulary=seqio.vocabularies.PassThroughVocabulary(size=0),
        output_vocabulary=vocabulary,
        optimizer_def=adafactor.Adafactor(
            decay_rate=0.8,
            step_offset=0,
            logical_factor_rules=adafactor.standard_logical_factor_rules(),
        ),
        input_depth=inputs.INPUT_DEPTH,
    )


def initial_state(model) -> train_state.FlaxOptimTrainState:
    shapes = {
        "encoder_input_tokens": (2, 8, inputs.INPUT_DEPTH),
        "decoder_input_tokens": (2, 12),
        "decoder_target_tokens": (2, 12),
    }
    variables = model.get_initial_variables(jax.random.PRNGKey(0), shapes)
    return train_state.FlaxOptimTrainState.create(model.optimizer_def, variables)


def save(state, folder: Path) -> Path:
    """Let T5X save a training state; return its checkpoint."""
    partitioner = partitioning.PjitPartitioner(num_partitions=1)
    checkpoints.Checkpointer(state, partitioner, str(folder)).save(state)
    return folder / f"checkpoint_{int(state.step)}"


def main() -> None:
    model = build_model()
    state = initial_state(model)
    params = inputs.moved(jax.tree.map(np.asarray, state.params))
    state = state.replace_params(params).replace_step(np.int32(inputs.STEP))
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = save(state, Path(folder))
        with tarfile.open(FOLDER / "t5x_tiny.tar.gz", "w:gz") as tar:
            tar.add(checkpoint, arcname=checkpoint.name)

    feats_BxTxF, tokens_BxL = inputs.feats(), inputs.tokens()
    logits_BxLxV = model.module.apply(
        {"params": params},
        feats_BxTxF,
        tokens_BxL,
        # Only tells padding; there is none.
        np.ones_like(tokens_BxL),
        enable_dropout=False,
    )
    some_BxLxV = np.asarray(logits_BxLxV)[..., :: inputs.EVERY]
    np.savez_compressed(FOLDER / "t5x_tiny.npz", logits=some_BxLxV)


if __name__ == "__main__":
    main()
