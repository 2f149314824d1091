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
# # MT3 under T5X, here and on Cloud TPU
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/mt3x/blob/v0.1.0/colab/t5x_cloud_tpu.ipynb)
#
# First the gin files train a tiny MT3 under the real `t5x.train` in this runtime. Then
# the same is launched on Cloud TPU: every command is printed, and run only once you
# tick the box. Take a CPU or GPU runtime: TPU runtimes have no TensorFlow, by which T5X
# reads data.

# %% cellView="form"
# @title Install
import os
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

SOURCE = "mt3x[train,data] @ git+https://github.com/OWNER/mt3x@v0.1.0"
# T5X is not on PyPI: its source and that of two libraries, and what they import.
T5X = """
    git+https://github.com/google-research/t5x@cc342d419ec3e3e9c4bf1df33c82330cafdc1e16
    git+https://github.com/google/airio@69897df7d9a427b947a9f7bb4164c7782b43e601
    git+https://github.com/google-research/jestimator@326824a477feef6d92e6f44175000907a72899ca
"""
T5X_IMPORTS = "cached_property chex clu fiddle grain jaxtyping libcst portpicker"

SHORT = "MT3X_NOTEBOOK_TEST" in os.environ  # tests run less
pip = [sys.executable, "-m", "pip", "install", "-q"]
if find_spec("mt3x") is None:
    if find_spec("jax") and tuple(map(int, version("jax").split(".")[:2])) < (0, 5):
        raise RuntimeError("choose a newer runtime: Runtime > Change runtime type")
    # Newer ones need another protobuf than Colab has.
    subprocess.run([*pip, SOURCE, "tensorflow-metadata<1.18"], check=True)
if find_spec("t5x") is None and not SHORT:
    subprocess.run([*pip, *T5X_IMPORTS.split()], check=True)
    subprocess.run([*pip, "--no-deps", *T5X.split()], check=True)

from mt3x import notebook

notebook.run("mt3x info")
has_t5x = find_spec("t5x") is not None
if not has_t5x:
    print("T5X is not installed here: its commands are only printed.")

# %% [markdown]
# ## Records
#
# One recording stands in for a data set, laid out as MAPS is, with the notes that the
# package's piano model finds. `mt3x prepare` makes the records that T5X reads.

# %% cellView="form"
# @title Prepare
import shutil
from pathlib import Path

recording = notebook.example()
notes = notebook.transcribe(recording, "piano")
for piano in ("AkPnBcht", "ENSTDkCl"):
    folder = Path("raw", piano, "MUS")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(recording, folder / f"MAPS_MUS-example_{piano}.ogg")
    notes.to_midi(folder / f"MAPS_MUS-example_{piano}.mid", overwrite=True)
if not Path("records").is_dir():
    notebook.run("mt3x prepare maps --raw raw --out records")
os.environ["MT3X_DATA_DIR"] = str(Path("records").resolve())

# %% [markdown]
# ## A tiny model under T5X
#
# `t5x/pretrain.gin` is MT3's training, `tasks/maps_ties.gin` names the records, and the
# file below makes the model tiny. Run the cell again and it resumes.

# %% cellView="form"
# @title Train with T5X
from mt3x import config

steps = 100  # @param {type: "slider", min: 20, max: 2000, step: 20}

Path("tiny.gin").write_text(
    """
from __gin__ import dynamic_registration

from mt3x.models import features
from mt3x.models import objectives
from mt3x.models import seq2seq

seq2seq.Seq2SeqConfig.emb_dim = 64
seq2seq.Seq2SeqConfig.num_heads = 4
seq2seq.Seq2SeqConfig.head_dim = 16
seq2seq.Seq2SeqConfig.num_encoder_layers = 1
seq2seq.Seq2SeqConfig.num_decoder_layers = 1
seq2seq.Seq2SeqConfig.mlp_dim = 128
seq2seq.Seq2SeqConfig.input_depth = 96
objectives.TokensConfig.features = @features.LogMelConfig()
features.LogMelConfig.num_bins = 96
features.LogMelConfig.fft_samples = 1024
"""
)
steps = 2 if SHORT else steps
run_dir = Path("runs/tiny").resolve()
notebook.run(
    f"""
    python -m t5x.train --gin_search_paths={config.gin_dir()},{Path.cwd()}
    --gin_file=t5x/pretrain.gin --gin_file=tasks/maps_ties.gin --gin_file=tiny.gin
    --gin.MODEL_DIR="'{run_dir}'" --gin.TRAIN_STEPS={steps} --gin.BATCH_SIZE=4
    --gin.TASK_FEATURE_LENGTHS="{{'inputs': 64, 'targets': 64}}"
    --gin.CHECKPOINT_PERIOD={steps} --gin.EVAL_PERIOD={steps} --gin.EVAL_STEPS=1
    """,
    dry_run=not has_t5x,
)

# %% cellView="form"
# @title Transcribe with it
# So few steps on one recording find few notes, or none.
if has_t5x:
    notebook.run("mt3x import t5x runs/tiny tiny.safetensors --overwrite")
    notes = notebook.transcribe(recording, "tiny.safetensors")
    print(notes)

# %% [markdown]
# ## Cloud TPU
#
# **A TPU costs money from the moment it is ready until it is deleted**, whether it
# works or not: the last cell deletes it. A project with billing, the TPU API and a
# quota is needed ([prices](https://cloud.google.com/tpu/pricing)).
#
# `run_commands` is off: the cells then print what they would do, to be read, or copied
# into a shell.

# %% cellView="form"
# @title Settings
run_commands = False  # @param {type: "boolean"}
project = "my-project"  # @param {type: "string"}
zone = "us-east5-b"  # @param {type: "string"}
accelerator = "v6e-8"  # @param ["v6e-8", "v6e-32", "v5litepod-8", "v4-8", "v3-8"]
spot = True  # @param {type: "boolean"}
name = "mt3"  # @param {type: "string"}
bucket = "my-bucket"  # @param {type: "string"}
train_steps = 400000  # @param {type: "integer"}

SOFTWARE = {"v6e": "v2-alpha-tpuv6e", "v5litepod": "v2-alpha-tpuv5-lite"}
software = SOFTWARE.get(accelerator.partition("-")[0], "tpu-ubuntu2204-base")
dry_run = SHORT or not run_commands
if not dry_run:
    notebook.sign_in()
notebook.run(f"gcloud config set project {project}", dry_run)

# %% [markdown]
# ## Does it fit?
#
# `mt3x plan` compiles a step of MT3 for the slice, without the slice, and prints what a
# device must hold. It takes libtpu, which TPU runtimes have; elsewhere CPU devices
# stand in, whose memory is told, but not their time.

# %% cellView="form"
# @title Plan
batch_size = 256  # @param {type: "integer"}

chips = accelerator.replace("v5litepod", "v5e")
where = f"--topology {chips}" if find_spec("libtpu") else "--devices 8"
model = "--gin_file=models/mt3_small.gin"
if SHORT:
    where, batch_size = "--devices 2", 4
    model += " --gin_file=tiny.gin"
notebook.run(f"mt3x plan {model} --batch-size {batch_size} {where}")

# %% [markdown]
# ## Records to the bucket
#
# The bucket should lie in the TPU's region. For a real training prepare Slakh2100 or
# another data set first (`mt3x prepare slakh --raw ... --out records`).

# %% cellView="form"
# @title Bucket
region = zone.rpartition("-")[0]
notebook.run(
    f"gcloud storage buckets create gs://{bucket} --location={region}", dry_run
)
notebook.run(f"gcloud storage cp -r records gs://{bucket}", dry_run)

# %% cellView="form"
# @title Create the TPU
cheaper = " --spot" if spot else ""
notebook.run(
    f"""
    gcloud compute tpus queued-resources create {name} --node-id={name} --zone={zone}
    --accelerator-type={accelerator} --runtime-version={software}{cheaper}
    """,
    dry_run,
)

# %% cellView="form"
# @title Is it ready? (ACTIVE)
notebook.run(
    f"""
    gcloud compute tpus queued-resources describe {name} --zone={zone}
    --format="value(state.state)"
    """,
    dry_run,
)

# %% cellView="form"
# @title Install on all of its hosts
import shlex


def on_all_hosts(command):
    """Run a shell's command on every host of the TPU."""
    notebook.run(
        f"gcloud compute tpus tpu-vm ssh {name} --zone={zone} --worker=all "
        f"--command={shlex.quote(command)}",
        dry_run,
    )


on_all_hosts(f'pip install -q "{SOURCE}" "jax[tpu]" {T5X_IMPORTS}')
on_all_hosts(f"pip install -q --no-deps {' '.join(T5X.split())}")

# %% cellView="form"
# @title Launch
task = "maps_ties"  # @param ["maps_ties", "slakh", "mega"]

on_all_hosts(
    f"export MT3X_DATA_DIR=gs://{bucket}/records; "
    'GIN=$(python3 -c "from mt3x import config; print(config.gin_dir())"); '
    "nohup python3 -m t5x.train --gin_search_paths=$GIN "
    f"--gin_file=t5x/pretrain.gin --gin_file=tasks/{task}.gin "
    f"--gin.MODEL_DIR=\"'gs://{bucket}/runs/mt3'\" "
    f"--gin.TRAIN_STEPS={train_steps} --gin.BATCH_SIZE={batch_size} "
    "> train.log 2>&1 < /dev/null &"
)

# %% [markdown]
# The hosts find each other. A spot TPU that was taken away is created again by the
# cells above, and the launch resumes at the newest checkpoint of the bucket.

# %% cellView="form"
# @title Follow it
on_all_hosts("tail -n 3 train.log")
if not dry_run:
    from IPython import get_ipython

    get_ipython().run_line_magic("load_ext", "tensorboard")
    get_ipython().run_line_magic("tensorboard", f"--logdir gs://{bucket}/runs")

# %% cellView="form"
# @title Fetch the weights
notebook.run(f"mt3x import t5x gs://{bucket}/runs/mt3 mt3.safetensors", dry_run)
if not dry_run:
    notebook.download("mt3.safetensors")

# %% cellView="form"
# @title Delete the TPU, and see that nothing is left
notebook.run(
    f"gcloud compute tpus queued-resources delete {name} --zone={zone} --force --quiet",
    dry_run,
)
notebook.run(f"gcloud compute tpus queued-resources list --zone={zone}", dry_run)
notebook.run(f"gcloud compute tpus tpu-vm list --zone={zone}", dry_run)
