"""mt3x: music transcription (audio in, notes and MIDI out) on JAX and Flax."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mt3x.inference.beat_tracker import beats
    from mt3x.inference.composer import Composer
    from mt3x.inference.live import LiveTranscriber
    from mt3x.inference.transcriber import Transcriber
    from mt3x.music.band_rolls import BandRolls
    from mt3x.music.beats import Beats
    from mt3x.music.key import estimate_key
    from mt3x.music.metrics import note_scores
    from mt3x.music.note_files import read_notes, read_performance
    from mt3x.music.notes import Notes
    from mt3x.music.performance import Performance
    from mt3x.music.plot import plot_notes
    from mt3x.music.rolls import Rolls
    from mt3x.notation.notate import notate

    __version__: str

__all__ = [
    "BandRolls",
    "Beats",
    "Composer",
    "LiveTranscriber",
    "Notes",
    "Performance",
    "Rolls",
    "Transcriber",
    "__version__",
    "beats",
    "estimate_key",
    "notate",
    "note_scores",
    "plot_notes",
    "read_notes",
    "read_performance",
]

_MODULES = {
    "BandRolls": "mt3x.music.band_rolls",
    "Composer": "mt3x.inference.composer",
    "LiveTranscriber": "mt3x.inference.live",
    "Beats": "mt3x.music.beats",
    "Notes": "mt3x.music.notes",
    "Performance": "mt3x.music.performance",
    "Rolls": "mt3x.music.rolls",
    "Transcriber": "mt3x.inference.transcriber",
    "beats": "mt3x.inference.beat_tracker",
    "estimate_key": "mt3x.music.key",
    "notate": "mt3x.notation.notate",
    "note_scores": "mt3x.music.metrics",
    "plot_notes": "mt3x.music.plot",
    "read_notes": "mt3x.music.note_files",
    "read_performance": "mt3x.music.note_files",
}

# Installed, `mt3x.tasks` and `mt3x.gin` lie in this folder; in a checkout, beside it.
_CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_CHECKOUT, "tasks", "__init__.py")):
    __path__.append(_CHECKOUT)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import mt3x` stays light."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mt3x")
    if name not in _MODULES:
        raise AttributeError(f"module 'mt3x' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
