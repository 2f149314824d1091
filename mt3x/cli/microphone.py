"""Microphones and other audio inputs, heard as they are played, through PortAudio."""

import queue
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from mt3x.cli.portaudio import load_sounddevice, number_or_name

# Blocks that wait to be heard, of 10 ms or more each; when they are full, samples are
# lost, and memory is not.
MOST_BLOCKS = 2000
# How often somebody looks whether to stop.
POLL_S = 0.1


def input_lines() -> list[str]:
    """Return a line about each audio input: number, name, channels, rate.

    Raises:
      ValueError, OSError, ModuleNotFoundError: as `Microphone`.
    """
    devices = load_sounddevice().query_devices()
    usual = _default_input()
    return [
        f"{'*' if index == usual else ' '} {index:2d}  {device['name']}  "
        f"({device['max_input_channels']} channels, "
        f"{device['default_samplerate']:.0f} Hz)"
        for index, device in enumerate(devices)
        if device["max_input_channels"]
    ]


def _default_input() -> int | None:
    sounddevice = load_sounddevice()
    try:
        return sounddevice.query_devices(None, "input")["index"]
    except (ValueError, sounddevice.PortAudioError):
        return None


class Microphone:
    """An audio input; inside of a `with` block it records.

    At most two channels are recorded, at the device's own rate.
    """

    def __init__(self, device: str | None = None) -> None:
        """Find an input.

        Args:
          device: its number, or a part of its name; by default the system's usual one.

        Raises:
          ModuleNotFoundError: sounddevice is not installed.
          OSError: PortAudio is not installed.
          ValueError: there is no such input.
        """
        self._sounddevice = load_sounddevice()
        try:
            found = self._sounddevice.query_devices(number_or_name(device), "input")
        except (ValueError, self._sounddevice.PortAudioError) as error:
            what = "no audio input" if device is None else f"no audio input {device}"
            raise ValueError(
                f"{what} ({error}): connect one; `mt3x listen --list-devices` prints "
                "those that there are"
            ) from error
        self.name: str = found["name"]
        self.rate_hz: float = found["default_samplerate"]
        self._number = found["index"]
        self._num_channels = min(found["max_input_channels"], 2)
        self._blocks: queue.Queue[np.ndarray] = queue.Queue(MOST_BLOCKS)
        self._is_lossy = False

    def __enter__(self) -> "Microphone":
        """Begin to record.

        Raises:
          OSError: the input cannot be opened.
        """
        try:
            self._stream: Any = self._sounddevice.InputStream(
                samplerate=self.rate_hz,
                device=self._number,
                channels=self._num_channels,
                dtype="float32",
                callback=self._take,
            )
            self._stream.start()
        except self._sounddevice.PortAudioError as error:
            raise OSError(
                f"{self.name}: it cannot be opened ({error}); close programs that use "
                "it, or choose another --device"
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def blocks(self, stop: threading.Event) -> Iterator[np.ndarray]:
        """Yield samples_SxC as they come, until `stop` is set and all are yielded.

        Raises:
          OSError: the input is gone.
        """
        warned = False
        while True:
            try:
                block_SxC = self._blocks.get(timeout=POLL_S)
            except queue.Empty:
                if stop.is_set():
                    return
                if not self._stream.active:
                    raise OSError(
                        f"{self.name}: no more sound comes; is it still connected?"
                    ) from None
                continue
            if self._is_lossy and not warned:
                warned = True
                warnings.warn(
                    f"{self.name}: some sound was lost, as this machine is too busy; "
                    "close other programs",
                    stacklevel=2,
                )
            yield block_SxC
            if stop.is_set():
                self._stream.stop()

    def _take(self, samples_SxC: np.ndarray, _: int, __: Any, status: Any) -> None:
        """Keep samples for `blocks`; called in another thread."""
        if status.input_overflow or self._blocks.full():
            self._is_lossy = True
        if not self._blocks.full():
            self._blocks.put(samples_SxC.copy())
