"""Imported by `train.gin`, `eval.gin` and `infer.gin`: ends T5X, which has its own.

A file of MT3 that includes one of them finds ours in our folder, and T5X would then
miss its settings without saying why.
"""

import sys
from pathlib import Path

_main = sys.modules["__main__"]
_spec = getattr(_main, "__spec__", None)
_name = (
    _spec.name if _spec else Path(getattr(_main, "__file__", None) or "").parent.name
)

if _name.partition(".")[0] == "t5x":
    raise ImportError(
        "train.gin, eval.gin and infer.gin of mt3x are read by mt3x's own commands: "
        "under T5X give t5x/pretrain.gin, t5x/eval.gin or t5x/infer.gin instead, or "
        "name MT3's folder in --gin_search_paths before mt3x's to include MT3's"
    )
