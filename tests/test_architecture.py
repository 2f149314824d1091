"""The rules of the source tree: levels, what inference loads, every command starts."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mt3x.cli import SUBCOMMANDS

PACKAGE = Path(__file__).parent.parent / "mt3x"

# Modules by level; imports go to the same or a lower level, without cycles.
LEVELS = {
    0: "audio codec even_keys files gather instrument_metrics instruments loudness "
    "metrics midi note_decoder notes plot refine rolls sonify task_names tokens "
    "windows",
    1: "decoding features grammar losses meters models models.batch_norm models.hppnet "
    "models.layers models.platform models.roll_heads models.seq2seq models.stem "
    "models.transformer objectives optimizers piano_objective reference search "
    "spectrogram tokens_objective train_step",
    2: "arrange augment batches clips compose converters corpus datasets drums "
    "humanize label_files multitrack pianos note_sequences pieces pipeline "
    "preprocessors published raw recipe records render roll_notes roll_tasks sfz "
    "slakh_layout songs soundfonts sources synth synth_plan task_batches "
    "task_outputs task_registry textures token_tasks",
    3: "audio_to_rolls audio_to_tokens checkpoints cli collectives commands compare "
    "compilation_cache config distributed evaluate experiment held_out "
    "initial_weights jobs journal partitioning plan prefetch processes run_checkpoints "
    "run_folder score_files sharded_step t5x_adapter t5x_checkpoints t5x_data "
    "t5x_outputs task_evaluation train transcribe validate workers __main__",
}
# Imports upwards that a function makes when it is called, for convenience.
UPWARDS = {("__init__", "transcribe")}
# Third-party packages that a level's modules may import when they are imported.
ALLOWED = {
    0: {"numpy", "mido", "mir_eval", "soundfile", "soxr"},
    1: {"numpy", "jax", "flax", "optax"},
    2: {"numpy", "mido", "soundfile", "soxr"},
}


# The modules that wrap TensorFlow and SeqIO; others do not import them.
DATA_MODULES = set(
    "multitrack note_sequences pieces pipeline preprocessors records sources "
    "task_outputs task_registry task_batches token_tasks roll_notes roll_tasks "
    "converters t5x_adapter t5x_data commands.prepare slakh_layout".split()
)
DATA_PACKAGES = {"apache_beam", "note_seq", "seqio", "tensorflow", "yaml"}


def module_name(file):
    parts = list(file.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__" and len(parts) > 1:
        parts.pop()
    return ".".join(parts)


def level(name):
    for number, names in LEVELS.items():
        if name in names.split():
            return number
    if name.startswith("commands."):
        return 3
    if name == "__init__":
        return 0
    raise AssertionError(f"mt3x/{name}.py is in no level: add it to LEVELS")


def imports(file):
    """(module, whether the import runs with the file's) for each import of a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    deferred, typing = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            deferred |= set(ast.walk(node))
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            typing |= {child for part in node.body for child in ast.walk(part)}
    for node in ast.walk(tree):
        if node in typing:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, node not in deferred


FILES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def own_imports(name):
    """Modules of mt3x that a module imports, now or in functions."""
    for full, now in imports(FILES[name]):
        parts = full.split(".")
        if parts[0] != "mt3x":
            continue
        # `from mt3x.notes import Notes` names a thing in a module, `from mt3x import
        # midi` a module.
        for length in (len(parts), len(parts) - 1):
            target = ".".join(parts[1:length])
            if target in FILES:
                yield target, now
                break


@pytest.mark.parametrize("name", FILES)
def test_imports_point_down(name):
    for target, now in own_imports(name):
        if not now and (name, target) in UPWARDS:
            continue
        assert level(target) <= level(name), f"mt3x.{name} imports mt3x.{target}"


def test_imports_have_no_cycles():
    """Cycles of imports made at import time; deferred ones can not hurt."""
    graph = {name: {t for t, now in own_imports(name) if now} for name in FILES}
    order = []
    while graph:
        free = [name for name, targets in graph.items() if not targets & graph.keys()]
        assert free, f"cycle among {sorted(graph)}"
        order += free
        for name in free:
            del graph[name]
    assert len(order) == len(FILES)


@pytest.mark.parametrize("name", FILES)
def test_third_party_imports(name):
    allowed = ALLOWED.get(level(name))
    for full, now in imports(FILES[name]):
        top = full.split(".")[0]
        assert top != "tasks", f"mt3x.{name} imports tasks"
        assert top != "gin" or name == "config", f"mt3x.{name} imports gin"
        assert top != "t5x" or name in ("t5x_adapter", "t5x_data"), (
            f"mt3x.{name} imports t5x"
        )
        if top in DATA_PACKAGES:
            assert name in DATA_MODULES, f"mt3x.{name} imports {top}"
            continue
        if allowed is None or not now or top in sys.stdlib_module_names:
            continue
        assert top in allowed | {"mt3x"}, f"mt3x.{name} imports {top} when imported"


def test_levels_name_existing_modules():
    names = {name for names in LEVELS.values() for name in names.split()}
    assert names <= FILES.keys(), names - FILES.keys()


def test_folder_gin_is_no_package():
    """With an __init__.py it would hide gin-config when run from the checkout."""
    assert not (PACKAGE.parent / "gin" / "__init__.py").exists()


HEAVY = "tensorflow seqio gin t5x note_seq torch optax orbax tensorstore tensorboardX"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("mt3x", HEAVY + " jax numpy"),
        ("mt3x.cli", HEAVY + " jax numpy"),
        ("mt3x.evaluate", HEAVY + " jax"),
        ("mt3x.transcribe", HEAVY + " apache_beam matplotlib"),
        ("mt3x.commands.transcribe", HEAVY + " jax"),
        ("mt3x.train", "tensorflow gin torch soundfile soxr mido mir_eval matplotlib"),
        ("mt3x.experiment", "tensorflow gin torch soundfile mido mir_eval"),
    ],
)
def test_import_is_light(module, heavy):
    script = (
        f"import sys, {module}; "
        f"print(*[m for m in {heavy.split()!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", ["", *SUBCOMMANDS])
def test_every_command_starts(name):
    done = subprocess.run(
        [sys.executable, "-m", "mt3x", *name.split(), "--help"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: " in done.stdout
