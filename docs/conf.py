"""The documentation site: `sphinx-build -W docs site`."""

import re
import sys
from pathlib import Path

import numpy.typing
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.ext.autodoc import mock
from sphinx.util.typing import stringify_annotation

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from mt3x.cli.main import SUBCOMMANDS, group  # noqa: E402

ARRAY_LIKE = stringify_annotation(numpy.typing.ArrayLike, mode="smart")

project = "mt3x"
author = "the mt3x authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
html_theme = "furo"
html_title = "mt3x"
default_role = "code"
smartquotes = False
highlight_language = "none"
maximum_signature_line_length = 88

myst_heading_anchors = 3

# The tasks are documented without loading TensorFlow.
autodoc_mock_imports = ["apache_beam", "note_seq", "seqio", "tensorflow"]
with mock(autodoc_mock_imports):
    import seqio

    # Lets annotations such as `tf.Tensor | None` be read.
    _mocked = type(seqio.Task).__mro__[-2]
    _mocked.__or__ = _mocked.__ror__ = lambda self, other: self
autoclass_content = "both"  # the arguments are those of __init__
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True


class GinFiles(Directive):
    """A list of the gin files, each with the first sentence of its header."""

    def run(self) -> list[nodes.Node]:
        items = nodes.bullet_list()
        for file in sorted((ROOT / "gin").rglob("*.gin")):
            name = nodes.literal(text=str(file.relative_to(ROOT / "gin")))
            text = nodes.Text(f": {_first_sentence(file)}")
            items += nodes.list_item("", nodes.paragraph("", "", name, text))
        return [items]


def _first_sentence(file: Path) -> str:
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        lines.append(line[2:])
    sentence = re.split(r"(?<!et al)\. ", " ".join(lines))[0]
    return sentence.rstrip(".:") + "."


def help_to_rst(app, ctx, lines: list[str]) -> None:
    """Let help texts, which are plain text, mean the same as reStructuredText."""
    rst: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        if not line.startswith("| "):  # of a paragraph that click leaves as it is
            rst.append(_code(line.replace("*", r"\*")))
            continue
        if not before.startswith("| "):
            rst += [".. code-block:: none", ""]
        rst.append("   " + line[2:])
    lines[:] = rst


def option_to_rst(app, ctx, lines: list[str]) -> None:
    lines[:] = [_code(line) for line in lines]


def _code(line: str) -> str:
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line)


def shorten_signature(app, what, name, obj, options, signature, returns):
    """Write ArrayLike, a union of a dozen types, by its name; defaults as Python."""
    if signature:
        signature = signature.replace(ARRAY_LIKE, "ArrayLike")
        signature = signature.replace("<factory>", "...")
    return signature, returns


def setup(app) -> None:
    # Each module calls its command `command`; its name is that of the module.
    for name in SUBCOMMANDS:
        command = group.get_command(None, name)
        command.name = name
    app.connect("sphinx-click-process-description", help_to_rst)
    app.connect("sphinx-click-process-options", option_to_rst)
    app.connect("autodoc-process-signature", shorten_signature)
    app.add_directive("gin-files", GinFiles)
