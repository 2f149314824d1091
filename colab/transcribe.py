# ---
# jupyter:
#   colab:
#     provenance: []
#   jupytext:
#     notebook_metadata_filter: colab
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Transcribe a recording
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/mt3x/blob/v0.1.0/colab/transcribe.ipynb)
#
# A recording becomes notes: to see, to hear beside the recording, and as MIDI. Run the
# cells from top to bottom; a CPU is enough. The recording stays in this runtime.

# %% cellView="form"
# @title Install
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

SOURCE = "mt3x[plot] @ git+https://github.com/OWNER/mt3x@v0.1.0"
if find_spec("mt3x") is None:
    if find_spec("jax") and tuple(map(int, version("jax").split(".")[:2])) < (0, 5):
        raise RuntimeError("choose a newer runtime: Runtime > Change runtime type")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", SOURCE], check=True)

from mt3x import notebook

SHORT = "MT3X_NOTEBOOK_TEST" in os.environ  # tests run less
notebook.run("mt3x info")

# %% [markdown]
# ## A recording
#
# WAV, FLAC, OGG and MP3 are read. An address must be that of a sound file, not of a
# page that plays it.

# %% cellView="form"
# @title Recording
source = "example"  # @param ["example", "upload", "microphone", "address"]
address = ""  # @param {type: "string"}
seconds = 20  # @param {type: "slider", min: 5, max: 120, step: 5}

if source == "upload":
    recording = notebook.upload()[0]
elif source == "microphone":
    recording = notebook.record(seconds)
elif source == "address":
    recording = notebook.fetch(address, max_mb=100)
else:
    recording = notebook.example()
print(recording)

# %% [markdown]
# ## Notes
#
# `auto` listens first: solo piano goes to the piano model, anything else to the band
# model, which hears instruments and drums. A lower onset threshold finds more notes, a
# lower frame threshold makes them longer; untick the box to set them.

# %% cellView="form"
# @title Transcribe
model = "auto"  # @param ["auto", "piano", "band"] {allow-input: true}
usual_thresholds = True  # @param {type: "boolean"}
onset_threshold = 0.5  # @param {type: "slider", min: 0.05, max: 0.95, step: 0.05}
frame_threshold = 0.5  # @param {type: "slider", min: 0.05, max: 0.95, step: 0.05}

thresholds = {"onset_threshold": onset_threshold, "frame_threshold": frame_threshold}
options = {} if usual_thresholds else thresholds
notes = notebook.transcribe(recording, model, **options)
notebook.player(notes, recording)

# %% cellView="form"
# @title Picture
notes.plot()

# %% cellView="form"
# @title Table
table = notes.to_csv()
print(*table.splitlines()[:20], sep="\n")

# %% cellView="form"
# @title Save
as_midi = True  # @param {type: "boolean"}
as_csv = False  # @param {type: "boolean"}

if as_midi:
    notes.to_midi(f"{recording.stem}.mid", overwrite=True)
    notebook.download(f"{recording.stem}.mid")
if as_csv:
    notes.to_csv(f"{recording.stem}.csv", overwrite=True)
    notebook.download(f"{recording.stem}.csv")

# %% [markdown]
# ## Several recordings
#
# All of them in one go, as a zip file.

# %% cellView="form"
# @title Transcribe several files
import shlex
import shutil

pick_files = False  # @param {type: "boolean"}
formats = "midi,csv"  # @param ["midi", "midi,csv", "midi,csv,json,plot"]

files = notebook.upload() if pick_files else [recording]
named = shlex.join(str(file) for file in files)
shutil.rmtree("transcriptions", ignore_errors=True)
notebook.run(f"mt3x transcribe {named} --out-dir transcriptions --format {formats}")
notebook.download(shutil.make_archive("transcriptions", "zip", "transcriptions"))

# %% [markdown]
# ## MT3's published checkpoint
#
# The 48M parameters that MT3's authors trained, for all instruments. The checkpoint is
# fetched from their bucket and converted once, in a minute or two; it wants a GPU. Then
# type `mt3.safetensors` as the model above.

# %% cellView="form"
# @title Fetch MT3
fetch_mt3 = False  # @param {type: "boolean"}
which = "mt3"  # @param ["mt3", "ismir2021"]

if fetch_mt3 and not SHORT:
    notebook.run(f"mt3x import t5x gs://mt3/checkpoints/{which} {which}.safetensors")
