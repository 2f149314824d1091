# ---
# jupyter:
#   accelerator: GPU
#   colab:
#     gpuType: T4
#     provenance: []
#   jupytext:
#     notebook_metadata_filter: accelerator,colab
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train a piano model, and fine-tune one
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/mt3x/blob/v0.1.0/colab/train.ipynb)
#
# First HPPNet-tiny from nothing: music is composed, played by a sampled piano and
# learned for some minutes. Then the package's own weights learn from your recordings
# and their MIDI files. CPU, GPU and TPU runtimes work alike: the training data is made
# by `mt3x corpus`, without TensorFlow, which TPU runtimes lack.

# %% cellView="form"
# @title Install
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

SOURCE = "mt3x[plot,train] @ git+https://github.com/OWNER/mt3x@v0.1.0"
if find_spec("mt3x") is None:
    if find_spec("jax") and tuple(map(int, version("jax").split(".")[:2])) < (0, 5):
        raise RuntimeError("choose a newer runtime: Runtime > Change runtime type")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", SOURCE], check=True)

from mt3x import notebook

SHORT = "MT3X_NOTEBOOK_TEST" in os.environ  # tests run less
notebook.run("mt3x info")

# %% [markdown]
# ## Where it is kept
#
# A runtime may end at any time. With the box ticked, everything lies in a folder of
# your Google Drive; after a disconnect run all cells again, and each resumes or finds
# its work done.

# %% cellView="form"
# @title Folder
from pathlib import Path

keep_in_drive = False  # @param {type: "boolean"}

if keep_in_drive:
    os.chdir(notebook.drive_folder("mt3x"))
print(Path.cwd())

# %% [markdown]
# ## A piano
#
# The recorded keys of a Kawai upright (33 MB, from GitHub, CC0: no rights reserved). A
# `.sfz`, `.sf2` or `.sf3` file of your own does as well; soundfonts need `fluidsynth`.

# %% cellView="form"
# @title Piano
import zipfile

own_piano = ""  # @param {type: "string"}

COMMIT = "570f6c60ed2eff67accad3b85d5b452e57a3ad28"
ARCHIVE = f"https://github.com/freepats/upright-piano-KW/archive/{COMMIT}.zip"
upright = Path(f"upright-piano-KW-{COMMIT}")
if own_piano or SHORT:
    piano = own_piano or os.environ["MT3X_NOTEBOOK_PIANO"]
else:
    if not upright.is_dir():
        zipfile.ZipFile(notebook.fetch(ARCHIVE)).extractall()
    print((upright / "README.md").read_text())
    (piano,) = upright.glob("*.sfz")

# %% [markdown]
# ## Music to learn, and a piece to be tested on
#
# The pieces of `valid` are composed by other numbers and are never trained on. Half an
# hour of music is rendered in less than a minute.

# %% cellView="form"
# @title Corpora
hours = 0.5  # @param {type: "slider", min: 0.1, max: 4, step: 0.1}

hours = 0.01 if SHORT else hours
for name, length, seed in (("train", hours, 1), ("valid", min(hours, 0.05), 2)):
    if not Path(name).is_dir():
        notebook.run(
            f"mt3x corpus random {name} --piano {piano} --hours {length} --seed {seed}"
        )
notebook.run("mt3x corpus info train valid")

# %% [markdown]
# ## Training
#
# An update takes about 0.4 s on two CPU cores: seven minutes for a thousand. Run the
# cell again, after a disconnect or with more steps, and it resumes at its newest
# checkpoint. Stop it whenever you like: it saves first.

# %% cellView="form"
# @title Train
import jax

steps = 1000  # @param {type: "slider", min: 200, max: 20000, step: 200}

on_cpu = jax.devices()[0].platform == "cpu"
# An accelerator takes larger batches in about the same time.
BATCH = f"--gin.batches.BatchConfig.batch_size={2 if on_cpu else 16}"
QUICK = """
    --gin.optimizers.OptimizerConfig.warmup_steps=0
    --gin.batches.BatchConfig.clip_samples=16000
    --gin.experiment.ValidationConfig.clip_s=2.0
    --gin.experiment.ValidationConfig.max_clips=1
"""


def train(run_dir, corpus, steps, *settings):
    """Train on a corpus until so many steps are done."""
    every = max(steps // 4, 2)
    notebook.run(f"""
        mt3x train --gin_file=experiments/piano_cpu.gin --run-dir {run_dir}
        --gin.TRAIN_STEPS={steps} {BATCH} {QUICK if SHORT else ""}
        --gin.experiment.DataConfig.corpora='["{corpus}"]'
        --gin.experiment.ValidationConfig.corpus='"valid"'
        --gin.train.TrainConfig.eval_interval={every}
        {" ".join(settings)}
    """)


train("runs/piano", "train", 2 if SHORT else steps)

# %% cellView="form"
# @title Curves
if not SHORT:
    from IPython import get_ipython

    for magic, line in (("load_ext", "tensorboard"), ("tensorboard", "--logdir runs")):
        get_ipython().run_line_magic(magic, line)
notebook.run("mt3x compare runs/piano")

# %% [markdown]
# ## A piece that it does not know
#
# What was played is known, so that the transcription can be scored. A thousand steps
# make a beginning; the weights of the package took some hours.

# %% cellView="form"
# @title Transcribe and score
import mt3x
from mt3x.data.corpus import Corpus
from mt3x.music.audio import write_audio

valid = Corpus("valid")
Path("pieces").mkdir(exist_ok=True)
end_s = 5 if SHORT else 60
rate_hz = valid.sample_rate_hz
write_audio(
    "pieces/piece.wav",
    valid.samples(0)[: end_s * rate_hz] / 32768,
    rate_hz,
    overwrite=True,
)
valid.notes(0).clip(0, end_s).to_midi("pieces/piece.mid", overwrite=True)


def score(checkpoint):
    """Transcribe the piece and print F1 of its notes, in percent."""
    notes = notebook.transcribe("pieces/piece.wav", checkpoint)
    scores = mt3x.note_scores(mt3x.read_notes("pieces/piece.mid"), notes)
    print(f"{checkpoint}: notes {100 * scores.note.f1:.1f}", end=", ")
    print(f"with offset {100 * scores.note_offset.f1:.1f}", end=", ")
    print(f"and velocity {100 * scores.note_offset_velocity.f1:.1f}")
    return notes


notes = score("runs/piano")
notebook.player(notes, "pieces/piece.wav")

# %% cellView="form"
# @title Save the weights
notebook.run("mt3x export runs/piano piano.safetensors --overwrite")
notebook.download("piano.safetensors")

# %% [markdown]
# ## Fine-tune on your own recordings
#
# Take recordings of your piano and MIDI files with the same names (`take1.wav`,
# `take1.mid`) that say what was played. A digital piano that records both is best: the
# times of the notes must fit to some hundredths of a second. Without files the
# piece above stands in: the steps are to be seen, and a score that is too good.

# %% cellView="form"
# @title Your pairs
upload_pairs = False  # @param {type: "boolean"}
pairs = "pieces"  # @param {type: "string"}

if upload_pairs:
    pairs = Path("my_pairs")
    pairs.mkdir(exist_ok=True)
    for path in notebook.upload():
        path.replace(pairs / path.name)
if not Path("pairs").is_dir():
    notebook.run(f"mt3x corpus pairs {pairs} pairs")
notebook.run("mt3x corpus info pairs")

# %% cellView="form"
# @title Fine-tune
from mt3x.models.weights_file import packaged

more_steps = 200  # @param {type: "slider", min: 150, max: 5000, step: 50}

train(
    "runs/mine",
    "pairs",
    1 if SHORT else more_steps,
    f"""--gin.INITIAL_CHECKPOINT_PATH="'{packaged("piano")}'" """,
    "--gin.optimizers.OptimizerConfig.learning_rate=3e-4",
)

# %% cellView="form"
# @title Before and after
score("piano")
notes = score("runs/mine")
notebook.player(notes, "pieces/piece.wav")

# %% cellView="form"
# @title Save your weights
notebook.run("mt3x export runs/mine mine.safetensors --overwrite")
notebook.download("mine.safetensors")
