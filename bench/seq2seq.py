"""MT3's network, its features and single steps against the authors' code.

    python bench/seq2seq.py

needs github.com/magenta/mt3 with its requirements. Both have the same parameters and
two CPU threads. A step of ours decodes with the cache filled as far as said; theirs
always reads all of it (1024 positions). A ratio above 1 says that mt3x is faster.
"""

import argparse
import dataclasses
import os
import sys

from timing import limit_threads, median_times, report

limit_threads()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from mt3x.models.features import LogMelConfig, log_mel  # noqa: E402
from mt3x.models.seq2seq import SIZES, Seq2Seq  # noqa: E402

try:
    import tensorflow as tf
    from mt3 import network, spectrograms
except ImportError as error:
    sys.exit(f"skipped: {error}")

FRAMES, MAX_TOKENS = 256, 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--train-tokens", type=int, default=256)
    parser.add_argument("--lengths", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--steps", type=int, default=8, help="of a decoding loop")
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(2)
    config = SIZES[args.size]
    names = {field.name for field in dataclasses.fields(network.T5Config)}
    sizes = {k: v for k, v in dataclasses.asdict(config).items() if k in names}
    ours, theirs = Seq2Seq(config), network.Transformer(network.T5Config(**sizes))
    params = jax.jit(ours.init)(jax.random.key(0), *inputs(1, 2)[:2])
    for batch in args.batches:
        compare_features(batch, args.repeats)
        compare_training(ours, theirs, params, batch, args.train_tokens, args.repeats)
        for length in args.lengths:
            compare_steps(ours, theirs, params, batch, length, args.steps, args.repeats)


def inputs(batch: int, num_tokens: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    feats_BxTxF = jax.random.normal(jax.random.key(1), (batch, FRAMES, 512)) - 5.0
    tokens_BxL = jax.random.randint(jax.random.key(2), (batch, num_tokens), 1, 1536)
    return feats_BxTxF, tokens_BxL, tokens_BxL


def compare_features(batch: int, repeats: int) -> None:
    samples_BxS = np.random.default_rng(3).normal(0, 0.1, (batch, FRAMES * 128))
    samples_BxS = samples_BxS.astype(np.float32)
    ours = jax.jit(lambda samples: log_mel(samples, LogMelConfig()))
    config = spectrograms.SpectrogramConfig()
    theirs = tf.function(lambda x: spectrograms.compute_spectrogram(x, config))
    np.testing.assert_allclose(ours(samples_BxS), theirs(samples_BxS), atol=2e-4)
    calls = {
        "mt3x": lambda: jax.block_until_ready(ours(samples_BxS)),
        "mt3": lambda: theirs(samples_BxS).numpy(),
    }
    times_s = median_times(calls, repeats)
    report(f"log-mel, batch {batch}", times_s, "mt3x", "mt3")


def compare_training(ours, theirs, params, batch, num_tokens, repeats) -> None:
    """Loss and gradients with dropout."""
    feats, tokens, targets = inputs(batch, num_tokens)

    def loss_of(apply):
        def loss(params, rng):
            log_probs = jax.nn.log_softmax(apply(params, {"dropout": rng}))
            chosen = jnp.take_along_axis(log_probs, targets[..., None], axis=-1)
            return -jnp.mean(chosen)

        return jax.jit(jax.value_and_grad(loss))

    steps = {
        "mt3x": loss_of(
            lambda p, rngs: ours.apply(p, feats, tokens, deterministic=False, rngs=rngs)
        ),
        "mt3": loss_of(
            lambda p, rngs: theirs.apply(p, feats, tokens, targets, rngs=rngs)
        ),
    }
    rng = jax.random.key(4)
    calls = {
        name: lambda step=step: jax.block_until_ready(step(params, rng))
        for name, step in steps.items()
    }
    times_s = median_times(calls, repeats)
    title = f"training step, {batch} x {num_tokens} tokens"
    report(title, times_s, "mt3x", "mt3")


def compare_steps(ours, theirs, params, batch, length, num_steps, repeats) -> None:
    """Loops of greedy steps that end at `length`, in milliseconds a loop."""
    feats, _, _ = inputs(batch, 1)
    encoded = jax.jit(lambda p: ours.apply(p, feats, method="encode"))(params)
    first = length - num_steps
    state = {
        "mt3x": jax.jit(lambda p: ours.apply(p, encoded, MAX_TOKENS, method="start"))(
            params
        ),
        "mt3": their_cache(theirs, batch, first),
    }

    def our_step(params, cache, tokens_B, n):
        positions_B = jnp.full(batch, first, jnp.int32) + n
        return ours.apply(params, cache, tokens_B, positions_B, length, method="step")

    def their_step(params, cache, tokens_B, n):
        logits_Bx1xV, changed = theirs.apply(
            {**params, "cache": cache},
            encoded,
            feats,
            tokens_B[:, None],
            tokens_B[:, None],
            enable_dropout=False,
            decode=True,
            max_decode_length=MAX_TOKENS,
            mutable=["cache"],
            method=theirs.decode,
        )
        return logits_Bx1xV[:, 0], changed["cache"]

    def loop_of(step):
        def loop(params, cache):
            def body(n, carry):
                logits_BxV, cache = step(params, *carry, n)
                return cache, jnp.argmax(logits_BxV, axis=-1).astype(jnp.int32)

            return jax.lax.fori_loop(
                0, num_steps, body, (cache, jnp.zeros(batch, jnp.int32))
            )

        return jax.jit(loop, donate_argnums=1)

    def call_of(name, loop):
        def call():
            state[name], tokens_B = loop(params, state[name])
            tokens_B.block_until_ready()

        return call

    calls = {
        "mt3x": call_of("mt3x", loop_of(our_step)),
        "mt3": call_of("mt3", loop_of(their_step)),
    }
    times_s = median_times(calls, repeats)
    title = f"{num_steps} steps, {batch} rows, up to {length}"
    report(title, times_s, "mt3x", "mt3")


def their_cache(theirs, batch, first):
    """Return their cache with its index at `first`; it passes from loop to loop."""
    tokens_BxL = jnp.zeros((batch, MAX_TOKENS), jnp.int32)
    feats = jnp.zeros((batch, FRAMES, 512))
    shapes = jax.eval_shape(
        lambda: theirs.init(
            jax.random.key(0), feats, tokens_BxL, tokens_BxL, decode=True
        )
    )["cache"]
    return jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, 0 if leaf.shape else first, leaf.dtype),
        shapes,
    )


if __name__ == "__main__":
    main()
