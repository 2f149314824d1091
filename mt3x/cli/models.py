"""Models that `mt3x transcribe` knows by their names."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mt3x.inference.transcriber import Transcriber


class KnownModel(NamedTuple):
    """A model that can be asked for by its name."""

    kind: str  # as `Transcriber.kind`
    address: str | None = None  # of weights that the package does not bring


AUTO = "auto"
MODELS = {
    "piano": KnownModel("piano model"),
    "band": KnownModel("band model"),
    "mt3": KnownModel("token model", "gs://mt3/checkpoints/mt3"),
    "ismir2021": KnownModel("token model", "gs://mt3/checkpoints/ismir2021"),
}


class Models:
    """Gives each recording its model: always the same one, or the one it is for.

    A model is loaded once, and not before a recording needs it.
    """

    def __init__(
        self, model: str | None, checkpoint: Path | None, options: Mapping[str, Any]
    ) -> None:
        """Find the model.

        Args:
          model: its name, or `auto`; None: what the checkpoint is or, without one, the
            package's model.
          checkpoint: None for the package's weights.
          options: of `Transcriber`.

        Raises:
          ValueError: the package does not bring the model's weights, or `auto` is given
            with a checkpoint.
        """
        address = MODELS[model].address if model in MODELS else None
        if checkpoint is None and address is not None:
            raise ValueError(
                f"weights of {model} do not come with mt3x: get them with `mt3x import "
                f"t5x {address} {model}.safetensors`, then add --checkpoint "
                f"{model}.safetensors"
            )
        if checkpoint is not None and model == AUTO:
            raise ValueError(
                "--model auto chooses among the package's models: leave out "
                "--checkpoint, or --model"
            )
        self._checkpoint = checkpoint
        self._options = options
        self._name = model if checkpoint is not None else model or _usual()
        if self._name == AUTO and _for_bands(options):
            self._name = "band"
        self._loaded: dict[str | None, Transcriber] = {}

    @property
    def choose(self) -> bool:
        """Whether recordings may have different models."""
        return self._name == AUTO

    def check(self, wants_rolls: bool) -> None:
        """Load a model; raise ValueError where it is not what was asked for."""
        transcriber = self._load("band" if self.choose else self._name)
        known = MODELS.get(self._name or "")
        if known is not None and transcriber.kind != known.kind:
            raise ValueError(
                f"the checkpoint is a {transcriber.kind}, not {self._name}: name "
                "another"
            )
        if wants_rolls and not transcriber.has_rolls:
            raise ValueError(
                f"the checkpoint is a {transcriber.kind} without rolls: leave out "
                "-f rolls"
            )
        if wants_rolls and transcriber.decoder == "tokens":
            raise ValueError("rolls need another decoder: give --decoder rolls or both")

    def of(self, audio: Any) -> "Transcriber":
        """Return the model of a recording."""
        if not self.choose:
            return self._load(self._name)
        from mt3x.inference.model_choice import choose_model

        return self._load(choose_model(self._load("band"), audio))

    def _load(self, name: str | None) -> "Transcriber":
        from mt3x.inference.transcriber import Transcriber

        if name not in self._loaded:
            packaged: Any = name if self._checkpoint is None else None
            self._loaded[name] = Transcriber(
                self._checkpoint, model=packaged, **self._options
            )
        return self._loaded[name]


def _usual() -> str:
    """Return the model of the package where none is named."""
    from mt3x.models.weights_file import WEIGHTS

    return AUTO if WEIGHTS["band"].is_file() else "piano"


def _for_bands(options: Mapping[str, Any]) -> bool:
    """Return whether options are given that only a band model has."""
    return any(options.get(x) is not None for x in ("instruments", "drum_threshold"))
