"""Check the arguments of a page's ``pip install`` without installing: extras of the checkout, installed packages."""

import sys
import tomllib
from importlib.metadata import version

from packaging.requirements import Requirement

from tests.checkout import ROOT


def check(command: str, *arguments: str) -> None:
    """Check the command. Raises an error that names the command, the extra or the package that does not exist."""
    if command != "install":
        raise SystemExit(f"pip {command}: pages install, and nothing else")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for argument in arguments:
        if argument.startswith("-"):
            continue
        wanted = Requirement(argument if not argument.startswith(".") else project["name"] + argument[1:])
        if wanted.name != project["name"]:
            version(wanted.name)  # PackageNotFoundError names it
        elif unknown := wanted.extras - project["optional-dependencies"].keys():
            raise SystemExit(f"pip install {argument}: pyproject.toml has no extra {', '.join(sorted(unknown))}")


if __name__ == "__main__":
    check(*sys.argv[1:])
