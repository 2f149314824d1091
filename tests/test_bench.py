"""Measurements that someone else starts, on another machine, can be started."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent.parent / "bench"


def test_accelerator_measures_what_trains_and_decodes(tmp_path):
    options = ["--small", "--models", "MT3 small", "--dtypes", "float32"]
    options += ["--parts", "device", "training", "decoding"]
    command = [sys.executable, BENCH / "accelerator.py", "--out-dir", tmp_path]
    subprocess.run([*command, *options], check=True)
    tables = json.loads((tmp_path / "accelerator.json").read_text(encoding="utf-8"))
    batches = [row["batch"] for row in tables["training"]]
    assert batches == [2, 4] and "notes" not in tables
    assert all(row["audio_h_per_h"] > 0 for row in tables["training"])
    assert all(row["utilisation_percent"] > 0 for row in tables["training"])
    assert [row["batch"] for row in tables["decoding"]] == [4, 1]
    assert all(row["tokens_per_s"] > 0 for row in tables["decoding"])
    text = (tmp_path / "accelerator.md").read_text(encoding="utf-8")
    assert "| MT3 small | float32 | 4 |" in text
