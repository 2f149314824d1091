"""PortAudio, by which microphones are heard and loudspeakers sound."""

from typing import Any


def load_sounddevice() -> Any:
    """Return the module that plays and records.

    Raises:
      ModuleNotFoundError: sounddevice is not installed.
      OSError: PortAudio is not installed.
    """
    try:
        import sounddevice  # pyright: ignore[reportMissingImports]
    except OSError as error:
        raise OSError(
            "sound needs PortAudio, which is not installed: apt install "
            f"libportaudio2, or the like ({error})"
        ) from error
    return sounddevice


def number_or_name(device: str | None) -> int | str | None:
    """Return what sounddevice finds a device by; None is the system's usual one."""
    return int(device) if device is not None and device.isdecimal() else device
