"""Decoding of a toy: greedy, drawn, beams; batches, streams, constraints."""

import itertools
from pathlib import Path

import beam_inputs as toy
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mt3x.inference import decoding
from mt3x.inference.decoding import DecodingConfig, generate, generate_stream
from mt3x.inference.token_choice import NEVER, restrict

GOLDEN = Path(__file__).parents[1] / "golden"

TABLE = toy.table()
MAX_TOKENS = 96  # two lengths: 64 and this


@pytest.fixture(autouse=True)
def short_lengths(monkeypatch):
    monkeypatch.setattr(decoding, "MIN_LENGTH", 64)


def start(seeds_B):
    """The toy's state; its past is not empty, as in a slot that is used again."""
    past_BxL = jnp.full((len(seeds_B), MAX_TOKENS), 7, jnp.int32)
    return {"seed": jnp.asarray(seeds_B), "past": past_BxL}


def step(state, tokens_B, positions_B, *, length):
    """Logits from all tokens so far, read from a cache of them."""
    rows = jnp.arange(len(tokens_B))
    past_BxL = state["past"].at[rows, positions_B].set(tokens_B)
    history_B = state["seed"]
    number_L = jnp.arange(length)
    visible_BxL = number_L <= positions_B[:, None]
    sums_B = jnp.sum(
        jnp.where(visible_BxL, (past_BxL[:, :length] + 3) * (number_L + 1), 0), axis=1
    )
    history_B = (state["seed"] * 31 + sums_B) % toy.NUM_HISTORIES
    # Rows end after 1 to 96 tokens.
    logits_BxV = jnp.asarray(TABLE)[history_B].at[:, 1].add(-1.5)
    return logits_BxV, {"seed": state["seed"], "past": past_BxL}


def reference(seed, config):
    """One row decoded without any of it: tokens and score of the likeliest tokens."""
    tokens, score = [], 0.0
    for position in range(config.max_tokens):
        past = np.array([0, *tokens]) + 3
        history = (seed * 31 + past @ np.arange(1, position + 2)) % toy.NUM_HISTORIES
        logits = TABLE[history].astype(np.float64)
        logits[1] -= 1.5
        token = int(np.argmax(logits))
        score += logits[token] - np.log(np.sum(np.exp(logits)))
        tokens.append(token)
        if token == 1:
            break
    return tokens, score


class OddAfterEven:
    """Odd tokens but EOS only after even ones; the toy's last token never."""

    def init(self, batch):
        return jnp.zeros(batch, jnp.int32)

    def allowed(self, last_B):
        odd_V = jnp.arange(toy.NUM_TOKENS - 1) % 2 == 1
        return (last_B % 2 == 0)[:, None] | ~odd_V | (jnp.arange(len(odd_V)) == 1)

    def advance(self, last_B, tokens_B):
        return tokens_B


ODD_AFTER_EVEN = OddAfterEven()
SEEDS_B = np.arange(64, 77, dtype=np.int32)
CONFIGS = {
    "greedy": (DecodingConfig(max_tokens=MAX_TOKENS), None),
    "drawn": (DecodingConfig(40, temperature=0.8, top_k=6, top_p=0.9), None),
    "beams": (DecodingConfig(40, num_beams=3), None),
    "constrained beams": (DecodingConfig(40, num_beams=2), ODD_AFTER_EVEN),
}


def rows_of(generated):
    lengths_B = np.asarray(generated.lengths_B)
    tokens_BxL = np.asarray(generated.tokens_BxL)
    for tokens_L, length in zip(tokens_BxL, lengths_B, strict=True):
        assert not tokens_L[length:].any()
    return [t[:n].tolist() for t, n in zip(tokens_BxL, lengths_B, strict=True)]


def test_takes_the_likeliest_token():
    config = DecodingConfig(max_tokens=MAX_TOKENS)
    generated = generate(step, start(SEEDS_B), config)
    expected = [reference(seed, config) for seed in SEEDS_B]
    assert rows_of(generated) == [tokens for tokens, _ in expected]
    scores = [score for _, score in expected]
    np.testing.assert_allclose(generated.scores_B, scores, rtol=1e-5)
    lengths = {len(tokens) for tokens, _ in expected}
    assert min(lengths) < 64 < max(lengths) == MAX_TOKENS and len(lengths) > 4


@pytest.mark.parametrize("name", CONFIGS)
def test_stream_equals_batch(name):
    """Whatever the slots, the group and the rows beside it."""
    config, constraint = CONFIGS[name]
    whole = generate(step, start(SEEDS_B), config, constraint=constraint)
    expected = dict(enumerate(rows_of(whole)))
    if constraint is not None:
        for row in expected.values():
            assert toy.NUM_TOKENS - 1 not in row
            for before, token in itertools.pairwise([0, *row]):
                assert before % 2 == 0 or token % 2 == 0 or token == 1
    for num_slots, group in ((1, 1), (5, 2)) if name == "greedy" else ((4, 3),):
        stream = generate_stream(
            start, step, iter(SEEDS_B), num_slots, config, constraint, group
        )
        indices, tokens = zip(*stream, strict=True)
        assert len(set(indices)) == len(SEEDS_B)
        found = dict(zip(indices, (row.tolist() for row in tokens), strict=True))
        assert found == expected
        assert num_slots == 1 or name != "greedy" or list(indices) != sorted(indices)


def test_rows_are_independent():
    """Of the rows beside them and of their number."""
    config, _ = CONFIGS["greedy"]
    whole = rows_of(generate(step, start(SEEDS_B), config))
    turned = rows_of(generate(step, start(SEEDS_B[::-1]), config))
    assert turned == whole[::-1]
    assert rows_of(generate(step, start(SEEDS_B[4:7]), config)) == whole[4:7]


def test_draws_depend_on_seed_and_index():
    seeds_B = np.full(4, 40, np.int32)
    config = DecodingConfig(20, temperature=1.0)
    first = rows_of(generate(step, start(seeds_B), config))
    assert len({tuple(row) for row in first}) == 4
    assert rows_of(generate(step, start(seeds_B), config)) == first
    other = DecodingConfig(20, temperature=1.0, seed=1)
    drawn = generate(step, start(seeds_B), other)
    assert rows_of(drawn) != first
    again = generate(step, start(seeds_B), config, rng=jax.random.key(1))
    assert rows_of(again) == rows_of(drawn)


def test_draws_follow_probabilities():
    logits_V = jnp.array([0.0, -9.0, 1.0, 2.0, 0.5])
    drawn = generate(
        lambda state, tokens_B, positions_B, length: (
            jnp.tile(logits_V, (len(tokens_B), 1)),
            state,
        ),
        jnp.zeros((4000, 1)),
        DecodingConfig(max_tokens=1, temperature=2.0),
    )
    share_V = np.bincount(drawn.tokens_BxL[:, 0], minlength=5) / 4000
    np.testing.assert_allclose(share_V, jax.nn.softmax(logits_V / 2), atol=0.03)
    expected_B = jax.nn.log_softmax(logits_V)[drawn.tokens_BxL[:, 0]]
    np.testing.assert_allclose(drawn.scores_B, expected_B, rtol=1e-5)


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (0, 1.0, "abcde"),
        (1, 1.0, "b"),
        (3, 1.0, "bcd"),
        (4, 1.0, "abcde"),  # two are as likely as the fourth
        (9, 1.0, "abcde"),
        (0, 0.39, "b"),
        (0, 0.41, "bc"),
        (0, 0.81, "bcd"),
        (0, 0.91, "abcde"),
        (2, 0.6, "b"),  # 0.4 of 0.65
        (2, 0.62, "bc"),
    ],
)
def test_restrict(top_k, top_p, kept):
    probs = jnp.array([[0.075, 0.4, 0.25, 0.2, 0.075]])
    logits = restrict(jnp.log(probs) + 3.0, top_k, top_p)
    assert "".join(np.array(list("abcde"))[np.isfinite(logits[0])]) == kept
    np.testing.assert_array_equal(
        logits, jnp.where(jnp.isfinite(logits), jnp.log(probs) + 3.0, -jnp.inf)
    )


def small_step(state, tokens_B, positions_B, *, length):
    history_B = toy.after(state, tokens_B)
    return jnp.asarray(TABLE)[history_B], history_B


@pytest.mark.parametrize("number", range(len(toy.CASES)))
def test_beams_are_t5xs(number):
    golden = np.load(GOLDEN / "beams.npz")
    num_beams, alpha = toy.CASES[number]
    config = DecodingConfig(toy.MAX_TOKENS, num_beams=num_beams, beam_alpha=alpha)
    found = generate(small_step, jnp.asarray(toy.SEEDS_B), config)
    np.testing.assert_array_equal(found.tokens_BxL, golden[f"tokens_{number}"])
    np.testing.assert_allclose(found.scores_B, golden[f"scores_{number}"], rtol=1e-5)


def test_likeliest_tokens_are_t5xs():
    golden = np.load(GOLDEN / "beams.npz")
    config = DecodingConfig(toy.MAX_TOKENS)
    found = generate(small_step, jnp.asarray(toy.SEEDS_B), config)
    np.testing.assert_array_equal(found.tokens_BxL, golden["greedy_tokens"])
    np.testing.assert_allclose(found.scores_B, golden["greedy_scores"], rtol=1e-5)


def test_golden_beams_are_of_this_t5x():
    pytest.importorskip("t5x", reason="T5X is not installed")
    import make_beams

    golden = np.load(GOLDEN / "beams.npz")
    with jax.numpy_dtype_promotion("standard"):
        found = make_beams.golden()
    for name, array in found.items():
        np.testing.assert_allclose(golden[name], array, rtol=1e-5, err_msg=name)


def test_many_beams_find_the_best():
    """Of all sequences that end within four tokens, by hand."""
    config = DecodingConfig(max_tokens=4, num_beams=800, beam_alpha=0.6)
    found = generate(small_step, jnp.asarray(toy.SEEDS_B[:2]), config)
    for row, seed in enumerate(toy.SEEDS_B[:2]):
        best = (-np.inf, ())
        others = [token for token in range(toy.NUM_TOKENS) if token != 1]
        for length in range(4):
            for head in itertools.product(others, repeat=length):
                history, score, last = seed, 0.0, 0
                for token in (*head, 1):
                    history = toy.after(history, last)
                    logits = TABLE[history].astype(np.float64)
                    score += logits[token] - np.log(np.exp(logits).sum())
                    last = token
                score /= ((5 + length + 1) / 6) ** 0.6
                best = max(best, (score, (*head, 1)))
        assert tuple(rows_of(found)[row]) == best[1]
        np.testing.assert_allclose(found.scores_B[row], best[0], rtol=1e-5)


class Forced:
    """Tokens 5, 6, 7, then EOS, and nothing else."""

    def init(self, batch):
        return jnp.zeros(batch, jnp.int32)

    def allowed(self, number_B):
        forced_B = jnp.array([5, 6, 7, 1])[jnp.minimum(number_B, 3)]
        return jnp.arange(toy.NUM_TOKENS) == forced_B[:, None]

    def advance(self, number_B, tokens_B):
        return number_B + 1


@pytest.mark.parametrize("num_beams", [1, 4])
def test_constraint_leaves_one_choice(num_beams):
    """Beams without any token to go on with are never the result."""
    config = DecodingConfig(max_tokens=64, num_beams=num_beams)
    found = generate(step, start(SEEDS_B[:3]), config, constraint=Forced())
    assert rows_of(found) == [[5, 6, 7, 1]] * 3
    assert np.all(np.asarray(found.scores_B) > NEVER / 2)


def test_constraint_cuts_beams_short():
    config = DecodingConfig(max_tokens=2, num_beams=4)
    found = generate(step, start(SEEDS_B[:3]), config, constraint=Forced())
    assert rows_of(found) == [[5, 6]] * 3


def test_constraint_of_another_vocabulary():
    class TooMany(OddAfterEven):
        def allowed(self, last_B):
            return jnp.ones((len(last_B), toy.NUM_TOKENS + 1), bool)

    with pytest.raises(ValueError, match="knows 12 tokens, the model 11"):
        generate(step, start(SEEDS_B), DecodingConfig(), constraint=TooMany())


def test_stops_when_all_rows_are_done():
    """The number of steps is the length of the longest row."""
    seen = []

    def counted(state, tokens_B, positions_B, *, length):
        jax.debug.callback(lambda: seen.append(length))
        return step(state, tokens_B, positions_B, length=length)

    config = DecodingConfig(max_tokens=MAX_TOKENS)
    lengths = np.array([len(reference(seed, config)[0]) for seed in SEEDS_B])
    found = generate(counted, start(SEEDS_B[lengths < MAX_TOKENS]), config)
    jax.effects_barrier()
    longest = int(np.max(found.lengths_B))
    assert 64 < longest < MAX_TOKENS
    assert seen == [64] * 64 + [MAX_TOKENS] * (longest - 64)


def test_programs_are_few_and_kept(caplog):
    traced = []

    def start_with(params, seeds_B):
        return start(jnp.asarray(seeds_B) + params)

    def counted(state, tokens_B, positions_B, *, length):
        traced.append(length)
        return step(state, tokens_B, positions_B, length=length)

    params = jax.device_put(np.int32(0), jax.devices()[0])
    start_fn = jax.tree_util.Partial(start_with, params)
    config = DecodingConfig(max_tokens=MAX_TOKENS)
    with jax.log_compiles():
        for seeds_B in (SEEDS_B, SEEDS_B[::-1]):
            for _ in generate_stream(start_fn, counted, iter(seeds_B), 4, config):
                pass
            # JAX may trace the body of a loop twice.
            assert set(traced) == {64, MAX_TOKENS} and len(traced) <= 4
    # Empty slots lie where the parameters do, as later rows: one program takes both.
    compiled = [m for m in caplog.messages if m.startswith("Compiling jit(_enter)")]
    assert len(compiled) == 1


def test_items_are_taken_as_slots_become_free():
    pulled = []

    def items():
        for seed in SEEDS_B:
            pulled.append(seed)
            yield seed

    config = DecodingConfig(max_tokens=MAX_TOKENS)
    stream = generate_stream(start, step, items(), 3, config)
    assert pulled == []
    numbers = []
    for number, _ in enumerate(stream):
        numbers.append(len(pulled))
        assert len(pulled) <= number + 3
    # Each slot for itself.
    assert {3, 4, 5, 6} <= set(numbers) and numbers[-1] == len(SEEDS_B)


def test_nothing_to_decode():
    assert list(generate_stream(start, step, iter([]), 3, DecodingConfig())) == []


def test_parameters_are_inputs_and_state_is_donated():
    def with_table(table, state, tokens_B, positions_B, *, length):
        history_B = toy.after(state, tokens_B)
        return table[history_B], history_B

    config = DecodingConfig(toy.MAX_TOKENS)
    for sign in (1.0, -1.0):
        table = jnp.asarray(sign * TABLE)
        state = jnp.asarray(toy.SEEDS_B)
        found = generate(jax.tree_util.Partial(with_table, table), state, config)
        first = np.asarray(toy.after(toy.SEEDS_B, 0))
        np.testing.assert_array_equal(
            found.tokens_BxL[:, 0], np.argmax(sign * TABLE[first], axis=1)
        )
        assert state.is_deleted()


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_tokens": 0},
        {"temperature": -1.0},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"num_beams": 0},
        {"beam_alpha": -0.1},
        {"num_beams": 2, "temperature": 1.0},
    ],
)
def test_refuses_options(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DecodingConfig(**wrong)


@pytest.mark.parametrize(("num_slots", "group"), [(0, 1), (3, 4), (3, 0)])
def test_refuses_slots(num_slots, group):
    stream = generate_stream(
        start, step, iter([]), num_slots, DecodingConfig(), group=group
    )
    with pytest.raises(ValueError, match=f"{group} inputs at once in {num_slots}"):
        next(stream)
