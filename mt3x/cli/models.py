"""Models that `mt3x transcribe` knows by their names."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mt3x.cli.log import MEGABYTES, Log

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
        self,
        model: str | None,
        checkpoint: Path | None,
        options: Mapping[str, Any],
        *,
        pedal_events: bool = False,
        offline: bool,
        log: Log,
    ) -> None:
        """Find the model.

        Args:
          model: its name, or `auto`; None: what the checkpoint is or, without one, the
            package's model.
          checkpoint: None for the package's weights.
          options: of `Transcriber`.
          pedal_events: whether key releases and pedal are wanted, which are of piano
            models.
          offline: whether weights must be there already.
          log: told when weights are fetched.

        Raises:
          ValueError: `auto` is given with a checkpoint.
        """
        if checkpoint is not None and model == AUTO:
            raise ValueError(
                "--model auto chooses among the package's models: leave out "
                "--checkpoint, or --model"
            )
        self._checkpoint = checkpoint
        self._options = options
        self._offline = offline
        self._log = log
        self._name = model if checkpoint is not None else model or _usual()
        self._pedal_events = pedal_events
        if self._name == AUTO and _for_bands(options):
            self._name = "band"
        elif self._name == AUTO and pedal_events:
            self._name = "piano"
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
        if self._pedal_events and not transcriber.has_pedal:
            raise ValueError(
                f"--pedal events needs a piano model that hears the pedal, and this is "
                f"a {transcriber.kind}: give -m piano, or leave it out"
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
            checkpoint = self._checkpoint
            if checkpoint is None and name in MODELS:
                checkpoint = self._fetched(name)
            packaged: Any = name if checkpoint is None else None
            self._loaded[name] = Transcriber(
                checkpoint, model=packaged, **self._options
            )
        return self._loaded[name]

    def _fetched(self, name: str) -> Path | None:
        """Return the file of weights that do not come with the package.

        They are fetched when they are first asked for; of the package's own it is None.
        """
        address = MODELS[name].address
        if address is None:
            return None
        folder = _cache_folder(name)
        target = folder / f"{name}.safetensors"
        if target.is_file():
            return target
        if self._offline:
            raise ValueError(
                f"{target} is not there, and --offline fetches nothing: leave it out "
                "once, or give --checkpoint"
            )
        import filelock

        from mt3x.interop.published import fetch

        folder.mkdir(parents=True, exist_ok=True)
        # Another process may be at it.
        with filelock.FileLock(folder / f"{name}.lock"):
            if not target.is_file():
                about = {"model": name, "address": address, "target": str(target)}
                line = f"fetching {name} from {address}, once, to {target}"
                self._log.event("fetch", line, **about)
                with self._log.bar(0.0, MEGABYTES) as bar:
                    bar.begin(name)
                    fetch(
                        name,
                        address,
                        target,
                        lambda done, total: bar.reach(done / 1e6, total / 1e6),
                    )
        return target


def _cache_folder(name: str) -> Path:
    """Return where fetched weights are kept."""
    from mt3x.models.platform import user_cache

    choice = os.environ.get("MT3X_CACHE", "")
    folder = Path(choice) if choice else user_cache()
    if choice == "off" or folder is None:
        why = "MT3X_CACHE is off" if choice else "this user has no home folder"
        raise ValueError(
            f"weights of {name} are kept in the cache, and {why}: name a folder by "
            "MT3X_CACHE, or give --checkpoint"
        )
    return folder / "checkpoints"


def _usual() -> str:
    """Return the model of the package where none is named."""
    from mt3x.models.weights_file import WEIGHTS

    return AUTO if WEIGHTS["band"].is_file() else "piano"


def _for_bands(options: Mapping[str, Any]) -> bool:
    """Return whether options are given that only a band model has."""
    return any(options.get(x) is not None for x in ("instruments", "drum_threshold"))
