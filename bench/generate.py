"""Tokens a second of the generator, against a plain softmax transformer with a cache.

    python bench/generate.py

Both are of the same size and differ in attention alone: causal linear attention with a
state whose size stays the same, and softmax attention over the keys and values of all
tokens before. The cache is exactly as long as the music so far, and is not copied.
Parameters are random, which does not matter to speed, and the likeliest token is taken.
The numbers are those of the tokens around the length that is said.
"""

import argparse

from timing import limit_threads, median_times

limit_threads()

import flax.linen as nn  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from mt3x.models.generator import (  # noqa: E402
    ConditionalNorm,
    Generator,
    GeneratorConfig,
    Mlp,
    Mood,
)
from mt3x.models.transformer import Attention, KeysValues, sinusoids  # noqa: E402


class SoftmaxGenerator(nn.Module):
    """A step of the generator with the attention of `mt3x.models.transformer`."""

    config: GeneratorConfig
    length: int

    @nn.compact
    def __call__(self, token_B, mood_Bx2, caches, position):
        config = self.config
        condition_Bx1xC = Mood(config.mood_width)(mood_Bx2)
        x_BxD = nn.Embed(config.vocab_size, config.width)(token_B)
        table = jnp.asarray(sinusoids(self.length, config.width))
        x_Bx1xD = (x_BxD + table[position])[:, None]
        after = []
        for cache in caches:
            y_BxD = ConditionalNorm()(x_Bx1xD, condition_Bx1xC)[:, 0]
            head_dim = config.width // config.num_heads
            attention = Attention(
                config.num_heads, head_dim, config.width, 0.0, jnp.float32
            )
            last_B = jnp.full(len(y_BxD), position)
            cache = attention.append(cache, y_BxD, last_B)
            after.append(cache)
            x_Bx1xD += attention.step(y_BxD, cache, last_B)[:, None]
            y = ConditionalNorm()(x_Bx1xD, condition_Bx1xC)
            x_Bx1xD += Mlp(config.mlp_width)(y)
        x_Bx1xD = ConditionalNorm()(x_Bx1xD, condition_Bx1xC)
        return nn.Dense(config.vocab_size)(x_Bx1xD)[:, 0], after


class Runner:
    """Continues music by some tokens, and keeps the state."""

    def __init__(self, step, params, state, batch, num_steps):
        self._params, self._num_steps = params, num_steps
        self._carried = (jnp.ones(batch, jnp.int32), state)

        def go_on(params, carried):
            def body(index, carried):
                token_B, state = carried
                logits_BxV, state = step(params, token_B, state, index)
                return jnp.argmax(logits_BxV, -1).astype(jnp.int32), state

            return jax.lax.fori_loop(0, num_steps, body, carried)

        self._go_on = jax.jit(go_on, donate_argnums=1)

    def __call__(self):
        self._carried = jax.block_until_ready(self._go_on(self._params, self._carried))


def linear(config: GeneratorConfig, batch: int, num_steps: int) -> Runner:
    model, mood_Bx2 = Generator(config), jnp.zeros((batch, 2))
    token_Bx1 = jnp.ones((batch, 1), jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), token_Bx1, mood_Bx2)

    def step(params, token_B, state, index):
        return model.apply(params, token_B, mood_Bx2, state, method=Generator.step)

    return Runner(step, params, model.initial_state(batch), batch, num_steps)


def softmax(config: GeneratorConfig, batch: int, length: int, num_steps: int) -> Runner:
    model, mood_Bx2 = SoftmaxGenerator(config, length), jnp.zeros((batch, 2))
    head_width = config.width // config.num_heads
    shape = (batch, config.num_heads, length, head_width)
    caches = [
        (KeysValues(jnp.zeros(shape), jnp.zeros(shape)),)
        for _ in range(config.num_layers)
    ]
    token_B = jnp.ones(batch, jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), token_B, mood_Bx2, caches, 0)

    def step(params, token_B, caches, index):
        position = length - num_steps + index
        return model.apply(params, token_B, mood_Bx2, caches, position)

    return Runner(step, params, caches, batch, num_steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16384])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=128, help="tokens that are timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=GeneratorConfig.num_layers)
    parser.add_argument("--width", type=int, default=GeneratorConfig.width)
    args = parser.parse_args()
    config = GeneratorConfig(
        num_layers=args.layers, width=args.width, mlp_width=4 * args.width
    )
    print(f"{args.layers} layers of width {args.width}; tokens a second, medians")
    for batch in args.batches:
        for length in args.lengths:
            calls = {
                "linear": linear(config, batch, args.steps),
                "softmax": softmax(config, batch, length, args.steps),
            }
            times_s = median_times(calls, args.repeats)
            rates = {name: batch * args.steps / s for name, s in times_s.items()}
            print(
                f"batch {batch}, {length:6d} tokens   linear {rates['linear']:8.0f}   "
                f"softmax {rates['softmax']:8.0f}   "
                f"ratio {rates['linear'] / rates['softmax']:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
