"""Runs the page's modules in Node, and what `mt3x web` writes in a browser."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from file_server import served
from programs import find_program

import mt3x.page
from mt3x.cli import web

PAGE = Path(mt3x.page.__file__).parent
PRELUDE = """
import { readFileSync } from "node:fs";
const floats = (name) =>
  new Float32Array(Uint8Array.from(readFileSync(`${name}.f32`)).buffer);
const values = JSON.parse(readFileSync("values.json", "utf-8"));
"""


@pytest.fixture(scope="session")
def modules(tmp_path_factory) -> Path:
    """Return a folder with the engine's modules, as Node takes them."""
    find_program("Node")
    folder = tmp_path_factory.mktemp("page")
    (folder / "package.json").write_text('{"type": "module"}')
    for name in ("engines", "vendor"):
        (folder / name).mkdir()
        for path in (PAGE / name).glob("*.js"):
            shutil.copy(path, folder / name)
    return folder


@pytest.fixture
def run_node(modules, tmp_path) -> Callable[..., Any]:
    """Return a function that runs a script and returns the JSON that it prints.

    Arrays are floats("name") in the script, other inputs values.name; modules lie in
    ./engines.
    """

    def run(script: str, **inputs: Any) -> Any:
        values = {}
        for name, value in inputs.items():
            if isinstance(value, np.ndarray):
                (tmp_path / f"{name}.f32").write_bytes(value.astype("<f4").tobytes())
            else:
                values[name] = value
        (tmp_path / "values.json").write_text(json.dumps(values))
        for name in os.listdir(modules):
            if not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(modules / name)
        (tmp_path / "script.js").write_text(PRELUDE + script)
        done = subprocess.run(
            ["node", "script.js"], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The address of what `mt3x web` writes, on a plain file server."""
    folder = tmp_path_factory.mktemp("web") / "site"
    result = CliRunner().invoke(web.command, [str(folder)])
    assert result.exit_code == 0, result.output
    with served(folder) as address:
        yield address


@pytest.fixture
def site_page(browser, site):
    """The page of the site; it may not complain, and ask nobody but the site."""
    faults = []
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: said.type == "error" and faults.append(said.text))
    page.on(
        "request",
        lambda asked: asked.url.startswith((site, "blob:")) or faults.append(asked.url),
    )
    page.goto(site)
    page.wait_for_selector("h1")
    yield page
    context.close()
    assert faults == []
