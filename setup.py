"""Package definition; tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

CORE = [
    "click>=8.1",
    "dacite>=1.9",
    "filelock>=3.12",
    "flax>=0.10",
    "jax>=0.5",
    "mido>=1.3",
    "mir_eval>=0.8",
    "numpy>=1.26",
    "platformdirs>=4",
    "rich>=13",
    "safetensors>=0.4",
    "scipy>=1.11",
    "soundfile>=0.12",
    "soxr>=0.5",
]
EXTRAS = {
    "av": ["av>=12"],
    "data": [
        "apache-beam>=2.60",
        # pydub, which note-seq imports, uses what Python 3.13 no longer has.
        "audioop-lts; python_version >= '3.13'",
        "google-crc32c>=1.5",  # without it SeqIO cannot cache tasks
        "note-seq==0.0.5",
        "pyloudnorm>=0.2",
        "pyyaml>=6",
        # Newer ones need a protobuf that tensorflow refuses.
        "sentencepiece<0.2.2",
        "seqio==0.0.20",
        "tensorflow>=2.17",
        "tensorflow-datasets>=4.9",
    ],
    "evaluate": ["scikit-learn>=1.4"],  # judges of moods
    "live": ["python-rtmidi>=1.5", "sounddevice>=0.5"],
    "onnx": ["onnx>=1.16"],
    "plot": ["matplotlib>=3.8"],
    "serve": ["starlette>=1.10", "uvicorn>=0.54", "websockets>=14"],
    "score": [
        "partitura>=1.9",
        "reportlab>=4.2",
        "verovio>=5",
    ],
    "train": [
        "gin-config>=0.5",
        "matplotlib>=3.8",
        "optax>=0.2.3",
        "orbax-checkpoint>=0.11",
        "tensorboardX>=2.6",
    ],
    "watch": ["watchfiles>=1"],
}
EXTRAS["docs"] = [
    *EXTRAS["train"],  # imported for its docstrings
    "furo>=2025.9",
    "myst-parser>=4",
    "sphinx>=8.1",
    "sphinx-click>=6",
]
EXTRAS["dev"] = [
    *EXTRAS["train"],
    *EXTRAS["av"],
    *EXTRAS["score"],
    *EXTRAS["data"],
    *EXTRAS["watch"],
    *EXTRAS["onnx"],
    *EXTRAS["serve"],
    *EXTRAS["evaluate"],
    "axe-playwright-python>=0.1.8",  # axe-core, which audits the page
    "httpx2>=2.16",  # for Starlette's test client
    "hypothesis>=6.100",
    "import-linter>=2.17",
    "ipykernel>=6.17",
    "jupytext>=1.16",
    "midirenderer>=0.1.3",  # plays the soundfonts of tests without fluidsynth
    "muspy>=0.5",  # statistics of music, in tests
    "music21>=9",  # reads the scores of tests
    "nbclient>=0.10",
    "nbformat>=5.10",
    "onnxruntime>=1.18",  # runs exported models
    "playwright>=1.50",
    "pre-commit>=4",
    "psutil>=5.9",
    "pyright[nodejs]>=1.1.390",
    "pytest-xdist>=3.5",
    "pytest>=8",
    "ruff>=0.8",
]

setup(
    name="mt3x",
    version="0.1.0",
    description="Music transcription on JAX: audio in, notes and MIDI out",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["mt3x", "mt3x.*"]), "mt3x.gin", "mt3x.tasks"],
    package_dir={"mt3x.gin": "gin", "mt3x.tasks": "tasks"},
    package_data={
        "mt3x": ["weights/*", "*.js", "py.typed"],
        "mt3x.music": ["*.html"],
        "mt3x.page": [
            *("*.css", "*.html", "*.js", "*.ogg", "*.svg"),
            *("engines/*", "sounds/*", "vendor/*"),
        ],
        "mt3x.gin": ["*.gin", "**/*.gin"],
        "mt3x.tasks": ["*.json", "*.md"],
    },
    install_requires=CORE,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["mt3x = mt3x.cli.main:main"]},
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "License :: OSI Approved :: Apache Software License",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
    ],
)
