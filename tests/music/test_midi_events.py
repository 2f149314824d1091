"""MIDI files that break the standard: their notes, or an error that names the file."""

import struct

import pytest
from midi_bytes import spans

from mt3x.music import midi
from mt3x.music.midi_events import parse_midi
from mt3x.music.notes import Notes

END = b"\0\xff\x2f\0"
NOTE = b"\0\x90\x3c\x64\x83\x60\x80\x3c\x40"  # C4 for 480 ticks
TEMPO = b"\0\xff\x51\3\7\xa1\x20"
ONE_NOTE = [(60, 0, 500)]


def chunk(tag: bytes, data: bytes, length: int | None = None) -> bytes:
    return tag + struct.pack(">I", len(data) if length is None else length) + data


def head(num_tracks: int, kind: int = 1, division: int = 480) -> bytes:
    return chunk(b"MThd", struct.pack(">HHh", kind, num_tracks, division))


def file(*events: bytes) -> bytes:
    return head(1) + chunk(b"MTrk", b"".join(events) + END)


TRACK = chunk(b"MTrk", NOTE + END)
EMPTY = chunk(b"MTrk", TEMPO + END)
CHUNKS = {
    "another maker's chunk in front": head(1) + chunk(b"XFIH", b"abcd") + TRACK,
    "one between": head(2) + EMPTY + chunk(b"XFKM", b"abcdef") + TRACK,
    "one that holds a track's tag": head(1) + chunk(b"XFIH", b"MTrk\0\0\0\1x") + TRACK,
    "one of a wrong length": head(1) + chunk(b"XFIH", b"abcd", 999) + TRACK,
    "more tracks than counted": head(1) + EMPTY + TRACK,
    "no tracks counted": head(0) + TRACK,
    "length too long": head(1) + chunk(b"MTrk", NOTE + END, 1000),
    "length too long, of the first": head(2)
    + chunk(b"MTrk", TEMPO + END, len(TEMPO) + 20)
    + TRACK,
    "length that ends in a text": head(2)
    + chunk(b"MTrk", TEMPO + END, len(TEMPO + END) + 12)
    + chunk(b"MTrk", b"\0\xff\1\x10abcdefghijklmnop" + NOTE + END),
    "length too short": head(2) + chunk(b"MTrk", NOTE + END, 5) + EMPTY,
    "length never filled in": head(1) + chunk(b"MTrk", NOTE + END, 0),
    "length all ones": head(1) + chunk(b"MTrk", NOTE + END, 0xFFFFFFFF),
    "no end of track": head(1) + chunk(b"MTrk", NOTE),
    "padded to even": head(2) + TRACK + b"\0" + EMPTY,
    "rubbish behind": file(NOTE) + b"\0rubbish\0",
    "longer header": head(1)[:4] + b"\0\0\0\x08" + head(1)[8:] + b"\0\0" + TRACK,
    "in RIFF": b"RIFF\0\0\0\0RMIDdata\0\0\0\0" + file(NOTE),
    "from a Mac": bytes(128) + file(NOTE),
    "type 0 of two tracks": head(2, 0) + EMPTY + TRACK,
}


@pytest.mark.parametrize("name", CHUNKS)
def test_tracks_are_found_whatever_surrounds_them(name):
    assert spans(CHUNKS[name]) == ONE_NOTE


META = {
    "key of 8 flats": b"\x59\2\xf8\0",
    "key of mode 255": b"\x59\2\0\xff",
    "empty key": b"\x59\0",
    "time signature of 2 bytes": b"\x58\2\4\2",
    "SMPTE offset out of range": b"\x54\5" + b"\xff" * 5,
    "empty channel prefix": b"\x20\0",
    "sequence number of 1 byte": b"\0\1\1",
    "unknown": b"\x7e\3abc",
    "name that is not text": b"\3\2\xff\xfe",
    "empty tempo": b"\x51\0",
    "tempo of 2 bytes": b"\x51\2\1\1",
    "tempo 0": b"\x51\3\0\0\0",
}


@pytest.mark.parametrize("name", META)
def test_meta_events_that_nothing_uses_are_passed_over(name):
    assert spans(file(b"\0\xff" + META[name], NOTE)) == ONE_NOTE


@pytest.mark.parametrize(
    "between",
    [b"\0\xff\1\1a", b"\0\xf0\3\1\2\xf7", b"\0\xf7\1\1", b"\0\xf2\1\2", b"\0\xf8"],
)
def test_running_status_outlasts_other_events(between):
    data = file(b"\0\x90\x3c\x64", between, b"\x83\x60\x3c\0")
    assert spans(data) == ONE_NOTE


def test_more_tracks_counted_than_there_are_is_a_warning():
    with pytest.warns(UserWarning, match=r"a\.mid: its header counts 3 .* has 1"):
        assert len(parse_midi("a.mid", head(3) + TRACK).tracks) == 1


def test_a_second_file_in_one_is_left_out_with_a_warning():
    data = file(NOTE) + file(NOTE.replace(b"\x3c", b"\x3e"))
    with pytest.warns(UserWarning, match="second MIDI file"):
        assert spans(data) == ONE_NOTE


DAMAGED = {
    "breaks off in an event": head(1) + chunk(b"MTrk", NOTE[:-1], 100),
    "breaks off between events": head(1) + chunk(b"MTrk", NOTE, 100),
    "text that is longer than its track": head(1) + chunk(b"MTrk", b"\0\xff\1\x50a"),
    "no status": file(b"\0\x3c\x64"),
    "undefined status": file(b"\0\xf4"),
    "event that is longer than its track": head(2) + chunk(b"MTrk", NOTE[:-1]) + TRACK,
    "late": file(b"\xff\xff\xff\xff\xff\xff\x7f" + NOTE[1:]),
    "no tracks": head(1) + b"\0" * 20,
    "header breaks off": head(1)[:12],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_an_error_that_names_the_file(tmp_path, name):
    (tmp_path / "bad.mid").write_bytes(DAMAGED[name])
    with pytest.raises(ValueError, match=r"bad\.mid: ") as caught:
        Notes.from_midi(tmp_path / "bad.mid")
    assert len(str(caught.value)) < 300


def test_endless_numbers_are_not_read_to_their_end():
    with pytest.raises(ValueError, match="a number that is too large"):
        parse_midi("a.mid", file(b"\xff" * 1000))


def test_large_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(midi, "MOST_BYTES", 10)
    (tmp_path / "large.mid").write_bytes(file(NOTE))
    with pytest.raises(ValueError, match=r"large\.mid: more than"):
        Notes.from_midi(tmp_path / "large.mid")


def test_beats_without_number_are_refused(tmp_path):
    """One beat for each of 2^27 ticks, and a file that counts frames."""
    far = b"\xbf\xff\xff\x7f" + NOTE[1:]
    for division in (1, -25 * 256 + 40):
        data = head(1, division=division) + chunk(b"MTrk", far + END)
        with pytest.raises(ValueError, match="no beats, or more"):
            midi.read_beats(data)
