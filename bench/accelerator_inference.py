"""Transcribing on an accelerator: real-time factors, and tokens per second."""

import collections
import itertools
import time
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from accelerator_scale import (
    MT3,
    Clock,
    Scale,
    emit,
    explained,
    median_s,
    random_params,
)
from synthetic import random_batch

from mt3x.inference.audio_to_rolls import AudioToRolls
from mt3x.inference.audio_to_tokens import AudioToTokens
from mt3x.inference.decoding import DecodingConfig, generate
from mt3x.models.objectives import PianoConfig, TokensConfig, make_objective
from mt3x.music.vocabulary import EOS_ID, PAD_ID


@dataclass(frozen=True)
class NoEnd:
    """Lets no segment end: all have as many tokens as they may."""

    vocab_size: int

    def init(self, batch: int) -> jax.Array:
        return jnp.zeros(batch, jnp.int32)

    def allowed(self, state: jax.Array) -> jax.Array:
        ids = jnp.arange(self.vocab_size)
        allowed_V = (ids != EOS_ID) & (ids != PAD_ID)
        return jnp.broadcast_to(allowed_V, (len(state), self.vocab_size))

    def advance(self, state: jax.Array, tokens_B: jax.Array) -> jax.Array:
        del tokens_B
        return state


def measure_inference(scale: Scale, clock: Clock) -> None:
    """Seconds of work per second of audio, from samples to rolls and to tokens."""
    device = jax.devices()[0]
    cases = list(itertools.product(scale.dtypes, scale.models))
    for dtype, name in clock.cases(cases):
        config = scale.models[name]
        label = {"model": name, "dtype": dtype}
        with explained("inference", **label):
            params = random_params(make_objective(config), device)
            rate_hz = config.features.sample_rate_hz
            if isinstance(config, PianoConfig):
                audio_s, to = scale.audio_s, "rolls"
                reader = AudioToRolls(config, params, device, dtype, None, scale.window)
            else:
                # In music a segment has some 230 tokens.
                audio_s, to = scale.audio_s / 2, f"{scale.num_tokens} tokens a segment"
                reader = AudioToTokens(
                    config,
                    params,
                    device,
                    dtype,
                    decoding=DecodingConfig(max_tokens=scale.num_tokens),
                    constraint=NoEnd(config.model.vocab_size),
                )
            rng = np.random.default_rng(0)
            samples_S = rng.normal(0.0, 0.1, round(audio_s * rate_hz))
            blocks = np.array_split(samples_S.astype(np.float32), 20)

            def transcribe(reader=reader, blocks=blocks) -> None:
                collections.deque(reader(iter(blocks)), maxlen=0)

            time_s = median_s(transcribe, repeats=1)
            emit(
                "inference",
                **label,
                to=to,
                audio_s=audio_s,
                real_time_factor=time_s / audio_s,
                audio_h_per_h=audio_s / time_s,
            )


def measure_decoding(scale: Scale, clock: Clock) -> None:
    """Tokens per second of the loop alone; all segments are decoded side by side."""
    device = jax.devices()[0]
    config = scale.models.get(MT3)
    if not isinstance(config, TokensConfig):
        return
    cases = [
        (batch, dtype) for batch in scale.decoding_batches for dtype in scale.dtypes
    ]
    for batch, dtype in clock.cases(cases):
        label = {"model": MT3, "dtype": dtype, "batch": batch}
        with explained("decoding", **label):
            objective = make_objective(config, dtype)
            params = random_params(objective, device)
            arrays = random_batch(config, batch, config.num_frames)
            frames_BxTxW = jax.device_put(arrays["encoder_input_tokens"], device)
            num_frames_B = jax.device_put(arrays["encoder_num_frames"], device)
            start = jax.jit(objective.start)
            step = jax.tree_util.Partial(objective.step, params)
            times_s = []
            for _ in range(3):  # the first compiles
                state = start(params, frames_BxTxW, num_frames_B)
                jax.block_until_ready(state)
                begin_s = time.perf_counter()
                decoding = DecodingConfig(max_tokens=scale.num_tokens)
                rules = NoEnd(config.model.vocab_size)
                done = generate(step, state, decoding, constraint=rules)
                jax.block_until_ready(done.tokens_BxL)
                times_s.append(time.perf_counter() - begin_s)
            time_s = min(times_s[1:])
            emit(
                "decoding",
                **label,
                tokens=scale.num_tokens,
                tokens_per_s=batch * scale.num_tokens / time_s,
                step_ms=1e3 * time_s / scale.num_tokens,
            )
