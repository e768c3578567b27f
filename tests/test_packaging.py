"""The wheel and the sdist contain everything that a storage needs."""

import asyncio
import os
import re
import sys
import tarfile
import tomllib
import zipfile
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.checkout import ROOT
from tests.matrix import PYTHONS
from voltmem._postgres.migrations.files import migrations

PROGRAM = """
import asyncio, sys
import voltmem
from voltmem import PostgresStorage

async def main():
    assert "site-packages" in voltmem.__file__, voltmem.__file__
    async with PostgresStorage(sys.argv[1], schema=sys.argv[2]) as storage:
        await storage.create_conversation({"id": "c1", "user_id": "ada"})
        await storage.add_message({"role": "user", "content": "from the wheel"}, "ada", "c1")
        print((await storage.get_messages("ada", "c1"))[0].content)

asyncio.run(main())
"""


async def command(*arguments: str | Path, **environment: str) -> str:
    program = await asyncio.create_subprocess_exec(
        *arguments,
        cwd="/",
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, problems = await program.communicate()
    assert program.returncode == 0, printed.decode() + problems.decode()
    return printed.decode()


async def build(kind: str, folder: Path) -> Path:
    # The build's own tools are in this environment, so that nothing is downloaded.
    await command(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", folder, ROOT)
    (built,) = folder.iterdir()
    return built


async def test_the_wheel_opens_a_storage_in_a_fresh_environment(tmp_path: Path, dsn: str, schema: str) -> None:
    """The wheel, installed alone in a fresh environment, opens a storage with its migrations."""
    wheel = await build("wheel", tmp_path / "wheel")
    environment = tmp_path / "environment"
    await command(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    await command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)

    printed = await command(python, "-W", "error", program, dsn, schema, PYTHONPATH="")

    assert printed == "from the wheel\n"


async def test_the_wheel_holds_the_package_and_its_migrations(tmp_path: Path) -> None:
    """The wheel has the type marker, the licence and every migration, functions included, in the package's folder."""
    wheel = await build("wheel", tmp_path)

    names = set(zipfile.ZipFile(wheel).namelist())

    assert wheel.name.startswith("voltmem_postgres-")
    assert "voltmem/py.typed" in names
    assert {f"voltmem/migrations_sql/{each.name}.sql" for each in migrations()} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


async def test_the_wheel_holds_the_page_and_its_libraries(tmp_path: Path) -> None:
    """The wheel has every file of the chat's page, its languages, and the licences of its libraries among its own."""
    wheel = await build("wheel", tmp_path)

    names = set(zipfile.ZipFile(wheel).namelist())

    page = ROOT / "voltmem" / "chat" / "static"
    languages = sorted((page.parent / "languages").iterdir())
    assert len(languages) == 5
    files = [*page.rglob("*"), *languages]
    assert {each.relative_to(ROOT).as_posix() for each in files if each.is_file()} <= names
    licences = {each.relative_to(ROOT).as_posix() for each in page.rglob("LICENSE")}
    assert len(licences) == 9
    assert licences <= {name.partition("/licenses/")[2] for name in names}


async def test_the_sdist_holds_what_the_wheel_is_made_of(tmp_path: Path) -> None:
    """The sdist has the package, the migrations, the rendered schema, tests and examples."""
    sdist = await build("sdist", tmp_path)

    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {f"migrations_sql/{each.name}.sql" for each in migrations()} <= names
    assert {"migrations_sql/schema.sql", "voltmem/storage.py", "examples/hello.py", "tests/conftest.py"} <= names
    assert {"LICENSE", "README.md"} <= names


def test_the_classifiers_name_pythons_that_the_matrix_tests() -> None:
    """The classifiers name each Python from the oldest that is supported, and the test matrix has all of them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    language = "Programming Language :: Python :: "
    named = [each.removeprefix(language) for each in project["classifiers"] if each.startswith(f"{language}3.")]

    assert project["requires-python"] == f">={named[0]}"
    assert [f"python{each}" for each in named] == PYTHONS[: len(named)]


def test_the_lock_pins_what_the_project_asks_for() -> None:
    """Every development dependency is locked to a release that pyproject.toml allows, without an address."""
    lock = (ROOT / ".requirements" / "dev.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", lock, re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    apart = {"docker", "pydantic-ai-harness"}  # tests need no Docker, and the harness needs another Pydantic AI
    extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name not in apart}
    wanted = [Requirement(each) for each in chain(project["dependencies"], *extras.values())]

    others = [each for each in wanted if each.name != project["name"]]  # an extra may require another extra of voltmem

    assert [str(each) for each in others if each.name not in pinned or pinned[each.name] not in each.specifier] == []
    assert "://" not in lock


@pytest.mark.parametrize("text", ["pip install voltmem\n", "pip install voltmem ", "pip install voltmem`"])
def test_no_text_names_another_projects_package(text: str) -> None:
    """No text tells users to install "voltmem" from the public index, where it is another project's name."""
    ours = [*ROOT.glob("*.md"), *ROOT.glob("voltmem/**/*.py"), *ROOT.glob("examples/*.py")]

    assert [path.name for path in ours if text in path.read_text()] == []
