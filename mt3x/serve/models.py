"""The models of a server, loaded when they are first needed."""

import functools
import os
from typing import Any

from mt3x.inference.composer import Composer
from mt3x.inference.model_choice import choose_model
from mt3x.inference.transcriber import Transcriber
from mt3x.models.weights_file import WEIGHTS
from mt3x.music.performance import EVENTS, EXTEND, PEDALS

AUTO = "auto"


class Models:
    """Gives each recording the model that was asked for."""

    def __init__(
        self,
        model: str | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        """Load the model that recordings have where they ask for none.

        Args:
          model: its name, `auto`, `piano` or `band`; by default `auto` where the
            package has weights for bands, or else `piano`.
          checkpoint: weights that stand for all models.

        Raises:
          OSError, ValueError: as `Transcriber`, or a name is unknown.
        """
        self._checkpoint = checkpoint
        self._loaded: dict[str, Transcriber] = {}
        self.names: tuple[str, ...] = tuple(
            name for name in ("piano", "band") if WEIGHTS[name].is_file()
        )
        if "band" in self.names:
            self.names = (AUTO, *self.names)
        if checkpoint is not None:
            self.names = ("checkpoint",)
        self.usual = model or self.names[0]
        # Whose thresholds a page shows before it has a recording.
        self.first = self._load("band" if self.usual == AUTO else self.usual)

    @property
    def pedal_model(self) -> str | None:
        """The model that tells keys and pedal apart, if there is one."""
        if "piano" in self.names:
            return "piano"
        return self.usual if self.first.has_pedal else None

    def choose(self, name: str | None, pedal: str) -> str:
        """Return which model a recording has.

        Args:
          name: what the client asks for; None: nothing.
          pedal: one of `PEDALS`; `events` chooses the model where `auto` would.

        Raises:
          ValueError: there is no such model or pedal, or the model has no pedal.
        """
        if name is None or (name == AUTO and AUTO not in self.names):
            name = self.usual
        if name not in self.names:
            names = ", ".join(self.names)
            raise ValueError(f"there is no such model: choose one of {names}")
        if pedal not in PEDALS:
            raise ValueError(f"there is no such pedal: choose {EXTEND} or {EVENTS}")
        if pedal == EXTEND:
            return name
        chosen = self.pedal_model
        if chosen is None or name not in (AUTO, chosen):
            other = f"choose model={chosen}, or " if chosen else ""
            raise ValueError(
                f"pedal={EVENTS} needs a piano model that hears the pedal: "
                f"{other}leave it out"
            )
        return chosen

    def of(self, name: str, audio: Any) -> Transcriber:
        """Return the model of a recording that asks for the name."""
        if name == AUTO:
            name = choose_model(self._load("band"), audio)
        return self._load(name)

    @property
    def composes(self) -> bool:
        """Whether there is a model that composes."""
        return WEIGHTS["generator"].is_file()

    @functools.cached_property
    def composer(self) -> Composer:
        """What composes."""
        return Composer()

    def _load(self, name: str) -> Transcriber:
        if name not in self.names:
            raise ValueError(f"model is {name!r}: give one of {', '.join(self.names)}")
        if name not in self._loaded:
            packaged: Any = None if self._checkpoint is not None else name
            self._loaded[name] = Transcriber(self._checkpoint, model=packaged)
        return self._loaded[name]
