"""How Sphinx builds the documentation; ``make docs`` writes it to build/docs."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

gc.disable()  # it walks a large heap again and again, a fifth of the time of a build

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "_extensions")]  # this checkout's voltmem, whichever is installed

import voltmem  # noqa: E402

project = "voltmem"
author = "the authors of voltmem"
release = voltmem.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx_llm.txt", "reference"]
exclude_patterns = ["_extensions"]

html_theme = "furo"
html_title = f"voltmem {release}"
html_copy_source = False
html_show_copyright = False
html_show_search_summary = False  # it fetches pages, which a browser refuses from the file system
html_show_sphinx = False

myst_heading_anchors = 3  # the anchors that GitHub makes, so that a link works on both
myst_enable_extensions = ["deflist"]

autodoc_default_options = {"members": True}
autosummary_generate = False  # tables only, no page for each name
autodoc_member_order = "bysource"
autodoc_type_aliases = {
    "ModelMessage": "pydantic_ai.messages.ModelMessage",  # which is an annotated union
    "MemorySchema": "pydantic.BaseModel",  # the class itself
}
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100

# Warnings are errors, and a reference that leads nowhere is one, but for those to other projects.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!voltmem\b).*"),
    (
        "py:class",
        r"voltmem\..*\.(ConversationT|MessageT|T|_Engine)",
    ),  # type variables, a protocol that Agno's engine satisfies
    # What voltmem.chat.app() takes for an agent, each by one attribute.
    ("py:class", r"voltmem\.chat\._agents\._\w+"),
    # The signature of list_payloads() names it: every storage is one, and no public module exports it.
    ("py:class", r"voltmem\._areas\.messages\.Messages"),
]

# llms.txt, and each page in Markdown, the reference as well.
llms_txt_description = "An async conversation store and memory for Python agents, on PostgreSQL."
llms_txt_build_parallel = False  # the second build then uses what the first has read
llms_txt_nested_enabled = False
llms_txt_suffix_mode = "append"
