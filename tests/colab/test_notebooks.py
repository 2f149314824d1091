"""The notebooks of `colab/`: they run, agree with their scripts, and hold no outputs.

They run in this environment, or in that of MT3X_NOTEBOOK_KERNEL_PYTHON, an interpreter
with Colab's own versions (docs/how_to/colab.md says how to make one).
"""

import os
import re
import shlex
import sys
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest
from toy_pianos import write_tone

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
SCRIPTS = sorted((ROOT / "colab").glob("*.py"))
NAMES = ["transcribe", "train", "t5x_cloud_tpu"]
CONSTRAINTS = ROOT / "tests" / "colab" / "colab-2026-08-19.txt"
PYTHON = os.environ.get("MT3X_NOTEBOOK_KERNEL_PYTHON", sys.executable)


class ThisPython(nbclient.NotebookClient):
    """Runs a notebook in a kernel of PYTHON, which need not be installed."""

    def create_kernel_manager(self):
        manager = super().create_kernel_manager()
        spec = manager.kernel_spec
        spec.argv = [PYTHON, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return manager


def run(name, folder, monkeypatch):
    """Run a notebook in a folder; return its cells and all that they printed."""
    monkeypatch.setenv("MT3X_NOTEBOOK_TEST", "1")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    # What one cell compiles, the next need not.
    monkeypatch.setenv("MT3X_CACHE", str(folder / ".cache"))
    monkeypatch.setenv("JAX_NUMPY_DTYPE_PROMOTION", "standard")
    notebook = nbformat.read(ROOT / "colab" / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": folder}}
    ThisPython(notebook, timeout=240, resources=resources).execute()
    outputs = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    text = "".join(output.get("text", "") for output in outputs)
    shown = {kind for output in outputs for kind in output.get("data", {})}
    return text, shown


def test_transcribe(tmp_path, monkeypatch):
    text, shown = run("transcribe", tmp_path, monkeypatch)
    assert {"text/html", "image/png"} <= shown
    assert "onset_s,offset_s,pitch" in text
    assert "1 file, 69 notes" in text
    assert (tmp_path / "example.mid").is_file()
    assert (tmp_path / "transcriptions.zip").is_file()
    assert "warning" not in text.lower()


def test_all_are_here():
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in SCRIPTS}
    assert {path.stem for path in NOTEBOOKS} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_pairs_agree_and_hold_no_outputs(name):
    """`jupytext --to ipynb --update colab/NAME.py` brings them together again."""
    notebook = nbformat.read(ROOT / "colab" / f"{name}.ipynb", as_version=4)
    script = jupytext.read(ROOT / "colab" / f"{name}.py")
    for cells in zip(script.cells, notebook.cells, strict=True):
        wanted, found = ((x.cell_type, x.source, x.metadata) for x in cells)
        assert found == wanted
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.parametrize("name", NAMES)
def test_installs_are_pinned_and_leave_colabs_packages_alone(name):
    text = (ROOT / "colab" / f"{name}.py").read_text(encoding="utf-8")
    assert "google.colab" not in text
    assert not re.search(r"\s-U\b|--upgrade|--force-reinstall", text)
    (source,) = re.findall(r'SOURCE = "(.*)"', text)
    assert re.fullmatch(r"mt3x\[[a-z,]+\] @ git\+https://\S+/mt3x@v0\.1\.0", source)
    for installed in re.findall(r"git\+https://[^\s\"']+", text):
        assert re.search(r"@(v[\d.]+|[0-9a-f]{40})$", installed), installed
    badge = f"/mt3x/blob/v0.1.0/colab/{name}.ipynb"
    assert badge in text


def test_colab_is_known_to_one_module():
    for folder in ("mt3x", "colab", "gin", "tasks"):
        for path in (ROOT / folder).rglob("*.py"):
            if path != ROOT / "mt3x" / "notebook.py":
                assert "google.colab" not in path.read_text(encoding="utf-8"), path


def test_the_versions_have_a_date():
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    assert CONSTRAINTS.stem.removeprefix("colab-") in lines[0]
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z_-]+==[\d.]+", pin) for pin in pins)


@pytest.mark.by_hand
def test_train(tmp_path, monkeypatch):
    piano = tmp_path / "piano.sfz"
    for key in (48, 72):
        write_tone(tmp_path / f"{key}.wav", key)
    piano.write_text(
        "<region> sample=48.wav lokey=0 hikey=60 pitch_keycenter=48\n"
        "<region> sample=72.wav lokey=61 hikey=127 pitch_keycenter=72\n"
    )
    monkeypatch.setenv("MT3X_NOTEBOOK_PIANO", str(piano))
    text, shown = run("train", tmp_path, monkeypatch)
    assert "runs/piano: steps at step 2" in text
    assert "runs/mine: steps at step 1" in text
    assert (tmp_path / "mine.safetensors").is_file()
    assert "text/html" in shown


@pytest.mark.by_hand
def test_t5x_cloud_tpu(tmp_path, monkeypatch):
    """T5X trains where it is installed; nothing reaches for the cloud."""
    text, _ = run("t5x_cloud_tpu", tmp_path, monkeypatch)
    trained = (tmp_path / "runs" / "tiny" / "checkpoint_2").is_dir()
    assert trained != ("T5X is not installed here" in text)
    commands = [line for line in text.splitlines() if line.startswith("$ gcloud")]
    order = ["create", "describe", "pip install", "t5x.train", "delete", "list"]
    found = [next(k for k, x in enumerate(commands) if word in x) for word in order]
    assert found == sorted(found)
    # What is printed is what a shell would be given.
    (launch,) = [line for line in commands if "t5x.train" in line]
    *_, given = shlex.split(launch.removeprefix("$ "))
    assert """--gin.MODEL_DIR="'gs://my-bucket/runs/mt3'" """ in given
    assert "MiB a device" in text
