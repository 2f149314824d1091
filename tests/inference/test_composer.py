"""Composed pieces: length, prompt, key, moods over time, seeds. Weights are random."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import SMALL, SMALL_MUSIC, random_params, save_small_weights

from mt3x.inference.composer import Composer, _drawn_tonic, _guided
from mt3x.inference.wish import Wish
from mt3x.models.weights_file import save_weights
from mt3x.music.key import TONICS
from mt3x.music.notes import Notes
from mt3x.music.vocabulary import NUM_SPECIAL_IDS, Event

TUNE = Notes([0.0, 0.5, 0.5, 1.0], [0.4, 0.9, 2.0, 1.4], [60, 62, 36, 64], [90] * 4)


@pytest.fixture(scope="module")
def composer(tmp_path_factory):
    """One whose notes are short, and whose moods are strong."""
    params = random_params(SMALL_MUSIC)
    codec = SMALL_MUSIC.model.stream.tokenizer.codec
    end = NUM_SPECIAL_IDS + codec.encode(Event("velocity", 0))
    params["generator"]["logits_dense"]["bias"][end] += 4
    params["generator"]["mood"]["out"]["kernel"] *= 8
    path = tmp_path_factory.mktemp("weights") / "music.safetensors"
    save_weights(path, params, SMALL_MUSIC.to_dict())
    return Composer(path)


@pytest.mark.parametrize("seconds", [0.1, 3.0, 30.0])
def test_a_piece_ends_with_its_last_note(composer, seconds):
    notes = composer(0.8, 0.4, seconds, seed=1)
    assert len(notes)
    assert notes.onset_s.max() < seconds
    assert seconds - 0.001 < notes.offset_s.max() < seconds + 2.001


def test_seeds_give_pieces(composer):
    first, second = (composer(seconds=3.0, seed=seed) for seed in (1, 2))
    assert composer(seconds=3.0, seed=1).equals(first)
    assert not first.equals(second)
    assert not composer(seconds=3.0).equals(composer(seconds=3.0))


def test_pieces_that_are_composed_together_can_be_had_alone(composer):
    pieces = composer.compose(Wish(seconds=5.0, seed=1), num_pieces=3)
    for number, piece in enumerate(pieces):
        alone = composer(seconds=5.0, seed=1 + number)
        assert piece.equals(alone)


def test_a_prompt_comes_first_and_goes_on_where_it_ends(composer):
    notes = composer(seconds=3.0, prompt=TUNE, seed=1)
    assert notes[notes.onset_s < 2.0].equals(TUNE)
    assert 2.0 <= notes[4:].onset_s.min()
    assert 4.999 < notes.offset_s.max() < 7.001


def test_a_prompt_is_read(composer):
    """By itself, and not only by its length."""
    other = dataclasses.replace(TUNE, pitch=TUNE.pitch + 12)
    found = [composer(seconds=3.0, prompt=x, seed=1)[4:] for x in (TUNE, other)]
    assert not found[0].equals(found[1])


def test_reading_a_prompt_in_parts_changes_nothing(composer, monkeypatch):
    state = composer._read(composer._prompt_tokens(TUNE), np.zeros((1, 2), np.float32))
    monkeypatch.setattr("mt3x.inference.composer._BLOCK", 8)
    parts = composer._read(composer._prompt_tokens(TUNE), np.zeros((1, 2), np.float32))
    for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_of_a_long_prompt_the_end_is_read(composer):
    rate = np.arange(5000.0)
    long = Notes(rate / 10, rate / 10 + 0.05, 60 + np.arange(5000) % 12)
    assert len(composer._prompt_tokens(long)) < 512 * 6
    # Rests of hours are not told second by second.
    rests = Notes([0.0, 90_000.0], [1.0, 90_001.0], [60, 62])
    assert len(composer._prompt_tokens(rests)) < 10
    assert len(composer(seconds=1.0, prompt=rests, seed=1)) > 2


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (Notes.empty(), "the prompt has no notes"),
        (Notes([0.0], [1.0], [36], is_drum=[True]), "the prompt has drums alone"),
        (
            Notes([0.0], [1.0], [3]),
            "has no piano keys: give notes of pitches 21 to 108",
        ),
    ],
)
def test_prompts_that_cannot_be_played(composer, prompt, message):
    with pytest.raises(ValueError, match=message):
        composer(seconds=1.0, prompt=prompt)


def test_a_key_is_preferred(composer):
    share = {}
    for key in (None, "Ebm"):
        notes = composer(seconds=120.0, key=key, seed=1)
        scale = np.isin(notes.pitch % 12, [3, 5, 6, 8, 10, 11, 1, 2])
        share[key] = scale.mean()
    assert share[None] < 0.8 < 0.9 < share["Ebm"]


def test_lower_temperatures_and_fewer_tokens_are_plainer(composer):
    def variety(**options):
        notes = composer(seconds=60.0, seed=1, **options)
        return len(np.unique(np.stack([notes.pitch, notes.velocity]), axis=1).T)

    usual = variety()
    for options in ({"temperature": 0.1}, {"top_k": 2}, {"top_p": 0.05}):
        assert variety(**options) < usual / 2, options
    likeliest = [composer(seconds=5.0, seed=x, temperature=0.0) for x in (1, 2)]
    assert likeliest[0].equals(likeliest[1])


def test_moods_change_over_time(composer):
    def with_moods(*moods):
        return composer(seconds=8.0, moods=moods, guidance=1.0, seed=1)

    calm = with_moods((0, -1, -1))
    assert composer(-1, -1, 8.0, guidance=1.0, seed=1).equals(calm)
    turned = with_moods((0, -1, -1), (4, -1, -1), (4.01, 1, 1))
    moved = with_moods((0, -1, -1), (8, 1, 1))
    early = [notes[notes.offset_s < 4] for notes in (calm, turned, moved)]
    assert early[1].equals(early[0]) and len(early[0])
    assert not turned.equals(calm)
    assert not early[2].equals(early[0])


@pytest.mark.parametrize("prompt", [None, TUNE])
def test_guidance_goes_from_any_mood_to_the_mood(composer, prompt):
    def piece(guidance, **mood):
        mood = mood or {"valence": -1, "arousal": -1}
        return composer(
            seconds=8.0, prompt=prompt, key="C", seed=1, guidance=guidance, **mood
        )

    # By two states and by one.
    assert piece(1 + 1e-6).equals(piece(1))
    assert not piece(3).equals(piece(1)) and not piece(0).equals(piece(1))
    turned = [(0, -1, -1), (4, -1, -1), (4.01, 1, 1)]
    assert not piece(3, moods=turned).equals(piece(1, moods=turned))


def test_guidance_goes_beyond_the_mood():
    wished, of_any = np.log([[0.6, 0.3, 0.1]]), np.log([[0.3, 0.3, 0.4]])
    # Logits that are not normalised are the same.
    logits = _guided(jnp.float32(wished + 5), jnp.float32(of_any - 3), jnp.float32(3))
    expected = np.array([0.3 * (0.6 / 0.3) ** 3, 0.3, 0.4 * (0.1 / 0.4) ** 3])
    np.testing.assert_allclose(
        jax.nn.softmax(logits[0]), expected / expected.sum(), rtol=1e-5
    )


def test_valence_chooses_major_or_minor(composer):
    """On a tonic that the seed draws, or that of the prompt."""

    def classes(valence, **options):
        notes = composer(valence, seconds=60.0, guidance=1.0, **options)
        return np.bincount(notes.pitch % 12, minlength=12) / len(notes)

    tonics = set()
    for seed in (1, 2, 3):
        happy_C, sad_C = (classes(valence, seed=seed) for valence in (0.8, -0.8))
        tonic = TONICS.index(_drawn_tonic(seed))
        assert happy_C[(tonic + 4) % 12] > 1.5 * happy_C[(tonic + 3) % 12]
        assert sad_C[(tonic + 3) % 12] > 1.5 * sad_C[(tonic + 4) % 12]
        tonics.add(tonic)
    assert len(tonics) > 1
    onset_s = np.arange(8) / 2
    scale = Notes(onset_s, onset_s + 0.4, [60, 62, 64, 65, 67, 69, 71, 72])
    sad_C = classes(-0.8, prompt=scale, seed=1)
    assert sad_C[3] > 1.5 * sad_C[4]
    assert classes(-0.8, key="any", seed=1).min() > 0.02


def test_progress_is_told(composer):
    told = []
    composer.compose(Wish(seconds=60.0, seed=1), on_progress=told.append)
    assert len(told) > 2 and told == sorted(told) and told[-1] == 60.0


def test_weights_of_another_model(tmp_path):
    path = save_small_weights(tmp_path / "piano.safetensors", SMALL)
    with pytest.raises(ValueError, match=r"piano\.safetensors: .* another model"):
        Composer(path)
    params = random_params(SMALL_MUSIC)
    del params["generator"]["layer_0"]
    save_weights(tmp_path / "half.safetensors", params, SMALL_MUSIC.to_dict())
    with pytest.raises(ValueError, match=r"half\.safetensors: .* is missing"):
        Composer(tmp_path / "half.safetensors")
