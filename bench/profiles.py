"""What a compiled program's time goes to, by the part of the model, from a trace."""

import collections
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax


def costs(
    call: Callable[[], object], program: str, folder: Path
) -> collections.Counter[str]:
    """Trace a call; seconds of each part of the model in it.

    On an accelerator operations that the program does not name count under their own
    name. On a CPU they are left out, as a trace holds much besides the program.

    Args:
      call: runs the program, and waits for it.
      program: its text, from `compiled.as_text()`.
      folder: where the trace goes, for TensorBoard or xprof.
    """
    with jax.profiler.trace(str(folder)):
        call()
    files = sorted(folder.glob("plugins/profile/*/*.xplane.pb"))
    trace = jax.profiler.ProfileData.from_file(str(files[-1]))
    parts, loops = parts_of_model(program)
    seconds: collections.Counter[str] = collections.Counter()
    for event, on_device in _events(trace):
        name = event.name.split(" = ")[0].lstrip("%")
        name = dict(event.stats).get("hlo_op", name)
        if name in loops:
            continue
        if name in parts or on_device:
            seconds[parts.get(name, event.name)] += event.duration_ns / 1e9
    return seconds


def _events(trace: Any) -> Iterator[tuple[Any, bool]]:
    """Events of the device's work, or of all threads where it is the CPU's."""
    planes = list(trace.planes)
    devices = [p for p in planes if re.match(r"/device:(GPU|TPU)", p.name)]
    for plane in devices or planes:
        lines = list(plane.lines)
        # Others hold the same time again, by step, module or line of source.
        work = [line for line in lines if re.match("Stream|XLA Ops", line.name)]
        for line in work or lines:
            for event in line.events:
                yield event, bool(devices)


def parts_of_model(program: str) -> tuple[dict[str, str], set[str]]:
    """Operation of a compiled program -> the part of the model that it computes.

    Loops and calls, whose time is that of operations inside them, come apart.
    """
    parts, loops = {}, set()
    for line in program.splitlines():
        found = re.match(r"\s+(?:ROOT )?%?([\w.-]+) = .*? ([\w-]+)\(", line)
        if not found:
            continue
        if found[2] in ("while", "call", "conditional"):
            loops.add(found[1])
            continue
        path = re.search(r'op_name="([^"]*)"', line)
        parts[found[1]] = part(path[1]) if path else f"{found[2]} of no named part"
    return parts, loops


def part(path: str) -> str:
    """jit(update)/transpose(jvp(Net))/decoder/layers_3/mlp/wo/dot -> decoder/layers/mlp

    with the pass in front; operations outside of modules keep their own name.
    """
    if "rematted_computation" in path:
        kind = "again"
    elif "transpose(" in path:
        kind = "backward"
    else:
        kind = "forward" if "jvp(" in path else "update"
    *modules, operation = [
        re.sub(r"_\d+$", "", name)
        for name in path.split("/")
        if "(" not in name and name not in ("checkpoint", "rematted_computation")
    ] or [path]
    return f"{kind:9s}" + ("/".join(modules[:3]) or operation)
