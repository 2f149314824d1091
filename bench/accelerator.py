"""Training and transcribing on an accelerator: one command of at most 8 minutes.

    python bench/accelerator.py --out-dir out [--minutes 8] [--cache DIR]
    python bench/accelerator.py --out-dir out --small       # on a CPU, tiny models

Run it in a checkout; mt3x need not be installed. It needs jax (for the device), flax,
optax, orbax-checkpoint and NumPy, no network and no data: audio is noise, notes are
random, weights too. It prints every result as it comes, then tables, and writes both as
`accelerator.json` and `accelerator.md` into --out-dir, after each part again:

- device, peak: what the device is, what its data sheet says and a matrix product takes;
- losses: loss and norm of the gradient of a small batch beside the CPU's;
- training: HPPNet tiny, base and sp on clips of 8 s, MT3 small on segments of 2 s and
  1024 tokens; hours of audio an hour, and FLOPs of matrix products and convolutions as
  part of the peak: the data sheet's, or the measured one where that is not known;
- inference: seconds of work per second of audio, from samples to rolls or tokens;
- decoding: tokens per second of the loop that writes them, segments side by side;
- costs: the three parts of an update that take most time, from the profiler. `busy` is
  the device's time in operations as part of the step's: it waits for the host else.

Each part is a process of its own that is ended when its share of the time is over; what
it has printed until then stays. Batches that do not fit are named. `--cache` keeps
compiled programs, so that a second run measures more in the same time. One device is
measured; choose it with CUDA_VISIBLE_DEVICES.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# Share of the time of each part; what one leaves is for those after it.
SHARES = {
    "device": 0.06,
    "losses": 0.14,
    "training": 0.38,
    "inference": 0.15,
    "decoding": 0.11,
    "costs": 0.16,
}
DTYPES = ("bfloat16", "float32")
CLOSING_S = 3.0

Tables = dict[str, list[dict[str, Any]]]


def run_part(part: str, args: argparse.Namespace, seconds: float, out: Tables) -> None:
    """Run a part in a process, and take its rows as they come."""
    # It begins nothing in its last seconds, and is ended where it has misjudged.
    end_s = time.time() + max(seconds - 5.0, 0.8 * seconds)
    options = ["--part", part, "--end", str(end_s)]
    options += ["--small"] * args.small
    options += ["--dtypes", *args.dtypes]
    options += ["--models", *args.models] if args.models else []
    options += ["--cache", str(args.cache)] if args.cache else []
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).resolve()), *options],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(part, args.small),
    )
    assert process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    begin_s = time.monotonic()
    for line in process.stdout:
        found = json.loads(line)
        out.setdefault(found["table"], []).append(found["row"])
        values = (f"{name} {number(v)}" for name, v in found["row"].items())
        print(f"{found['table']:10s}{', '.join(values)}", flush=True)
    status = process.wait()
    timer.cancel()
    if status:
        took_s = time.monotonic() - begin_s
        why = "its time was over" if took_s >= seconds else f"it failed ({status})"
        note = f"part {part} ended after {took_s:.0f} s: {why}"
        out.setdefault("notes", []).append({"note": note})
        print(note, flush=True)


def environment(part: str, small: bool) -> dict[str, str]:
    env = {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.92", **os.environ}
    # The CPU's losses are needed as well.
    if (platforms := env.get("JAX_PLATFORMS")) and "cpu" not in platforms.split(","):
        env["JAX_PLATFORMS"] = f"{platforms},cpu"
    flags = []
    if small:  # compiling takes longest there
        flags.append("--xla_backend_optimization_level=0")
    if part == "costs":
        # Kernels launched together as a graph have no names in a trace.
        flags.append("--xla_gpu_enable_command_buffer=")
    env["XLA_FLAGS"] = " ".join([env.get("XLA_FLAGS", ""), *flags]).strip()
    return env


def with_utilisation(tables: Tables) -> Tables:
    """Add to training steps what part of the device's peak they reach."""
    peaks = {row["dtype"]: row for row in tables.get("peak", [])}
    rows = []
    for row in tables.get("training", []):
        peak = peaks.get(row["dtype"], {})
        known = peak.get("data_sheet_tflops") or peak.get("matmul_tflops")
        if known and "tflops" in row:
            row = row | {"utilisation_percent": 100 * row["tflops"] / known}
        rows.append(row)
    rows.sort(key=lambda row: (row["model"], row["dtype"], row["batch"]))
    return tables | {"training": rows} if rows else tables


def number(value: Any) -> str:
    if value is None:
        return "unknown"
    if not isinstance(value, float):
        return str(value)
    if value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.1e}"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def markdown(tables: Tables) -> str:
    """All tables; a column is a field of a row, a cell without a value a dash."""
    parts = []
    for title, rows in tables.items():
        if title == "notes":
            parts.append("\n".join(f"- {row['note']}" for row in rows))
            continue
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [names, ["---"] * len(names)]
        lines += [
            [number(row[name]) if name in row else "-" for name in names]
            for row in rows
        ]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        parts.append(f"## {title}\n\n{table.replace('_', ' ')}")
    return "\n\n".join(parts) + "\n"


def write(tables: Tables, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(tables, indent=1)
    (folder / "accelerator.json").write_text(text, encoding="utf-8")
    (folder / "accelerator.md").write_text(markdown(tables), encoding="utf-8")


def measure(args: argparse.Namespace) -> None:
    """Do one part; in a process of its own."""
    sys.path.insert(0, str(ROOT))  # mt3x may not be installed
    import accelerator_inference as inference
    import accelerator_scale as scale
    import accelerator_training as training
    import jax

    if args.cache:
        jax.config.update("jax_compilation_cache_dir", str(args.cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    parts = {
        "device": scale.measure_device,
        "losses": training.measure_losses,
        "training": training.measure_training,
        "inference": inference.measure_inference,
        "decoding": inference.measure_decoding,
        "costs": training.measure_costs,
    }
    sizes = scale.SMALL if args.small else scale.FULL
    parts[args.part](sizes.only(args.models, args.dtypes), scale.Clock(args.end))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out-dir", type=Path, default=Path("."))
    parser.add_argument("--minutes", type=float, default=8.0, help="of all parts")
    parser.add_argument("--small", action="store_true", help="tiny models, for a CPU")
    parser.add_argument("--parts", nargs="*", choices=SHARES, default=list(SHARES))
    parser.add_argument("--models", nargs="*", help="names in the tables; all")
    parser.add_argument("--dtypes", nargs="*", choices=DTYPES, default=DTYPES)
    parser.add_argument("--cache", type=Path, help="folder of compiled programs")
    parser.add_argument("--part", choices=SHARES, help=argparse.SUPPRESS)
    parser.add_argument("--end", type=float, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        measure(args)
        return
    end_s = time.monotonic() + 60 * args.minutes - CLOSING_S
    tables: Tables = {}
    for n, part in enumerate(args.parts):
        share = SHARES[part] / sum(SHARES[later] for later in args.parts[n:])
        run_part(part, args, share * (end_s - time.monotonic()), tables)
        write(with_utilisation(tables), args.out_dir)
    print("\n" + markdown(with_utilisation(tables)))


if __name__ == "__main__":
    main()
