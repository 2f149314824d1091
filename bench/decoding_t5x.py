"""Audio to event tokens: mt3x against MT3's own inference on T5X, at equal weights.

    PYTHONPATH=. python bench/decoding_t5x.py [--segments 16] [--tokens 128]

needs mt3 and t5x (their main branches). Both get the same audio, random weights of the
published size, and 2 CPU cores; both compute features, encode and decode greedily, MT3
as its notebook does (batches of 8 segments of 256 frames, T5X's beam search with one
beam, at most 1024 tokens). Random weights do not end segments by themselves, so that
the number of tokens is forced: first the same for all segments, then as in music,
log-normal with a median of 180. Printed are seconds per minute of audio, by the clock
and of CPU time (which other work on the machine disturbs less), and how many times
faster mt3x is.

(`bench/decoding.py` is about another decoding: of HPPNet's piano rolls.)
"""

import argparse
import os
import time

from timing import limit_threads

limit_threads()
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import seqio  # noqa: E402
import t5x.adafactor  # noqa: E402
import tensorflow as tf  # noqa: E402
from mt3 import models, network, spectrograms, vocabularies  # noqa: E402

from mt3x.inference.decoding import DecodingConfig, generate_stream  # noqa: E402
from mt3x.models.objectives import TokensConfig, TokensObjective  # noqa: E402
from mt3x.music.vocabulary import EOS_ID  # noqa: E402

BATCH = 8  # MT3's
OURS, OTHER = "mt3x", "MT3 on T5X"
CONFIG = TokensConfig()
SEGMENT_S = CONFIG.num_frames / CONFIG.features.frame_rate_hz
ALMOST_SURE = 1e6


def force(logits_BxV: jax.Array, is_last_B: jax.Array) -> jax.Array:
    """Make EOS certain where it is due and impossible elsewhere."""
    shift_B = jnp.where(is_last_B, ALMOST_SURE, -ALMOST_SURE)
    return logits_BxV.at[:, EOS_ID].add(shift_B)


class MT3:
    """MT3's network in its T5X model, used as in its notebook."""

    def __init__(self, params) -> None:
        size = CONFIG.model
        codec = vocabularies.build_codec(
            vocabularies.VocabularyConfig(num_velocity_bins=1)
        )
        self.spectrogram_config = spectrograms.SpectrogramConfig()
        model = ForcedModel(
            module=network.Transformer(
                config=network.T5Config(
                    vocab_size=size.vocab_size,
                    emb_dim=size.emb_dim,
                    num_heads=size.num_heads,
                    head_dim=size.head_dim,
                    num_encoder_layers=size.num_encoder_layers,
                    num_decoder_layers=size.num_decoder_layers,
                    mlp_dim=size.mlp_dim,
                    mlp_activations=size.mlp_activations,
                )
            ),
            input_vocabulary=seqio.PassThroughVocabulary(size=0),
            output_vocabulary=vocabularies.vocabulary_from_codec(codec),
            optimizer_def=t5x.adafactor.Adafactor(decay_rate=0.8, step_offset=0),
            input_depth=spectrograms.input_depth(self.spectrogram_config),
        )

        def predict(params, batch):
            model.num_tokens_B = batch["num_tokens"]
            return model.predict_batch_with_aux(params, batch)[0]

        self.params, self.predict = params, jax.jit(predict)

    def __call__(self, frames_NxTxW: np.ndarray, num_tokens_N: np.ndarray):
        """Tokens of each segment."""
        tokens = []
        for first in range(0, len(frames_NxTxW), BATCH):
            feats = [
                spectrograms.compute_spectrogram(
                    tf.reshape(frames_TxW, [-1]), self.spectrogram_config
                ).numpy()
                for frames_TxW in frames_NxTxW[first : first + BATCH]
            ]
            batch = {
                "encoder_input_tokens": np.stack(feats),
                "decoder_input_tokens": np.zeros((BATCH, CONFIG.max_tokens), np.int32),
                "num_tokens": num_tokens_N[first : first + BATCH],
            }
            tokens += list(np.asarray(self.predict(self.params, batch)))
        return [row[:n] for row, n in zip(tokens, num_tokens_N, strict=True)]


class ForcedModel(models.ContinuousInputsEncoderDecoderModel):
    """MT3's model, made to end segments where they are to end."""

    num_tokens_B: jax.Array

    def _compute_logits_from_slice(self, decoding_state, *args, **kwargs):
        logits, cache = super()._compute_logits_from_slice(
            decoding_state, *args, **kwargs
        )
        is_last_B = decoding_state.cur_index + 1 == self.num_tokens_B
        return force(logits, is_last_B), cache


class Ours:
    """The same by mt3x."""

    def __init__(self, params, num_slots: int) -> None:
        objective = TokensObjective(CONFIG)

        def start(params, batch):
            cache = objective.start(params, batch["frames"], batch["num_frames"])
            return cache, batch["num_tokens"]

        def step(params, state, tokens_B, positions_B, length):
            cache, num_tokens_B = state
            logits, cache = objective.step(params, cache, tokens_B, positions_B, length)
            return force(logits, positions_B + 1 == num_tokens_B), (cache, num_tokens_B)

        self.start = jax.tree_util.Partial(start, params)
        self.step = jax.tree_util.Partial(step, params)
        self.num_slots = num_slots

    def __call__(self, frames_NxTxW: np.ndarray, num_tokens_N: np.ndarray):
        items = (
            {
                "frames": frames_TxW,
                "num_frames": np.int32(len(frames_TxW)),
                "num_tokens": num_tokens,
            }
            for frames_TxW, num_tokens in zip(frames_NxTxW, num_tokens_N, strict=True)
        )
        decoding = DecodingConfig(max_tokens=CONFIG.max_tokens)
        tokens = dict(
            generate_stream(self.start, self.step, items, self.num_slots, decoding)
        )
        return [tokens[n] for n in range(len(frames_NxTxW))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segments", type=int, default=16, help="a multiple of 8")
    parser.add_argument("--tokens", type=int, default=128, help="of the equal case")
    parser.add_argument("--slots", type=int, default=16, help="of mt3x")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (args.segments, CONFIG.num_frames, CONFIG.features.hop_samples)
    frames_NxTxW = rng.normal(scale=0.1, size=shape).astype(np.float32)
    params = TokensObjective(CONFIG).init(jax.random.key(0))
    calls = {OURS: Ours(params, args.slots), OTHER: MT3(params)}
    drawn_N = np.exp(rng.normal(np.log(180), 0.5, args.segments))
    cases = {
        f"{args.tokens} tokens each": np.full(args.segments, args.tokens, np.int32),
        "as in music": np.clip(drawn_N, 20, 1000).astype(np.int32),
    }
    minutes = args.segments * SEGMENT_S / 60
    calls[OTHER](frames_NxTxW[:BATCH], np.full(BATCH, 2, np.int32))
    for title, num_tokens_N in cases.items():
        calls[OURS](frames_NxTxW, num_tokens_N)
        clock, cpu, tokens = {}, {}, {}
        for name, call in calls.items():
            start_s, cpu_s = time.perf_counter(), time.process_time()
            tokens[name] = np.concatenate(call(frames_NxTxW, num_tokens_N))
            clock[name] = (time.perf_counter() - start_s) / minutes
            cpu[name] = (time.process_time() - cpu_s) / minutes
        print(f"{title}: mean {num_tokens_N.mean():.0f}, most {num_tokens_N.max()}")
        for name, times in (("clock", clock), ("CPU", cpu)):
            line = ", ".join(f"{call} {times[call]:6.1f} s/min" for call in calls)
            print(f"  {name:6s}{line}, ratio {times[OTHER] / times[OURS]:.1f}")
        same = np.mean(tokens[OURS] == tokens[OTHER])
        print(f"  {100 * same:.1f} % of tokens are equal", flush=True)


if __name__ == "__main__":
    main()
