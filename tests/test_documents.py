"""Documents name files, commands, options and settings that exist."""

import importlib
import re
from pathlib import Path

import click
import pytest

from mt3x import config
from mt3x.cli.main import group

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "tasks/README.md")),
    *sorted((ROOT / "mt3x" / "weights").glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
IDS = [str(file.relative_to(ROOT)) for file in DOCUMENTS]
FOLDERS = ("mt3x", "gin", "tasks", "tests", "bench", "docs", "colab")


def text_and_commands(file):
    """Split a document into text and lines of code, the continued ones joined."""
    text, code, fenced = [], [], False
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            code.append(line.strip())
        else:
            text.append(line)
    return "\n".join(text), "\n".join(code).replace("\\\n", " ").splitlines()


def test_readme_is_short_and_begins_with_the_two_commands():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    first_screen = lines[:60]
    assert "pip install . && mt3x transcribe tests/data/prelude.ogg --out-dir out" in (
        first_screen
    )
    assert any(
        line.startswith('pip install -e ".[dev]" && pytest') for line in first_screen
    )


@pytest.mark.parametrize("file", DOCUMENTS, ids=IDS)
def test_links_and_paths_exist(file):
    text, _ = text_and_commands(file)
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text)
    missing = [
        link
        for link in links
        if not link.startswith(("http:", "https:"))
        and not (file.parent / link).exists()
    ]
    for path in re.findall(r"`([\w./*-]+)`", text):
        folder, _, rest = path.partition("/")
        # Names in capitals stand for the reader's own.
        if folder in FOLDERS and rest and not re.search(r"NAME|\*", path):
            if not (ROOT / path).exists():
                missing.append(path)
    assert not missing


@pytest.mark.parametrize("file", DOCUMENTS, ids=IDS)
def test_commands_and_options_exist(file):
    for line in text_and_commands(file)[1]:
        for part in re.split(r"&&|\||;| #", line):
            match = re.match(r"(?:srun |\w+=\S+ )?mt3x (?=[a-z])(.*)", part.strip())
            if match:
                words = match[1].split()
                assert not unknown_words(words), f"{line}: {unknown_words(words)}"


def unknown_words(words):
    """Return the subcommand or the options that do not exist."""
    command, context = group, click.Context(group)
    words = list(words)
    while isinstance(command, click.Group):
        name = words.pop(0)
        command = command.get_command(context, name)
        if command is None:
            return [name]
    options = {"-h", "--help"}
    for parameter in command.params:
        options.update(parameter.opts, parameter.secondary_opts)
    given = [word.partition("=")[0] for word in words]
    return [
        word
        for word in given
        if re.match(r"--?[a-z]", word)
        and word not in options
        and not word.startswith("--gin.")
    ]


@pytest.mark.parametrize("file", DOCUMENTS, ids=IDS)
def test_gin_files_and_settings_exist(file):
    text = file.read_text(encoding="utf-8")
    files = re.findall(r"--gin_file=([\w./-]+)", text)
    assert not [
        name
        for name in files
        if not name.startswith(("runs/", "...")) and not (ROOT / "gin" / name).is_file()
    ]
    for name in re.findall(r"--gin\.([\w.]+)=", text):
        module, _, rest = name.partition(".")
        if not rest:
            known = name in config.MACROS or name in t5x_macros() or name == "NAME"
            assert known, f"{name} is not a macro"
        elif module in MODULES:
            kind, field = rest.split(".")
            found = getattr(importlib.import_module(MODULES[module]), kind)
            assert field in found.__dataclass_fields__, name
        else:
            # T5X's own, which is not installed here.
            assert "t5x" in file.name, f"{module} is not a module of {config.HEADER}"


def test_code_names_documents_that_exist():
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.*"):
            if file.suffix in (".py", ".gin", ".md"):
                text = file.read_text(encoding="utf-8")
                for name in re.findall(r"\bdocs/[\w/]+\.\w+", text):
                    assert (ROOT / name).exists(), f"{file}: {name}"


MODULES = {
    line.split()[-1]: f"{line.split()[1]}.{line.split()[-1]}"
    for line in config.HEADER.splitlines()
    if line.startswith("from mt3x")
} | {"task_evaluation": "mt3x.evaluation.task_evaluation"}


def t5x_macros():
    names = set()
    for file in (ROOT / "gin" / "t5x").glob("*.gin"):
        text = file.read_text(encoding="utf-8")
        names.update(re.findall(r"^([A-Z_]+) =", text, re.MULTILINE))
    return names
