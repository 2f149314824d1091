"""Corpora: what is written is read, stopped writing goes on, nothing is lost."""

import json

import numpy as np
import pytest

from mt3x.data.corpus import Corpus, CorpusWriter, write_corpus
from mt3x.music.notes import Notes
from mt3x.music.performance import NO_PEDAL, Performance

NOTES = Notes([0.1, 0.3], [0.2, 0.9], [60, 64], [70, 90])


def ramp(num, first=0):
    return np.arange(first, first + num, dtype=np.int16)


def write(folder, lengths=(1000, 0, 300)):
    with CorpusWriter(folder) as writer:
        for i, num in enumerate(lengths):
            notes = NOTES.shift(i) if num else Notes.empty()
            writer.add(f"piece {i}", ramp(num, i), notes, {"split": "train"})
    return Corpus(folder)


def test_reads_what_was_written(tmp_path):
    corpus = write(tmp_path / "c")
    assert len(corpus) == 3
    assert corpus.duration_s == 1300 / 16000
    np.testing.assert_array_equal(corpus.samples(0), ramp(1000))
    assert len(corpus.samples(1)) == 0
    np.testing.assert_array_equal(corpus.samples(2), ramp(300, 2))
    assert corpus.notes(0).equals(NOTES)
    assert len(corpus.notes(1)) == 0
    assert corpus.notes(2).equals(NOTES.shift(2))
    assert corpus.pieces[2].info == {"split": "train"}
    assert not (tmp_path / "c.part").exists()


PLAYED = Performance(
    Notes([0.1, 0.3], [0.15, 0.5], [60, 64]), np.array([[0.2, 0.4], [0.45, 0.9]])
)


def test_performances_are_kept(tmp_path):
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add("a", ramp(100), Performance(NOTES, NO_PEDAL))
        writer.add("b", ramp(100), PLAYED)
        writer.add("c", ramp(100), PLAYED.shift(1))
    corpus = Corpus(tmp_path / "c")
    assert corpus.has_pedal
    assert corpus.notes(1).equals(PLAYED.notes())
    assert not len(corpus.performance_between(0, -np.inf, np.inf).pedal_s)
    found = corpus.performance_between(2, -np.inf, np.inf)
    assert found.keys.equals(PLAYED.keys.shift(1))
    np.testing.assert_array_equal(found.pedal_s, PLAYED.pedal_s + 1)
    # What sounds, though its key is up; all of the pedal.
    part = corpus.performance_between(1, 0.85, 2.0)
    assert part.keys.pitch.tolist() == [64] and len(part.pedal_s) == 2


def test_pieces_whose_pedal_is_not_known(tmp_path):
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add("a", ramp(100), PLAYED)
        writer.add("b", ramp(100), NOTES)
        writer.add("c", ramp(100), PLAYED)
    corpus = Corpus(tmp_path / "c")
    assert not corpus.has_pedal
    assert len(corpus.performance_between(2, 0, 9).pedal_s) == 2
    with pytest.raises(ValueError, match="b neither key releases nor pedal"):
        corpus.performance_between(1, 0, 9)


def test_stopped_writing_keeps_performances(tmp_path):
    with pytest.raises(RuntimeError), CorpusWriter(tmp_path / "c") as writer:
        writer.add("a", ramp(100), PLAYED)
        raise RuntimeError
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add("b", ramp(100), PLAYED.shift(2))
    corpus = Corpus(tmp_path / "c")
    for index, played in enumerate((PLAYED, PLAYED.shift(2))):
        found = corpus.performance_between(index, 0, 9)
        assert found.keys.equals(played.keys)
        np.testing.assert_array_equal(found.pedal_s, played.pedal_s)


def test_empty_corpus(tmp_path):
    assert len(write(tmp_path / "c", ())) == 0


def test_audio_is_a_plain_npy_file(tmp_path):
    write(tmp_path / "c")
    audio_S = np.load(tmp_path / "c" / "audio.npy")
    assert audio_S.dtype == np.int16 and audio_S.shape == (1300,)


def test_notes_between(tmp_path):
    corpus = write(tmp_path / "c")
    assert corpus.notes_between(0, 0.15, 0.25).pitch.tolist() == [60]
    assert corpus.notes_between(0, 0.5, 0.6).pitch.tolist() == [64]
    assert corpus.notes_between(0, 0.5, 0.6).onset_s.tolist() == [0.3]
    assert len(corpus.notes_between(0, 0.95, 9)) == 0
    assert len(corpus.notes_between(2, 0, 2)) == 0


def test_float_samples_are_scaled_and_clipped(tmp_path):
    with CorpusWriter(tmp_path / "c") as writer:
        writer.add("a", np.array([0, 0.5, -1, 2.0, -3]), Notes.empty())
    samples_S = Corpus(tmp_path / "c").samples(0)
    assert samples_S.tolist() == [0, 16384, -32767, 32767, -32768]


def test_nothing_is_overwritten(tmp_path):
    write(tmp_path / "c")
    with pytest.raises(FileExistsError, match="remove it or choose another"):
        CorpusWriter(tmp_path / "c")


def stopped(folder, pieces):
    with pytest.raises(KeyboardInterrupt), CorpusWriter(folder) as writer:
        for i in range(pieces):
            writer.add(f"piece {i}", ramp(100, i), NOTES)
        raise KeyboardInterrupt


def test_stopped_writing_goes_on(tmp_path):
    folder = tmp_path / "c"
    stopped(folder, 2)
    assert not folder.exists()
    # A crash in the middle of a piece: audio and notes without their whole line.
    with (tmp_path / "c.part" / "audio.npy").open("ab") as file:
        file.write(b"xyz" * 999)
    with (tmp_path / "c.part" / "notes.bin").open("ab") as file:
        file.write(b"xyz" * 999)
    with (tmp_path / "c.part" / "pieces.jsonl").open("a") as file:
        file.write('{"name": "cut sh')
    with CorpusWriter(folder) as writer:
        assert len(writer) == 2
        assert writer.duration_s == 200 / 16000
        writer.add("piece 2", ramp(100, 2), NOTES)
    corpus = Corpus(folder)
    assert [piece.name for piece in corpus.pieces] == ["piece 0", "piece 1", "piece 2"]
    for i in range(3):
        np.testing.assert_array_equal(corpus.samples(i), ramp(100, i))
        assert corpus.notes(i).equals(NOTES)


def test_going_on_at_another_rate_is_refused(tmp_path):
    stopped(tmp_path / "c", 1)
    with pytest.raises(ValueError, match="begun at 16000 Hz"):
        CorpusWriter(tmp_path / "c", 44100)


def test_faulty_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a finished corpus"):
        Corpus(tmp_path)
    stopped(tmp_path / "c", 1)
    with pytest.raises(FileNotFoundError, match="not a finished corpus"):
        Corpus(tmp_path / "c.part")
    write(tmp_path / "d")
    index = json.loads((tmp_path / "d" / "index.json").read_text())
    index["pieces"].pop()
    (tmp_path / "d" / "index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match="files disagree"):
        Corpus(tmp_path / "d")
    (tmp_path / "d" / "index.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="format"):
        Corpus(tmp_path / "d")


def test_stereo_is_refused(tmp_path):
    with (
        pytest.raises(ValueError, match=r"a: expected mono samples, got \(5, 2\)"),
        CorpusWriter(tmp_path / "c") as writer,
    ):
        writer.add("a", np.zeros((5, 2)), NOTES)


class Piece:
    """A piece that can be read once it is repaired."""

    def __init__(self, id, broken=False):
        self.id, self.broken, self.split, self.info = id, broken, "train", {}

    def samples(self, sample_rate_hz):
        if self.broken:
            raise ValueError(f"{self.id}.wav:\ndamaged")
        return ramp(100, int(self.id))

    def notes(self):
        return NOTES


def test_pieces_that_cannot_be_read_are_left_out_and_added_later(tmp_path):
    pieces = [Piece("1"), Piece("2", True), Piece("3"), Piece("4", True)]
    told = [written.problem for written in write_corpus(pieces, tmp_path / "c")]
    assert told == ["", "2.wav: damaged", "", "4.wav: damaged"]
    corpus = Corpus(tmp_path / "c")
    assert [piece.name for piece in corpus.pieces] == ["1", "3"]
    assert corpus.left_out == {"2": "2.wav: damaged", "4": "4.wav: damaged"}

    # Nothing is repaired, and nothing is touched.
    before = (tmp_path / "c" / "index.json").stat()
    assert len(list(write_corpus(pieces, tmp_path / "c"))) == 4
    assert (tmp_path / "c" / "index.json").stat() == before

    pieces[1].broken = False
    list(write_corpus(pieces, tmp_path / "c"))
    corpus = Corpus(tmp_path / "c")
    assert [piece.name for piece in corpus.pieces] == ["1", "3", "2"]
    for index, first in enumerate((1, 3, 2)):
        np.testing.assert_array_equal(corpus.samples(index), ramp(100, first))
        assert corpus.notes(index).equals(NOTES)
    assert list(corpus.left_out) == ["4"]
    pieces[3].broken = False
    list(write_corpus(pieces, tmp_path / "c"))
    with pytest.raises(FileExistsError):
        list(write_corpus(pieces, tmp_path / "c"))
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        *("audio.npy", "index.json", "notes.npz")
    ]


def test_a_corpus_of_nothing_is_not_finished(tmp_path):
    with pytest.raises(ValueError, match=r"none of 1 pieces can be read: 5\.wav"):
        list(write_corpus([Piece("5", True)], tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_stopping_while_pieces_are_added_loses_none(tmp_path):
    pieces = [Piece("1"), Piece("2", True), Piece("3", True)]
    list(write_corpus(pieces, tmp_path / "c"))
    pieces[1].broken = pieces[2].broken = False
    with pytest.raises(KeyboardInterrupt):
        for written in write_corpus(pieces, tmp_path / "c"):
            if written.piece.id == "2":
                raise KeyboardInterrupt
    list(write_corpus(pieces, tmp_path / "c"))
    corpus = Corpus(tmp_path / "c")
    assert [piece.name for piece in corpus.pieces] == ["1", "2", "3"]
    assert corpus.notes(2).equals(NOTES)


def test_two_processes_do_not_write_one_corpus(tmp_path):
    with CorpusWriter(tmp_path / "c") as writer:
        with pytest.raises(BlockingIOError, match="in use"):
            CorpusWriter(tmp_path / "c")
        writer.add("a", ramp(5), NOTES)
    assert len(Corpus(tmp_path / "c")) == 1


@pytest.mark.parametrize("name", ["audio.npy", "index.json", "notes.npz"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_damaged_files_name_their_corpus(tmp_path, name, kept):
    write(tmp_path / "c")
    data = (tmp_path / "c" / name).read_bytes()
    (tmp_path / "c" / name).write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ValueError, match=r"c: .*again") as caught:
        Corpus(tmp_path / "c")
    assert "\n" not in str(caught.value)


def test_a_damaged_log_names_itself(tmp_path):
    stopped(tmp_path / "c", 2)
    log = tmp_path / "c.part" / "pieces.jsonl"
    log.write_text("{]\n" + log.read_text())
    with pytest.raises(ValueError, match=r"pieces\.jsonl: damaged"):
        CorpusWriter(tmp_path / "c")
