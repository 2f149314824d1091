"""The registered tasks, on small records of known sound."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import mt3x.tasks
import numpy as np
import pytest
import seqio
import tensorflow as tf
from absl import flags
from seqio.scripts import cache_tasks_main

from mt3x.data import pipeline
from mt3x.data.pieces import Piece, Stem
from mt3x.data.pipeline import TaskBatches, TrainOptions, mixing_rate, token_task_name
from mt3x.data.pipeline.data_set import DATA_DIR_VARIABLE
from mt3x.data.pipeline.record_format import ROLL_NOTES, encode_piece
from mt3x.music.notes import Notes
from mt3x.music.rolls import RollLabelConfig
from mt3x.music.tokens import Tokenizer
from mt3x.music.vocabulary import TokenizerConfig, VocabConfig

TASK = "slakh_notes_ties_vb1_train"
MEGA = "maestrov3 guitarset urmp musicnet_em cerberus4 slakh".split()
NUM_FRAMES = 2250  # of a piece: two blocks


def piece(number):
    """Each frame's samples say which piece and frame it is."""
    rng = np.random.default_rng(number)
    onset_s = np.sort(rng.uniform(0, 17.5, 60))
    notes = Notes(
        onset_s,
        onset_s + rng.uniform(0.1, 2.0, 60),
        30 + np.arange(60),
        program=np.repeat([0, 26, 33], 20),
        is_drum=np.arange(60) % 5 == 0,
    )
    samples_S = np.repeat(np.arange(NUM_FRAMES) + 1 + 4000 * number, 128)[:-5]
    stem = Stem("S00", "Organ", notes)
    samples_S = samples_S.astype(np.float32) / 32768
    return Piece(f"piece{number}", samples_S, 16000, notes, (stem,))


@pytest.fixture(scope="module", autouse=True)
def data_dir(tmp_path_factory):
    """Write records of all data sets of `mega`, the same in each."""
    folder = tmp_path_factory.mktemp("records")
    for name in MEGA:
        (folder / name).mkdir()
        for index, split in enumerate(["train", "validation", "test"]):
            for shard in range(2):
                path = folder / name / f"{split}-0000{shard}-of-00002.tfrecord"
                with tf.io.TFRecordWriter(str(path)) as writer:
                    form = ["FLAC", "WAV"][shard]
                    writer.write(encode_piece(piece(2 * index + shard), form))
        counts = {"splits": {"train": {"blocks": 4}}}
        (folder / name / "manifest.json").write_text(json.dumps(counts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_DIR_VARIABLE, str(folder))
        yield folder


def test_names_are_mt3s():
    names = {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}
    vb1 = ["maestrov3", "guitarset", "urmp", "musicnet", "musicnet_em", "cerberus4"]
    for name in [*vb1, "slakh"]:
        for suffix in ("train", "eval_train", "validation", "eval"):
            assert f"{name}_notes_ties_vb1_{suffix}" in names
    for name in ("maestrov1_notes", "maestrov3_notes", "slakh_notes_ties_vb1"):
        for suffix in ("train", "eval_train_full", "validation_full", "test", "eval"):
            assert f"{name}_{suffix}" in names
    assert {"mega_notes_ties_vb1_train", "mega_notes_ties_vb1_eval"} <= names
    assert {"maps_notes_ties_vb1_train", "maps_notes_ties_vb1_test"} <= names


def test_task_name_of_other_vocabularies():
    vocab = VocabConfig(steps_per_second=50, max_shift_steps=204, num_velocity_bins=127)
    tokens = TokenizerConfig(vocab, use_ties=False, onsets_only=True)
    frames = pipeline.FrameConfig(sample_rate_hz=8000, hop_samples=64)
    name = token_task_name("x", tokens, "test", frames)
    assert name == "x_onsets_sr8000hw64_ss50ms4.08_test"


def test_batches_hold_the_tokens_of_their_frames():
    batches = TaskBatches(TASK, 4, 200, 128, shuffle_buffer=8, span_steps=3)
    tokenizer = Tokenizer(TokenizerConfig())
    events = {n: tokenizer.events(piece(n).notes, NUM_FRAMES) for n in (0, 1)}
    seen = set()
    for step in range(6):
        batch = batches.batch(step)
        names = batches.ids(step) if step == 4 else [None] * 4
        assert {name: (v.shape, v.dtype.name) for name, v in batch.items()} == {
            "encoder_input_tokens": ((4, 200, 128), "float32"),
            "encoder_num_frames": ((4,), "int32"),
            "decoder_target_tokens": ((4, 128), "int32"),
            "decoder_input_tokens": ((4, 128), "int32"),
            "decoder_loss_weights": ((4, 128), "int32"),
        }
        for row in range(4):
            example = {name: value[row] for name, value in batch.items()}
            length = example["encoder_num_frames"]
            coded_T = np.rint(example["encoder_input_tokens"][:, 0] * 32768).astype(int)
            number, first = divmod(coded_T[0] - 1, 4000)
            seen.add((number, first))
            assert names[row] in (None, f"slakh piece{number} at {first / 125:.2f} s")
            np.testing.assert_array_equal(
                coded_T[:length], coded_T[0] + np.arange(length)
            )
            assert not example["encoder_input_tokens"][length:].any()
            ids = tokenizer.segment(events[number], int(first), int(length))
            targets = example["decoder_target_tokens"]
            expected = np.zeros(128, np.int32)
            expected[: len(ids) + 1] = tokenizer.to_model_ids(ids)
            np.testing.assert_array_equal(targets, expected)
            shifted = [0, *targets[:-1]]
            np.testing.assert_array_equal(example["decoder_input_tokens"], shifted)
            np.testing.assert_array_equal(example["decoder_loss_weights"], targets > 0)
    assert {number for number, _ in seen} == {0, 1} and len(seen) > 15


def test_batches_are_decided_by_seed_and_step():
    def make(**options):
        return TaskBatches(TASK, 2, 64, 96, shuffle_buffer=8, span_steps=3, **options)

    def same(one, two):
        return all(np.array_equal(one[name], two[name]) for name in one)

    batches = make()
    run = [batches.batch(step) for step in range(5)]
    resumed = make()
    assert same(resumed.batch(4), run[4])
    assert same(resumed.batch(1), run[1])
    assert not same(run[0], run[1]) and not same(run[0], run[3])
    assert not same(make(seed=1).batch(0), run[0])


def test_options_mix_examples_and_leave_out_programs():
    options = TrainOptions(max_examples_per_mix=2, program_granularity="flat")
    batches = TaskBatches(TASK, 8, 64, 96, options=options, shuffle_buffer=8)
    again = TaskBatches(TASK, 8, 64, 96, options=options, shuffle_buffer=8).batch(0)
    batch = batches.batch(0)
    assert {id.count(" + ") for id in batches.ids(0)} == {0, 1}
    for name in batch:
        np.testing.assert_array_equal(batch[name], again[name])
    peaks = np.abs(batch["encoder_input_tokens"]).max(axis=(1, 2))
    np.testing.assert_allclose(peaks, 1)
    first, last = Tokenizer(TokenizerConfig()).codec.ranges["program"]
    ids = batch["decoder_target_tokens"] - 3
    assert not ((ids >= first) & (ids <= last)).any()


@pytest.mark.parametrize("name", [TASK, "mega_notes_ties_vb1_train"])
def test_a_task_that_is_registered_again_has_its_options(name):
    """T5X asks for it by its name."""
    plain = pipeline.find_task(name, "mt3x.tasks")
    options = TrainOptions(labels=RollLabelConfig(frame_rate_hz=125.0))
    lengths = {"inputs": 64, "targets": 96}

    def features():
        found = seqio.get_mixture_or_task(name)
        dataset = found.get_dataset(lengths, "train", shuffle=False)
        return set(dataset.element_spec)

    without = features()
    pipeline.register_again(pipeline.with_options(plain, options))
    try:
        assert features() == {*without, ROLL_NOTES}
        pipeline.check_tokens(name, "mt3x.tasks", TokenizerConfig())
    finally:
        pipeline.register_again(plain)
    assert features() == without


def test_validation_chunks_are_of_the_first_validation_shard():
    batch = TaskBatches(TASK, 8, 64, 96, split="eval", shuffle_buffer=8).batch(0)
    coded = np.rint(batch["encoder_input_tokens"][:, 0, 0] * 32768).astype(int)
    assert set((coded - 1) // 4000) == {2}


def segments_of(name, length=300):
    task = seqio.get_mixture_or_task(name)
    lengths = {"inputs": length, "targets": 64}
    dataset = task.get_dataset(lengths, "eval", shuffle=False)
    return task, list(dataset.as_numpy_iterator())


def test_evaluation_is_of_whole_pieces():
    task, segments = segments_of("slakh_notes_ties_vb1_test")
    assert len(segments) == 2 * 8
    frames = [segment["inputs"] for segment in segments[:8]]
    np.testing.assert_array_equal(
        np.concatenate(frames).ravel()[:-5], piece(4).samples_S
    )
    tokenizer = Tokenizer(TokenizerConfig())
    targets, predictions = [], []
    for index, segment in enumerate(segments):
        number, first = 4 + index // 8, index % 8 * 300
        events = tokenizer.events(piece(number).notes, NUM_FRAMES)
        ids = tokenizer.segment(events, first, 300)
        model_ids = tokenizer.to_model_ids(ids).tolist()
        decoded = task.output_features["targets"].vocabulary.decode(model_ids)
        assert decoded == ids.tolist()
        targets.append(task.postprocess_fn([], example=segment, is_target=True))
        predictions.append(
            task.postprocess_fn(decoded, example=segment, is_target=False)
        )
    assert [t["unique_id"] for t in targets] == [0] * 8 + [1] * 8
    assert [t["ref_notes"] is None for t in targets] == [False, *[True] * 7] * 2
    assert targets[8]["ref_notes"].equals(piece(5).notes)
    (metric,) = task.metric_fns
    order = np.random.default_rng(0).permutation(16)
    scores = metric([targets[i] for i in order], [predictions[i] for i in order])
    assert scores["Onset + offset + program F1 (full)"] == 1
    assert scores["Invalid tokens"] == scores["Dropped tokens"] == 0
    worse = [{**p, "ids": p["ids"][:3]} for p in predictions]
    assert metric(targets, worse)["Onset F1"] < 0.5


def test_vocabulary_decodes_what_is_no_token():
    vocabulary = pipeline.EventVocabulary(100)
    assert vocabulary.vocab_size == 203
    assert vocabulary.decode([3, 102, 2, 0, 150, 1, 5]) == [0, 99, -2, -2, -2]
    assert vocabulary.encode([0, 99]) == [3, 102]
    assert vocabulary.encode_tf(tf.constant([7])).numpy().tolist() == [10]
    assert vocabulary.decode_tf(tf.constant([7, 1, 9])).numpy().tolist() == [4, -2, -2]
    assert vocabulary == pipeline.EventVocabulary(100) != pipeline.EventVocabulary(99)


@pytest.mark.parametrize("id", [-1, 100, 0.5, float("nan")])
def test_vocabulary_encodes_codec_ids_alone(id):
    vocabulary = pipeline.EventVocabulary(100)
    with pytest.raises(ValueError, match=f"codec id {id} is unknown; 0 to 99 exist"):
        vocabulary.encode([5, id])
    if isinstance(id, int):
        with pytest.raises(tf.errors.InvalidArgumentError, match="0 to 99 exist"):
            vocabulary.encode_tf(tf.constant([5, id]))


def theirs(name):
    """A task as another library registers it, and a mixture of it."""
    source = seqio.FunctionDataSource(
        lambda split, shuffle_files, seed=None: tf.data.Dataset.range(3), ["train"]
    )
    task = seqio.TaskRegistry.add(
        f"{name}_train", source=source, output_features={}, preprocessors=[]
    )
    return task, seqio.MixtureRegistry.add(f"{name}_eval", [task.name], default_rate=1)


@pytest.mark.parametrize("order", ["theirs first", "ours first"])
def test_tasks_share_their_names_with_those_of_others(order):
    """MT3's own have the names of ours."""
    if order == "ours first":
        name = "maestrov1_notes"
        ours = [
            pipeline.find_task(f"{name}_{s}", "mt3x.tasks") for s in ("train", "eval")
        ]
        others = theirs(name)
        try:
            for one, other in zip(ours, others, strict=True):
                assert seqio.get_mixture_or_task(one.name) is other
                assert pipeline.find_task(one.name, "mt3x.tasks") is one
        finally:
            for one in ours:
                pipeline.register_again(one)
        assert seqio.get_mixture_or_task(ours[1].name) is ours[1]
    else:
        theirs("twice_notes_ties_vb1")
        data = replace(mt3x.tasks.maps.MAPS, name="twice")
        pipeline.add_task(data, TokenizerConfig())
        found = seqio.get_mixture_or_task("twice_notes_ties_vb1_train")
        pipeline.check_tokens(found.name, "mt3x.tasks", TokenizerConfig())
        assert pipeline.find_task(found.name, "mt3x.tasks") is found
        with pytest.raises(
            ValueError, match="twice_notes_ties_vb1_train is registered"
        ):
            pipeline.add_task(data, TokenizerConfig())


def test_mixtures_are_of_registered_tasks():
    with pytest.raises(ValueError, match="mixture both: no tasks nothing are"):
        pipeline.add_mixture("both", [TASK, "nothing"], rate=1)


def test_mega_mixes_by_the_examples_of_each(data_dir, monkeypatch):
    name = "mega_notes_ties_vb1_train"
    batches = TaskBatches(name, 3, 64, 96, shuffle_buffer=4)
    for samples_TxW, id in zip(
        batches.batch(1)["encoder_input_tokens"], batches.ids(1), strict=True
    ):
        number, first = divmod(round(samples_TxW[0, 0] * 32768) - 1, 4000)
        data_set, rest = id.split(maxsplit=1)
        assert data_set in MEGA
        assert rest == f"piece{number} at {first / 125:.2f} s"
    mega = seqio.get_mixture_or_task(name)
    rates = [mega.get_rate(task) for task in mega.tasks]
    np.testing.assert_allclose(rates, 4 ** (3 / 10))
    assert mixing_rate(mega.tasks[0]) == 4
    monkeypatch.setenv(DATA_DIR_VARIABLE, "nowhere")
    with pytest.raises(ValueError, match=r"share of .* `mt3x prepare"):
        mixing_rate(mega.tasks[0])


def test_cached_tasks_give_the_same_examples(tmp_path):
    """SeqIO's own caching, up to the placeholder."""
    flags.FLAGS.mark_as_parsed()
    with beam.Pipeline() as run:
        cache_tasks_main.run_pipeline(run, [TASK], str(tmp_path))
    task = seqio.get_mixture_or_task(TASK)
    before = list(seqio.get_global_cache_dirs())
    pipeline.add_cache_dir(str(tmp_path))
    pipeline.add_cache_dir(str(tmp_path))
    assert seqio.get_global_cache_dirs() == [*before, str(tmp_path)]
    try:
        lengths = {"inputs": 64, "targets": 96}
        cached = task.get_dataset(lengths, "train", use_cached=True, shuffle=False)
        tokenizer = Tokenizer(TokenizerConfig())
        examples = list(cached.as_numpy_iterator())
        assert len(examples) == 4
        for example in examples:
            coded = round(float(example["inputs"][0, 0]) * 32768) - 1
            number, first = divmod(coded, 4000)
            events = tokenizer.events(piece(number).notes, NUM_FRAMES)
            ids = tokenizer.segment(events, first, len(example["inputs"]))
            np.testing.assert_array_equal(
                example["targets"], tokenizer.to_model_ids(ids)
            )
        assert mixing_rate(task) == 4
        options = TrainOptions(labels=RollLabelConfig(frame_rate_hz=125.0))
        batches = TaskBatches(TASK, 2, 64, 96, use_cached=True, options=options)
        assert batches.batch(0)["frame"].any(axis=(1, 2)).all()
        assert all(id.startswith("slakh piece") for id in batches.ids(0))
    finally:
        seqio.set_global_cache_dirs(before)


def test_missing_records_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    for name in (TASK, "maps_notes_ties_vb1_train"):
        with pytest.raises(FileNotFoundError, match=f"prepare .*{DATA_DIR_VARIABLE}"):
            TaskBatches(name, 1)
    with pytest.raises(FileNotFoundError, match=f"{name} is not cached: .*cache_dir"):
        TaskBatches(name, 1, use_cached=True)


BAD_RECORDS = {
    "damaged": "cannot be used: truncated record",
    "other layout": "record 'x' has no audio .* another layout",
    "unknown instrument": "record x: unknown instrument 'Theremin'",
}


@pytest.mark.parametrize("what", BAD_RECORDS)
def test_bad_records_are_named_in_one_line(monkeypatch, tmp_path, data_dir, what):
    (tmp_path / "slakh").mkdir()
    path = tmp_path / "slakh" / "train-00000-of-00001.tfrecord"
    data = (data_dir / "slakh" / "train-00000-of-00002.tfrecord").read_bytes()
    if what == "damaged":
        path.write_bytes(data[:5000])
    else:
        example = tf.train.Example()
        feature = example.features.feature
        feature["track_id"].bytes_list.value.append(b"x")
        feature["inst_names"].bytes_list.value.append(b"Theremin")
        feature["mix"].float_list.value.extend([0.0] * 256)
        if what == "unknown instrument":
            feature["audio_sample_rate"].int64_list.value.append(16000)
        with tf.io.TFRecordWriter(str(path)) as writer:
            writer.write(example.SerializeToString())
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    batches = TaskBatches(TASK, 1, 64, 96, shuffle_buffer=4)
    with pytest.raises(ValueError, match=BAD_RECORDS[what]) as raised:
        batches.batch(0)
    assert "\n" not in str(raised.value)


def test_mt3s_records_are_found_below_the_folder(monkeypatch, tmp_path, data_dir):
    for path in data_dir.glob("slakh/test-*"):
        number = path.name[5:10]
        name = f"slakh_multi_full_test_all_inst.tfrecord-{number}-of-00109"
        (tmp_path / "slakh").mkdir(exist_ok=True)
        (tmp_path / "slakh" / name).write_bytes(path.read_bytes())
    monkeypatch.setenv(DATA_DIR_VARIABLE, str(tmp_path))
    assert len(segments_of("slakh_notes_ties_vb1_test")[1]) == 16


def test_wrong_arguments():
    with pytest.raises(ValueError, match=f"no task 'slakh_notes'.*{TASK[:12]}"):
        TaskBatches("slakh_notes", 1)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        TaskBatches(TASK, 0)
    with pytest.raises(ValueError, match="cannot be packed"):
        pipeline.TokensFeatureConverter(pack=True)


def test_folder_of_a_checkout_is_not_imported_by_its_name():
    done = subprocess.run(
        [sys.executable, "-c", "import tasks"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert "import mt3x.tasks, not tasks" in done.stderr
