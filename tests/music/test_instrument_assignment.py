"""Who plays: made-up notes of known instruments, with wrong words among them."""

import numpy as np
import pytest

from mt3x.music.instrument_assignment import (
    AssignmentConfig,
    assign_programs,
    class_programs,
)
from mt3x.music.instrument_classes import CLASSES
from mt3x.music.instruments import parse_instruments

NAMES = [each.name for each in CLASSES]
PROGRAMS = class_programs()
K, E = len(CLASSES), 12
# Options that join what sounds alike.
DEFAULT = AssignmentConfig(min_share=0.02, timbre_weight=10.0, same_timbre=0.85)


def said(number, classes, probability, num_frames=20):
    """What notes of a class say: sums of log probabilities, likeliest first."""
    rest = (1 - sum(probability)) / (K - len(classes))
    log_K = np.full(K, np.log(rest))
    log_K[[NAMES.index(name) for name in classes]] = np.log(probability)
    return np.tile(num_frames * log_K, (number, 1))


def timbre(number, axis, seed=0, spread=0.1):
    """Vectors about an axis."""
    noise_NxE = np.random.default_rng(seed).standard_normal((number, E))
    return np.eye(E)[axis] + spread * noise_NxE


def names(program_N):
    return [NAMES[PROGRAMS.tolist().index(program)] for program in program_N]


def test_piano_stays_piano():
    rng = np.random.default_rng(0)
    classes_NxK = said(500, ["piano", "electric piano"], [0.7, 0.2])
    odd = rng.random(500) < 0.1
    classes_NxK[odd] = said(odd.sum(), ["mallets", "acoustic guitar"], [0.5, 0.3])
    timbre_NxE = timbre(500, 0, spread=0.5)
    assert set(names(assign_programs(classes_NxK, timbre_NxE, DEFAULT))) == {"piano"}


def test_flickering_notes_are_mended_by_their_timbre():
    # A clarinet; every fourth note of it sounds like the flute that plays, too.
    classes_NxK = said(200, ["clarinet", "flutes"], [0.8, 0.15])
    classes_NxK[::4] = said(50, ["flutes", "clarinet"], [0.8, 0.15])
    flute_NxK = said(100, ["flutes", "clarinet"], [0.8, 0.15])
    classes_NxK = np.concatenate([classes_NxK, flute_NxK])
    timbre_NxE = np.concatenate([timbre(200, 0), timbre(100, 1, seed=1)])
    est = names(assign_programs(classes_NxK, timbre_NxE, DEFAULT))
    assert est == ["clarinet"] * 200 + ["flutes"] * 100
    # Without timbres the flickering stays.
    deaf = AssignmentConfig(timbre_weight=0.0)
    est = names(assign_programs(classes_NxK, timbre_NxE, deaf))
    assert est[:200].count("flutes") == 50


def test_classes_of_one_timbre_are_one_instrument():
    classes_NxK = said(100, ["violin and viola"], [0.8])
    classes_NxK[::3] = said(34, ["flutes"], [0.8])
    bass_NxK = said(50, ["bass"], [0.9])
    classes_NxK = np.concatenate([classes_NxK, bass_NxK])
    timbre_NxE = np.concatenate([timbre(100, 0), timbre(50, 1)])
    est = names(assign_programs(classes_NxK, timbre_NxE, DEFAULT))
    assert est == ["violin and viola"] * 100 + ["bass"] * 50


def test_unsure_notes_follow_what_plays():
    # Notes in unison say both, and no third instrument comes of them.
    oboe, bassoon = "oboe and English horn", "bassoon"
    both_NxK = said(10, ["clarinet", oboe, bassoon], [0.34, 0.3, 0.3])
    classes_NxK = np.concatenate(
        [said(60, [oboe], [0.9]), said(60, [bassoon], [0.9]), both_NxK]
    )
    timbre_NxE = np.concatenate(
        [timbre(60, 0), timbre(60, 1), timbre(10, 0) + timbre(10, 1)]
    )
    est = names(assign_programs(classes_NxK, timbre_NxE, DEFAULT))
    assert est[:120] == [oboe] * 60 + [bassoon] * 60
    assert set(est[120:]) <= {oboe, bassoon}


def test_a_quartet_keeps_its_players_and_their_order():
    quartet = ["violin and viola", "clarinet", "saxophone", "bassoon"]
    parts = [said(100, [name], [0.4]) for name in quartet]
    rng = np.random.default_rng(1)
    classes_NxK = np.concatenate(parts) + rng.normal(0, 15, (400, K))
    timbre_NxE = np.concatenate([timbre(100, i, i, 0.25) for i in range(4)])
    ref = np.repeat(quartet, 100)
    est = np.array(names(assign_programs(classes_NxK, timbre_NxE, DEFAULT)))
    alone = np.array(NAMES)[classes_NxK.argmax(axis=1)]
    assert (alone == ref).mean() < 0.95 < (est == ref).mean()
    # The order of notes does not matter.
    order = rng.permutation(400)
    again = assign_programs(classes_NxK[order], timbre_NxE[order], DEFAULT)
    assert names(again) == est[order].tolist()


def test_rare_classes_are_left_out():
    classes_NxK = np.concatenate(
        [said(300, ["organ"], [0.9]), said(5, ["synth pad"], [0.9])]
    )
    timbre_NxE = np.concatenate([timbre(300, 0), timbre(5, 1)])
    assert set(names(assign_programs(classes_NxK, timbre_NxE, DEFAULT))) == {"organ"}
    some = AssignmentConfig(min_share=0.01)
    est = names(assign_programs(classes_NxK, timbre_NxE, some))
    assert est == ["organ"] * 300 + ["synth pad"] * 5


@pytest.mark.parametrize("number", [0, 1, 2, 5])
def test_few_notes(number):
    est = assign_programs(
        said(number, ["horn", "trumpet"], [0.5, 0.3]), timbre(number, 0), DEFAULT
    )
    assert names(est) == ["horn"] * number


def test_notes_that_say_nothing():
    for timbre_NxE in (np.zeros((9, E)), np.zeros((9, 0))):
        est = assign_programs(np.zeros((9, K)), timbre_NxE, DEFAULT)
        assert len(set(est.tolist())) == 1


def test_many_notes_always_give_the_same():
    rng = np.random.default_rng(0)
    classes_NxK = rng.normal(0, 20, (100_000, K))
    timbre_NxE = timbre(100_000, 0, spread=1.0)
    est = assign_programs(classes_NxK, timbre_NxE, DEFAULT)
    assert np.isin(est, PROGRAMS).all() and len(est) == 100_000
    assert (assign_programs(classes_NxK, timbre_NxE, DEFAULT) == est).all()


def test_only_allowed_instruments_play():
    # A clarinet, where there are flutes and a Tenor Sax alone.
    classes_NxK = np.concatenate(
        [
            said(50, ["clarinet", "flutes"], [0.6, 0.3]),
            said(50, ["clarinet", "saxophone"], [0.6, 0.3]),
        ]
    )
    timbre_NxE = np.concatenate([timbre(50, 0), timbre(50, 1)])
    allowed = parse_instruments("pipe,Tenor Sax,drums")
    est = assign_programs(classes_NxK, timbre_NxE, DEFAULT, allowed)
    # The class's own program where it is allowed, else the first one.
    assert est.tolist() == [73] * 50 + [66] * 50
    piano = parse_instruments("piano")
    assert set(assign_programs(classes_NxK, timbre_NxE, DEFAULT, piano)) <= {0, 4}


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"min_share=1\.5: give a value 0 to 1"):
        AssignmentConfig(min_share=1.5)
