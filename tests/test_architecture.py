"""What import-linter cannot see: what a process loads, every command starts."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mt3x
from mt3x.cli.main import SUBCOMMANDS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mt3x"


def imports(file):
    """The top-level names that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize(
    "file",
    sorted(PACKAGE.rglob("*.py")),
    ids=lambda file: str(file.relative_to(PACKAGE)),
)
def test_nothing_imports_the_top_level_tasks(file):
    assert "tasks" not in set(imports(file))


def test_folder_gin_is_no_package():
    """With an __init__.py it would hide gin-config when run from the checkout."""
    assert not (PACKAGE.parent / "gin" / "__init__.py").exists()


HEAVY = "tensorflow seqio gin t5x note_seq torch optax orbax tensorstore tensorboardX"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("mt3x", HEAVY + " jax numpy"),
        ("mt3x.cli.main", HEAVY + " jax numpy"),
        ("mt3x.evaluation.transcriptions", HEAVY + " jax"),
        ("mt3x.inference.transcriber", HEAVY + " apache_beam matplotlib"),
        ("mt3x.inference.composer", HEAVY + " apache_beam matplotlib"),
        ("mt3x.cli.transcribe", HEAVY + " jax"),
        ("mt3x.cli.generate", HEAVY + " jax"),
        ("mt3x.cli.serve", HEAVY + " jax starlette uvicorn"),
        (
            "mt3x.training.train",
            "tensorflow gin torch soundfile soxr mido mir_eval matplotlib",
        ),
        ("mt3x.training.experiment", "tensorflow gin torch soundfile mido mir_eval"),
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


@pytest.mark.parametrize("name", mt3x.__all__)
def test_public_names_are_found(name):
    assert getattr(mt3x, name) is not None
    assert name in dir(mt3x)


def test_a_checkout_has_its_tasks_and_gin_files(tmp_path):
    """Also where another mt3x is installed: the folder of work comes first."""
    script = (
        "import importlib.util; from mt3x import config; "
        "print(importlib.util.find_spec('mt3x.tasks').origin, config.gin_dir())"
    )
    for name in ("mt3x", "tasks", "gin"):
        shutil.copytree(ROOT / name, tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / "tasks" / "__init__.py"),
        str(tmp_path / "gin"),
    ]
