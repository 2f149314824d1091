"""Generation of token sequences by a step function; knows no model and no vocabulary.

A step function tells the logits of the next token:

    logits_BxV, state = step_fn(state, tokens_B, positions_B, length=length)

`state` is any pytree with the batch on axis 0 of every leaf (attention caches,
encoded inputs). `tokens_B` stand at `positions_B`, which may differ between rows; the
token at position 0 is `PAD_ID`. A row at position 0 begins again, whatever its leaves
held of a former sequence. `length` is static and larger than every position: the model
need attend over no more than that many positions. It grows as sequences do (256, 512,
1024, ...), so that few programs are compiled.

Functions that carry arrays, such as parameters, should come as
`jax.tree_util.Partial(function, arrays)`; the arrays are then inputs of the compiled
program instead of constants in it. Programs are kept for each function and shape.

`generate` decodes one batch and stops when all its rows are done. `generate_stream`
decodes any number of inputs in a fixed number of slots (continuous batching; Yu et al.
2022, Orca): a finished row leaves, a waiting input takes its slot. Loops run on the
device; the host looks on when rows finish or `length` ends. States are donated: the
caches are updated in place, and what was passed can't be used again.

A row's result depends on its input, the configuration and its index alone, not on the
rows beside it: random numbers come from (seed, index, position).
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from mt3x.inference.token_choice import (
    DecodingConfig,
    Generated,
    Rows,
    choose_beams,
    choose_tokens,
    new_rows,
    results,
)

PyTree = Any
StepFn = Callable[..., tuple[jax.Array, PyTree]]

MIN_LENGTH = 256


class Constraint(Protocol):
    """Which tokens may come next; hashable, equal where the rules are.

    Every reachable state must allow a token.
    """

    def init(self, batch: int) -> PyTree:
        """Return the states at the beginning, batch on axis 0."""
        ...

    def allowed(self, state: PyTree) -> jax.Array:
        """Return which tokens may come next: BxV; from V on none are."""
        ...

    def advance(self, state: PyTree, tokens_B: jax.Array) -> PyTree:
        """Return the states after these tokens."""
        ...


def generate(
    step_fn: StepFn,
    state: PyTree,
    config: DecodingConfig,
    rng: jax.Array | None = None,
    constraint: Constraint | None = None,
) -> Generated:
    """Decode a batch; `state` is donated.

    Args:
      step_fn: see above.
      state: the state at position 0, batch on axis 0.
      config: how tokens are chosen.
      rng: replaces the key of `config.seed`; row b draws what item b of a
        stream does.
      constraint: tokens that it does not allow are not chosen.
    """
    batch = jax.tree.leaves(state)[0].shape[0]
    rows = new_rows(state, jnp.arange(batch), config, constraint)
    rng = jax.random.key(config.seed) if rng is None else rng
    for length in _lengths(config.max_tokens):
        rows = _advance(
            _as_partial(step_fn), rows, rng, batch, config, constraint, length
        )
        # Inside another program nothing is known yet; idle rows cost nothing there.
        if not isinstance(rows.active_B, Tracer) and not np.any(rows.active_B):
            break
    return results(rows)


def generate_stream(
    start_fn: Callable[[PyTree], PyTree],
    step_fn: StepFn,
    items: Iterable[PyTree],
    num_slots: int,
    config: DecodingConfig,
    constraint: Constraint | None = None,
    group: int = 1,
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode any number of inputs, at most `num_slots` at a time.

    Args:
      start_fn: batch of `group` inputs -> state at position 0.
      step_fn: see above.
      items: the inputs of one row each (pytrees of arrays without the batch's axis, all
        of one structure and shape). They are taken as slots become free.
      num_slots: sequences decoded at once.
      config: how tokens are chosen.
      constraint: tokens that it does not allow are not chosen.
      group: items started at once. Larger ones suit devices that are fast on batches;
        free slots wait until there are so many.

    Yields:
      (index of the item, its tokens up to and with EOS), in the order of completion.
    """
    if not 1 <= group <= num_slots:
        raise ValueError(
            f"can't start {group} inputs at once in {num_slots} slots: "
            "use 1 <= group <= num_slots"
        )
    start_fn, step_fn = _as_partial(start_fn), _as_partial(step_fn)
    rng = jax.random.key(config.seed)
    waiting = enumerate(items)
    index_of_slot: dict[int, int] = {}
    rows = None
    while True:
        free = [slot for slot in range(num_slots) if slot not in index_of_slot]
        while len(free) >= group and (pulled := list(itertools.islice(waiting, group))):
            slots, free = free[: len(pulled)], free[len(pulled) :]
            index_of_slot |= zip(slots, (index for index, _ in pulled), strict=True)
            # The last group may be short: its last item again, for no slot.
            spare = group - len(pulled)
            index_G, inputs = zip(*pulled, *pulled[-1:] * spare, strict=True)
            places = np.array([slots + [num_slots] * spare, index_G], np.int32)
            batch = jax.tree.map(lambda *leaves: np.stack(leaves), *inputs)
            if rows is None:
                rows = _empty_rows(start_fn, batch, num_slots, config, constraint)
            rows = _enter(start_fn, rows, batch, *places, config, constraint)
        if rows is None or not index_of_slot:
            return
        active_B, position_B = jax.device_get((rows.active_B, rows.position_B))
        needed = 1 + position_B[active_B].max()
        length = next(n for n in _lengths(config.max_tokens) if n >= needed)
        num_idle = min(num_slots, group * (len(free) // group + 1))
        rows = _advance(step_fn, rows, rng, num_idle, config, constraint, length)
        active_B = np.asarray(rows.active_B)
        finished = [slot for slot in index_of_slot if not active_B[slot]]
        if finished:
            generated = jax.device_get(results(rows))
            for slot in finished:
                tokens_L = generated.tokens_BxL[slot, : generated.lengths_B[slot]]
                yield index_of_slot.pop(slot), tokens_L


@partial(
    jax.jit, static_argnames=("num_slots", "config", "constraint"), keep_unused=True
)
def _empty_rows(start_fn, batch, num_slots, config, constraint) -> Rows:
    """Return slots without rows, shaped as those that `_enter` will put in.

    As the output of a program that is given the arrays of `start_fn` they lie on the
    same device, where rows lie later: `_enter` is compiled once.
    """
    group = len(jax.tree.leaves(batch)[0])
    rows = jax.eval_shape(
        lambda batch: new_rows(start_fn(batch), jnp.arange(group), config, constraint),
        batch,
    )

    def zeros(leaf: jax.ShapeDtypeStruct) -> jax.Array:
        per_row = leaf.shape[0] // group
        return jnp.zeros((num_slots * per_row, *leaf.shape[1:]), leaf.dtype)

    return jax.tree.map(zeros, rows)


@partial(jax.jit, static_argnames=("config", "constraint"), donate_argnames="rows")
def _enter(start_fn, rows, batch, slots_G, index_G, config, constraint) -> Rows:
    """Start a group of inputs in these slots; slots that do not exist are left out."""
    new = new_rows(start_fn(batch), index_G, config, constraint)
    beams = config.num_beams
    beams_GK = (slots_G[:, None] * beams + jnp.arange(beams)).reshape(-1)

    def put(at, old, new):
        return jax.tree.map(lambda o, n: o.at[at].set(n, mode="drop"), old, new)

    # State and rules, which have an entry for each beam, and what has one for each row.
    return Rows(*put(beams_GK, rows[:2], new[:2]), *put(slots_G, rows[2:], new[2:]))


@partial(
    jax.jit, static_argnames=("config", "constraint", "length"), donate_argnames="rows"
)
def _advance(step_fn, rows, rng, num_idle, config, constraint, length) -> Rows:
    """Decode until `num_idle` slots are idle or a row has `length` tokens."""

    def go_on(rows: Rows) -> jax.Array:
        full_B = rows.active_B & (rows.position_B >= length)
        return (jnp.sum(~rows.active_B) < num_idle) & ~jnp.any(full_B)

    def step(rows: Rows) -> Rows:
        batch, beams = rows.last_BxK.shape
        # Idle rows are computed as well; where to does not matter.
        position_B = jnp.minimum(rows.position_B, length - 1)
        logits, state = step_fn(
            rows.state,
            rows.last_BxK.reshape(-1),
            jnp.repeat(position_B, beams),
            length=length,
        )
        log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
        if constraint is not None:
            allowed = constraint.allowed(rows.rules)
            num_unknown = logits.shape[-1] - allowed.shape[-1]
            if num_unknown < 0:
                raise ValueError(
                    f"the constraint knows {allowed.shape[-1]} tokens, the model "
                    f"{logits.shape[-1]}: build both from one vocabulary"
                )
            allowed = jnp.pad(allowed, ((0, 0), (0, num_unknown)))
            log_probs = jnp.where(allowed, log_probs, -jnp.inf)
        log_probs_BxKxV = log_probs.reshape(batch, beams, -1)
        rows = rows._replace(state=state)
        if beams > 1:
            rows = choose_beams(rows, log_probs_BxKxV, config)
        else:
            rows = choose_tokens(rows, log_probs_BxKxV, rng, config)
        if constraint is not None:
            last = rows.last_BxK.reshape(-1)
            rows = rows._replace(rules=constraint.advance(rows.rules, last))
        return rows

    return jax.lax.while_loop(go_on, step, rows)


def _lengths(max_tokens: int) -> list[int]:
    """Return 256, 512, 1024, ... and the most that is needed."""
    lengths = [MIN_LENGTH]
    while lengths[-1] < max_tokens:
        lengths.append(2 * lengths[-1])
    return [*lengths[:-1], max_tokens]


def _as_partial(function: Callable) -> jax.tree_util.Partial:
    if isinstance(function, jax.tree_util.Partial):
        return function
    return jax.tree_util.Partial(function)
