"""mt3x: music transcription (audio in, notes and MIDI out) on JAX and Flax."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mt3x.inference.transcriber import Transcriber
    from mt3x.music.notes import Notes

__all__ = ["Notes", "Transcriber"]


def __getattr__(name: str) -> Any:
    """Import the public classes on first use, so `import mt3x` stays light."""
    if name == "Notes":
        from mt3x.music.notes import Notes

        return Notes
    if name == "Transcriber":
        from mt3x.inference.transcriber import Transcriber

        return Transcriber
    raise AttributeError(f"module 'mt3x' has no attribute {name!r}")
