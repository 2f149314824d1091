"""Notes to see and hear in a notebook: a piano roll in step with their sound.

The page in `player.html` is shown in a frame of its own and loads nothing, so that it
works in Jupyter, Colab and VS Code, and without a network.
"""

import base64
import html
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from mt3x.music.audio import open_sound, stream_samples
from mt3x.music.instruments import PROGRAM_NAMES
from mt3x.music.sonify import sonify

if TYPE_CHECKING:
    import numpy.typing as npt

    from mt3x.music.audio import Source
    from mt3x.music.notes import Notes

SAMPLE_RATE_HZ = 22050
HEIGHT_PIXELS = 340
# An hour of sound would make a page of 20 MB.
LONGEST_S = 600.0


def player_html(
    notes: "Notes",
    audio: "Source | npt.ArrayLike | None" = None,
    sample_rate_hz: float | None = None,
    longest_s: float = LONGEST_S,
) -> str:
    """Return an HTML frame with a piano roll and the sound of the notes.

    A minute of sound takes some 0.4 MB.

    Args:
      notes: notes in seconds.
      audio: their recording, which can be heard in place of the notes; a file or
        samples (see `mt3x.music.audio.stream_samples`).
      sample_rate_hz: of the samples; only for those.
      longest_s: what comes later is left out.

    Raises:
      OSError, ValueError: the recording cannot be read.
    """
    sounds = {}
    end_s = float(notes.offset_s.max(initial=0.0)) + 1.0
    if audio is not None:
        blocks, wanted = [], round(longest_s * SAMPLE_RATE_HZ)
        for block_S in stream_samples(audio, sample_rate_hz, SAMPLE_RATE_HZ):
            blocks.append(block_S[:wanted])
            wanted -= len(blocks[-1])
            if not wanted:
                break
        recording_S = np.concatenate(blocks)
        sounds["original"] = recording_S
        end_s = max(end_s, len(recording_S) / SAMPLE_RATE_HZ)
    remark = f"{len(notes)} note" + "s" * (len(notes) != 1)
    if end_s > longest_s:
        remark += f"; only the first {longest_s / 60:.3g} minutes are shown"
        notes, end_s = notes.clip(-np.inf, longest_s), longest_s
    num_samples = int(np.ceil(end_s * SAMPLE_RATE_HZ))
    sounds["transcription"] = sonify(notes, SAMPLE_RATE_HZ, num_samples)
    keys_N = np.where(notes.is_drum, len(PROGRAM_NAMES), notes.program)
    keys, which_N = np.unique(keys_N, return_inverse=True)
    names = [*PROGRAM_NAMES, "Drums"]
    columns = (
        notes.onset_s.round(3),
        notes.offset_s.round(3),
        notes.pitch,
        notes.velocity,
        which_N,
    )
    data = {
        "duration": round(end_s, 3),
        "notes": list(zip(*(column.tolist() for column in columns), strict=True)),
        "instruments": [
            {"name": names[key], "drums": key == len(PROGRAM_NAMES)}
            for key in keys.tolist()
        ],
        "sounds": [{"name": x, "src": _data_url(y)} for x, y in sounds.items()],
        "remark": remark,
    }
    page = _PAGE.read_text(encoding="utf-8").replace("DATA", _inside_script(data))
    return (
        f'<iframe srcdoc="{html.escape(page)}" sandbox="allow-scripts" title="Player" '
        f'style="width: 100%; height: {HEIGHT_PIXELS}px; border: 0"></iframe>'
    )


_PAGE = Path(__file__).with_name("player.html")


def _inside_script(data: Any) -> str:
    """Return JSON that cannot end the element that holds it."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _data_url(samples_S: np.ndarray) -> str:
    """Return mono sound as the address of an MP3 file, which all browsers play.

    It is Ogg Vorbis where libsndfile was built without MP3.
    """
    form, subtype, kind = "MP3", "MPEG_LAYER_III", "mpeg"
    if form not in soundfile.available_formats():
        form, subtype, kind = "OGG", "VORBIS", "ogg"
    file = io.BytesIO()
    with open_sound(file, SAMPLE_RATE_HZ, 1, form, subtype) as sound:
        # libsndfile's Vorbis encoder overflows its stack on very long writes.
        for start in range(0, len(samples_S), 1 << 16):
            sound.write(np.clip(samples_S[start : start + (1 << 16)], -1.0, 1.0))
    encoded = base64.b64encode(file.getvalue()).decode()
    return f"data:audio/{kind};base64,{encoded}"
