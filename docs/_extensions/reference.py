"""
The parts of the reference that are generated from the code.

``{verbs} sidebar forks`` documents the methods of PostgresStorage that modules or folders of these names define;
``{summary} sidebar forks`` lists them with their first lines.
``{voltagent-names}`` lists VoltAgent's names with ours.

At the end of a build, a warning names each public object that is documented nowhere. Types are referred to by the name
of their public import, wherever they are defined. Left out are the constructors of objects that only voltmem creates,
VoltAgent's names of the methods (they have a table of their own), and the methods that make models of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import getattr_static, unwrap
from inspect import signature as signature_of
from typing import Any, get_type_hints

from docutils.nodes import Element, Node, TextElement, abbreviation, document
from pydantic import BaseModel
from pydantic.alias_generators import to_snake
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.ext.napoleon.docstring import GoogleDocstring
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.inspect import stringify_signature
from sphinx.util.typing import ExtensionMetadata

import voltmem.web  # here: autodoc would import it with TYPE_CHECKING set, and pydantic refuses FastAPI's models then
from tests.public_api import INTERNAL

logger = logging.getLogger(__name__)


def public_names(owner: type) -> Iterator[str]:
    """Yield the public names of a class, in the order of their definitions, the bases' first."""
    yield from dict.fromkeys(
        name for base in reversed(owner.__mro__[:-1]) for name in vars(base) if not name.startswith("_")
    )


def is_voltagents(name: str) -> bool:
    """Whether a name is spelled as VoltAgent spells it."""
    return name != to_snake(name)


class Verbs(SphinxDirective):
    """The methods of PostgresStorage about a subject, with their docstrings."""

    required_arguments = 1
    final_argument_whitespace = True
    head = ""
    each = ".. automethod:: voltmem.PostgresStorage.{}"

    def run(self) -> list[Node]:
        """Return their descriptions."""
        storage = voltmem.PostgresStorage
        descriptions: list[str] = []
        for module in self.arguments[0].split():
            names = [name for name in public_names(storage) if module in _place(getattr_static(storage, name))]
            if not names:
                raise self.error(f"{module}: no module of this name defines a method of PostgresStorage")
            descriptions += [self.each.format(name) for name in names if not is_voltagents(name)]
        return self.parse_text_to_nodes("\n".join(["```{eval-rst}", self.head, *descriptions, "```"]))


class Summary(Verbs):
    """A table of these methods, with the first line of each docstring."""

    head = ".. autosummary::\n   :signatures: none\n"
    each = "   ~voltmem.PostgresStorage.{}"


class VoltAgentNames(SphinxDirective):
    """A table of VoltAgent's names, each with the Python method that it is an alias of."""

    def run(self) -> list[Node]:
        """Return a table."""
        names = sorted(filter(is_voltagents, public_names(voltmem.PostgresStorage)))
        rows = (f"| `{name}` | {{py:meth}}`~voltmem.PostgresStorage.{to_snake(name)}` |" for name in names)
        return self.parse_text_to_nodes("\n".join(["| VoltAgent | Python |", "|---|---|", *rows]))


def _place(method: object) -> list[str]:
    """Return the steps of the path to the module that defines a method."""
    return [step.lstrip("_") for step in getattr(unwrap(method), "__module__", "").split(".")]  # type: ignore[arg-type]


def read_sections(app: Sphinx, what: Any, name: str, member: object, options: Any, lines: list[str]) -> None:
    """
    Parse Args and Raises in docstrings like napoleon.

    Napoleon itself would also parse the text before a colon, in the docstring of an attribute, as its type.
    """
    if what not in ("attribute", "data", "property"):
        lines[:] = GoogleDocstring(lines, what=what, name=name, obj=member).lines()


def leave_out(app: Sphinx, what: str, name: str, member: object, skip: bool, options: Any) -> bool | None:
    """Leave out what the reference says elsewhere, or what is internal."""
    last = name.rpartition(".")[2]
    return True if last in INTERNAL or (is_voltagents(last) and not isinstance(member, type)) else None


def as_people_write_it(
    app: Sphinx, what: str, name: str, member: object, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show no constructor of what only voltmem makes (an error, a view, a handle), and defaults by their names."""
    is_made_by_users = isinstance(member, type) and (
        issubclass(member, voltmem.PostgresStorage | BaseModel) or name.startswith("voltmem.adapters.")
    )
    if signature and what in ("class", "exception") and not is_made_by_users:
        return "", None
    if isinstance(member, type) and issubclass(member, BaseModel):
        signature = _signature_of_model(member)
    return signature and signature.replace(repr(voltmem.UNSET), "UNSET").replace("Ellipsis", "..."), returns


def _signature_of_model(model: type[BaseModel]) -> str:
    """Return the signature of a model's constructor, each field with its type, without the checks of its value."""
    signature = signature_of(model)
    fields = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    types = get_type_hints(type("", (), {"__annotations__": fields}))
    parameters = [each.replace(annotation=types[name]) for name, each in signature.parameters.items()]
    return stringify_signature(signature.replace(parameters=parameters), unqualified_typehints=True)


def resolve_by_public_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement
) -> Element | None:
    """Return the link to a type that an annotation names by where it is defined: ``voltmem._user.UserStorage``."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target.startswith("voltmem."):
        return None
    python = env.domains.python_domain
    public = f"voltmem.{target.rpartition('.')[2]}"
    return python.resolve_xref(env, node["refdoc"], app.builder, "obj", public, node, content)


def warn_of_what_is_missing(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn of each public name that the reference does not have."""
    documented = env.domains.python_domain.objects
    wanted = {f"voltmem.{name}" for name in voltmem.__all__}
    for owner in (voltmem.PostgresStorage, voltmem.UserStorage):
        wanted |= {f"voltmem.{owner.__name__}.{name}" for name in public_names(owner) if not is_voltagents(name)}
    for name in sorted(wanted - documented.keys()):
        logger.warning("%s is public, and no page of the reference documents it", name)


def spell_out_separators(app: Sphinx, tree: document, name: str) -> None:
    """Let the pages in Markdown keep the * and / of signatures, which HTML explains in tooltips."""
    if app.builder.format != "html":
        for separator in list(tree.findall(abbreviation)):
            separator.replace_self(separator.children)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Let Sphinx know."""
    app.add_directive("verbs", Verbs)
    app.add_directive("summary", Summary)
    app.add_directive("voltagent-names", VoltAgentNames)
    app.connect("autodoc-process-docstring", read_sections)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-signature", as_people_write_it)
    app.connect("missing-reference", resolve_by_public_name)
    app.connect("doctree-resolved", spell_out_separators)
    app.connect("env-check-consistency", warn_of_what_is_missing)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
