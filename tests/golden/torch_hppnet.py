"""Import the authors' HPPNet (PyTorch) from a checkout, for comparison only.

Used by `make_hppnet.py` and by the benchmarks; the test suite itself needs no
PyTorch. The authors' modules import torchaudio, torchvision and matplotlib but use
no more of them than `AmplitudeToDB`: where those are absent, small stand-ins take
their place.
"""

import importlib
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import torch

HEADS = ("onset", "frame", "offset", "velocity")


class AmplitudeToDB(torch.nn.Module):
    """10 log10(x), floored at 1e-10 and at `top_db` below the maximum of the clip."""

    def __init__(self, top_db: float) -> None:
        super().__init__()
        self.top_db = top_db

    def forward(self, x_BxTxF: torch.Tensor) -> torch.Tensor:
        db_BxTxF = 10 * torch.log10(torch.clamp(x_BxTxF, min=1e-10))
        floor_Bx1x1 = db_BxTxF.amax(dim=(1, 2), keepdim=True) - self.top_db
        return torch.maximum(db_BxTxF, floor_Bx1x1)


def import_transcriber(checkout: str | Path) -> types.ModuleType:
    """Return the module `hppnet.transcriber` of the authors' checkout.

    The package's own `__init__` (data sets, evaluation) is passed over.

    Raises:
        OSError: if `checkout` holds no HPPNet code.
    """
    package_dir = Path(checkout) / "hppnet"
    if not (package_dir / "transcriber.py").is_file():
        raise OSError(f"{checkout}: no hppnet/transcriber.py; pass a HPPNet checkout")
    transforms = types.ModuleType("torchaudio.transforms")
    transforms.__dict__["AmplitudeToDB"] = AmplitudeToDB
    _stand_in("torchaudio", transforms=transforms)
    _stand_in("torchvision")
    _stand_in("matplotlib", pyplot=types.ModuleType("matplotlib.pyplot"))
    token = types.ModuleType("lib2to3.pgen2.token")
    token.__dict__["NT_OFFSET"] = 256
    pgen2 = types.ModuleType("lib2to3.pgen2")
    pgen2.__dict__["token"] = token
    _stand_in("lib2to3", pgen2=pgen2)
    sys.modules["lib2to3.pgen2.token"] = token
    if "hppnet" not in sys.modules:
        package = types.ModuleType("hppnet")
        package.__path__ = [str(package_dir)]
        sys.modules["hppnet"] = package
    return importlib.import_module("hppnet.transcriber")


def build(checkout: str | Path, channels: int, sp: bool = False) -> Any:
    """Return the authors' HPPNet on the CPU; `sp` has a subnet for the onset alone."""
    heads = HEADS[:1] if sp else HEADS
    config = {
        "device": "cpu",
        "model_size": channels,
        "SUBNETS_TO_TRAIN": ["onset_subnet"] + (["frame_subnet"] if sp else []),
        "onset_subnet_heads": list(heads),
        "frame_subnet_heads": list(HEADS[1:]) if sp else [],
    }
    return import_transcriber(checkout).HPPNet(229, 88, config)


def _stand_in(name: str, **submodules: types.ModuleType) -> None:
    """Put an empty module `name` in sys.modules unless the real one is installed."""
    if name in sys.modules or importlib.util.find_spec(name) is not None:
        if name != "lib2to3":
            return
    module = types.ModuleType(name)
    module.__path__ = []
    sys.modules[name] = module
    for key, value in submodules.items():
        module.__dict__[key] = value
        sys.modules[f"{name}.{key}"] = value
