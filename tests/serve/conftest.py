"""A server in this process with a small model, and what talks to it."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
from api_client import Client, Gate
from tiny_models import (
    SMALL,
    SMALL_BAND,
    SMALL_PEDAL,
    SMALL_TOKENS,
    save_small_weights,
)

from mt3x import page
from mt3x.music.piano_postprocessing import PianoPostprocessing
from mt3x.serve.app import make_app
from mt3x.serve.config import ServerConfig
from mt3x.serve.models import Models


@pytest.fixture(scope="session")
def models_of(tmp_path_factory):
    """The models of small random weights, by their kind."""
    folder, found = tmp_path_factory.mktemp("weights"), {}

    def load(kind):
        configs = {"piano": SMALL, "band": SMALL_BAND, "tokens": SMALL_TOKENS}
        aligned = replace(SMALL.decoding, postprocessing=PianoPostprocessing())
        configs["pedal piano"] = SMALL_PEDAL
        configs["aligned piano"] = replace(SMALL, decoding=aligned)
        if kind not in found:
            path = save_small_weights(folder / f"{kind}.safetensors", configs[kind])
            found[kind] = Models(checkpoint=path)
        return found[kind]

    return load


@pytest.fixture(scope="session")
def served(models_of, tmp_path_factory):
    """Starts servers: of models, or a kind of them, and options of ServerConfig."""

    @contextmanager
    def start(models="piano", files=None, **options):
        models = models_of(models) if isinstance(models, str) else models
        folder = tmp_path_factory.mktemp("server")
        files = page.files() if files is None else files
        app, _ = make_app(models, ServerConfig(**options), folder, files)
        with Client(app, folder) as client:
            yield client

    return start


@pytest.fixture
def client(served):
    with served() as client:
        yield client


@pytest.fixture(scope="module")
def kept(served):
    """A server that lives on, and the id of a job that has ended well."""
    with served() as client:
        yield client, client.done()[0]


@pytest.fixture
def gate(models_of):
    gate = Gate(models_of("piano"))
    yield gate
    gate.opened.set()
