"""Sound files whose headers lie: what libsndfile is given instead.

libsndfile reads as much as a header says. But recorders that crash leave a size of 0,
sizes of more than 4 GB wrap, encoders that write to a pipe know no length, tools that
cut files leave the length of the whole, and a chain of Ogg files is legal. Here a
file's bytes are looked at instead: `sound_parts` and `without_length` give files with a
header that tells the truth, or says nothing. They copy no sound.
"""

import io
import re
import struct
from collections.abc import Callable
from typing import IO, Any, NamedTuple

__all__ = [
    "CHUNKED",
    "MANY_BYTES",
    "Part",
    "next_flac",
    "rest_of",
    "sound_parts",
    "unread",
    "without_length",
]

Warn = Callable[[str], None]

# A header that claims more bytes than this was written to a pipe.
_UNKNOWN_LENGTH = 0x7FFFF000
# A longer header, with pictures, stays as it is: it would be held in memory.
_MAX_HEADER = 1 << 24
# So many zeros at the end of a file are padding, not silence.
_MAX_PADDING = 1 << 16
# Frames that no MP3 reaches, and that still fit where decoders count samples.
_MANY_FRAMES = 1 << 28
# A file that has more of them after its sound may have more music.
MANY_BYTES = 1 << 16
_FLAC = b"fLaC\x00\x00\x00\x22"


class Part(io.RawIOBase):
    """Some bytes and a stretch of a file after them, as a file without a name."""

    def __init__(
        self, file: "IO[bytes] | Part", start: int, end: int, head: bytes = b""
    ) -> None:
        self.name: str | None = None
        self._file, self._start, self._head = file, start, head
        self.size = len(head) + max(end - start, 0)
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}
        self._at = max(base[whence] + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = max(min(len(buffer), self.size - self._at), 0)
        data = self._head[self._at : self._at + wanted]
        if len(data) < wanted:
            self._file.seek(self._start + self._at + len(data) - len(self._head))
            data += self._file.read(wanted - len(data)) or b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def sound_parts(opened: IO[bytes], warn: Warn) -> list[Part]:
    """Return the files, one after another, that a file consists of.

    Args:
      opened: a file that can seek.
      warn: called with what the header says wrongly or what is missing, as the end of
        a sentence that begins with the file's name.
    """
    file = Part(opened, 0, opened.seek(0, io.SEEK_END))
    start = _read(file, 0, 12)
    if start.startswith(b"OggS"):
        return _ogg_links(file, warn)
    for container in _CONTAINERS:
        if start.startswith(container.magic) and container.form in start:
            return [_with_true_size(file, container, warn)]
    return [file]


def without_length(file: Part) -> Part | None:
    """Return a FLAC or MP3 file with a header that limits it to no length."""
    size = file.size
    head = _read(file, 0, 64)
    if head.startswith(_FLAC):
        # The last 36 bits before the checksum: total samples; 0 is unknown.
        patched = head[:21] + bytes([head[21] & 0xF0]) + bytes(4)
        return Part(file, len(patched), size, patched)
    return _mp3_without_length(file, size)


def next_flac(file: Part, at: int) -> Part | None:
    """Return the FLAC file that follows one that ends about `at`, or None."""
    if not _read(file, 0, len(_FLAC)) == _FLAC:
        return None
    size = file.size
    # Decoders read ahead, by less than this.
    start = max(at - (1 << 16), 1)
    found = _find(file, _FLAC, start)
    return Part(file, found, size) if found is not None else None


def rest_of(file: Part, at: int) -> int:
    """Return the number of bytes from `at` on; none where a tag begins there."""
    size = file.size
    begin = _read(file, at, 8)
    if begin.startswith((b"APETAGEX", b"ID3", b"TAG", b"LYRICSBE")):
        return 0
    return max(size - at, 0)


def unread(num_bytes: int) -> str:
    """Return what is said of bytes that are not read."""
    return (
        f"has {num_bytes} bytes after the end of its sound, which are not read; "
        "convert it to WAV by another program if music is missing"
    )


def _read(file: Part, at: int, number: int) -> bytes:
    """Return some bytes; the file's position stays."""
    if at >= file.size:  # damaged sizes may be beyond what files can seek
        return b""
    before = file.tell()
    file.seek(at)
    data = file.read(number) or b""
    file.seek(before)
    return data


def _find(file: Part, what: bytes, start: int) -> int | None:
    """Return where bytes are found first, or None."""
    step = 1 << 20
    while block := _read(file, start, step + len(what) - 1):
        if (index := block.find(what)) >= 0:
            return start + index
        start += step
    return None


# Containers of chunks: WAV, AIFF and their relatives.


class _Container(NamedTuple):
    """How chunks follow one another, and which holds the sound."""

    magic: bytes
    form: bytes  # in the first 12 bytes, too
    first: int  # where the first chunk begins
    id_bytes: int
    size: str  # of a chunk, for `struct`
    padding: int  # chunks begin at multiples of this
    sound: bytes  # what the id of the chunk with the sound begins with
    counts_header: bool = False  # whether a chunk's size includes its id and size


_CONTAINERS = (
    _Container(b"RIFF", b"WAVE", 12, 4, "<I", 2, b"data"),
    _Container(b"RIFX", b"WAVE", 12, 4, ">I", 2, b"data"),
    _Container(b"RF64", b"WAVE", 12, 4, "<I", 2, b"data"),
    _Container(b"FORM", b"AIF", 12, 4, ">I", 2, b"SSND"),
    _Container(b"caff", b"", 8, 4, ">q", 1, b"data"),
    _Container(b"riff", b"", 40, 16, "<q", 8, b"data", counts_header=True),
    # Sun's .au has one chunk: its start and size come first.
    _Container(b".snd", b"", 4, 0, ">I", 1, b""),
)


CHUNKED = ("WAV", "WAVEX", "RF64", "AIFF", "CAF", "W64", "AU")
"""Names that libsndfile has for these; their sizes are true after `sound_parts`."""


class _Sound(NamedTuple):
    """Where a file's sound lies, as its header has it."""

    start: int
    size: int
    field_at: int  # where the header has the size
    field: str  # for `struct`
    added: int = 0  # what the field has more than the size


def _with_true_size(file: Part, container: _Container, warn: Warn) -> Part:
    """Return a file whose header has the size of the sound that is there."""
    sound = _find_sound(file, container)
    end = file.size
    if sound is None or sound.start > min(end, _MAX_HEADER):
        return file
    there = end - sound.start
    if 0 <= sound.size < there:
        if _ends_well(file, sound.start + sound.size, container):
            return file
        warn(
            f"has a header that tells of {sound.size} bytes of sound, and {there} are "
            "there; all are read"
        )
    elif there < sound.size < _UNKNOWN_LENGTH:
        warn(
            f"is cut off: {there / sound.size:.1%} of what its header says is there; "
            "only that is read"
        )
    head = bytearray(_read(file, 0, sound.start))
    limit = 256 ** struct.calcsize(sound.field) - 1
    value = min(there + sound.added, limit)
    struct.pack_into(sound.field, head, sound.field_at, value)
    if value < there and container.magic == b"RIFF":
        # More than 4 GB need an RF64's chunk of sizes: of the file, of the sound.
        sizes = struct.pack("<4sIQQQI", b"ds64", 28, end, there, 0, 0)
        head = b"RF64\xff\xff\xff\xffWAVE" + sizes + head[container.first :]
    return Part(file, sound.start, end, bytes(head))


def _find_sound(file: Part, container: _Container) -> _Sound | None:
    """Return where the sound lies, or None."""
    if container.magic == b".snd":
        head = _read(file, 4, 8)
        if len(head) < 8:
            return None
        start, size = struct.unpack(">II", head)
        # The rest of the header has 24 bytes.
        return _Sound(start, size, 8, ">I") if start >= 24 else None
    at, end = container.first, file.size
    large: tuple[int, int] | None = None  # the size of RF64 and where it is
    while True:
        number = container.id_bytes + struct.calcsize(container.size)
        head = _read(file, at, number)
        if len(head) < number:
            return None
        (size,) = struct.unpack_from(container.size, head, container.id_bytes)
        added = number if container.counts_header else 0
        size -= added
        if head.startswith(container.sound):
            if large is not None and size >= _UNKNOWN_LENGTH:
                return _Sound(at + number, *large, "<Q")
            return _Sound(
                at + number, size, at + container.id_bytes, container.size, added
            )
        sizes = _read(file, at + 8, 16)
        if head.startswith(b"ds64") and len(sizes) == 16:
            large = struct.unpack("<QQ", sizes)[1], at + 16
        if size < 0 or at > end:
            return None
        at += number + size
        at += -at % container.padding


def _ends_well(file: Part, at: int, container: _Container) -> bool:
    """Return whether the sound may end here: nothing, chunks, tags or zeros follow."""
    at += -at % container.padding
    rest = file.size - at
    if rest <= 0:
        return True
    number = container.id_bytes + struct.calcsize(container.size)
    head = _read(file, at, number)
    if rest_of(file, at) == 0 or rest < number:
        return True
    if rest <= _MAX_PADDING and not any(_read(file, at, rest)):
        return True
    (size,) = struct.unpack_from(container.size, head, container.id_bytes)
    is_chunk = re.match(rb"[A-Za-z_]{2}[A-Za-z0-9_ ]{2}", head) is not None
    return is_chunk and (0 <= size <= rest or rest <= _MAX_PADDING)


# Ogg.


def _ogg_links(file: Part, warn: Warn) -> list[Part]:
    """Return the links of a chain of Ogg streams; see RFC 3533.

    A link begins with pages that are marked as first ones, after pages that are not.
    """
    starts, in_head, at, end = [0], True, 0, file.size
    is_last, page_end = False, 0
    while True:
        head = _read(file, at, 27)
        if head.startswith(b"OggS") and len(head) < 27:
            break  # cut off inside of the page's header
        if not head.startswith(b"OggS"):
            # Damaged, or the end: go on where the next page begins.
            found = _find(file, b"OggS", at)
            if found is None:
                break
            at = found
            continue
        is_first, is_last = bool(head[5] & 2), bool(head[5] & 4)
        if is_first and not in_head:
            starts.append(at)
        in_head = is_first
        sizes = _read(file, at + 27, head[26]) if len(head) == 27 else b""
        page_end = at + 27 + len(sizes) + sum(sizes)
        at = page_end
    if page_end > end or not is_last:
        warn("is cut off: its last page is not there; what there is is read")
    if end - page_end > MANY_BYTES:
        warn(unread(end - page_end))
    ends = [*starts[1:], min(page_end, end)]
    return [Part(file, *ends) for ends in zip(starts, ends, strict=True)]


# MP3.

_BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SAMPLE_RATES_HZ = (44100, 48000, 32000)


def _mp3_without_length(file: Part, size: int) -> Part | None:
    """Return an MP3 file whose first frame, without sound, tells of a great length."""
    start = 0
    tag = _read(file, 0, 10)
    if tag.startswith(b"ID3") and len(tag) == 10:
        a, b, c, d = tag[6:10]
        start = 10 + (a << 21 | b << 14 | c << 7 | d)
    head = _read(file, start, 4)
    length = _mp3_frame_bytes(head)
    if not length:
        return None
    # Behind the header, its checksum and the side information.
    frame = bytearray(_read(file, start, length))
    if b"VBRI" in frame[:64]:
        start += length
    for mark in (b"Xing", b"Info"):
        if 0 <= (at := frame.find(mark)) < 64:
            start += length
            break
    else:
        is_1, is_mono = head[1] >> 3 & 1, head[3] >> 6 == 3
        at = 4 + ((17 if is_mono else 32) if is_1 else (9 if is_mono else 17))
        frame = bytearray(length)
        frame[:4] = head[0], head[1] | 1, head[2], head[3]
        frame[at : at + 4] = b"Xing"
    if len(frame) < at + 16:
        return None
    frame[at + 7] |= 3  # it holds the number of frames and of bytes
    struct.pack_into(">II", frame, at + 8, _MANY_FRAMES, size)
    return Part(file, start, size, bytes(frame))


def _mp3_frame_bytes(head: bytes) -> int:
    """Return the length of a frame of layer III by its header, or 0."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return 0
    version, rate, bits = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or rate == 3 or bits in (0, 15):
        return 0
    is_1 = version == 3
    rate_hz = _SAMPLE_RATES_HZ[rate] // {3: 1, 2: 2, 0: 4}[version]
    kbps = (_BIT_RATES_1 if is_1 else _BIT_RATES_2)[bits]
    return (144 if is_1 else 72) * 1000 * kbps // rate_hz + (head[2] >> 1 & 1)
