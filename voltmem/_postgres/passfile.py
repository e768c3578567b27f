"""
libpq's password file. The driver reads it, too, but a malformed line, which libpq skips, ends its connecting.

    hostname:port:database:username:password        "*" in a field matches all; a backslash escapes ":" and itself
"""

from __future__ import annotations

import getpass
import os
import re
import stat
from collections.abc import Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any, Final

from voltmem._postgres.driver import logger

_FIELD: Final = re.compile(r"((?:\\.|[^:\\])*\\?)(:|$)", re.DOTALL)


def password_for(arguments: Mapping[str, Any]) -> str | None:
    """
    Return the password of the file for these arguments of the driver; "" if it has none.

    None: the driver has another one, in the arguments or PGPASSWORD, or no login to look for.
    """
    if arguments.get("password") is not None or "PGPASSWORD" in os.environ:
        return None
    try:
        user = arguments.get("user") or os.environ.get("PGUSER") or getpass.getuser()
    except (KeyError, OSError):  # the driver says so
        return None
    database = arguments.get("database") or os.environ.get("PGDATABASE") or user
    for fields in _lines(_file(arguments.get("passfile"))):
        for host, port in _places(arguments):
            names = (host, "localhost") if host.startswith("/") else (host,)
            wanted = (names, (port,), (database,), (user,))
            if all(field == "*" or field in values for field, values in zip(fields, wanted, strict=False)):
                return fields[4]
    return ""


def _places(arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    hosts = str(arguments.get("host") or os.environ.get("PGHOST") or "localhost").split(",")
    ports = str(arguments.get("port") or os.environ.get("PGPORT") or 5432).split(",")
    return zip(hosts, cycle(ports), strict=False)


def _file(given: str | None) -> Path:
    if path := given or os.environ.get("PGPASSFILE"):
        return Path(path)
    if os.name == "nt":
        return Path(os.environ.get("APPDATA", ""), "postgresql", "pgpass.conf")
    return Path(os.path.expanduser("~"), ".pgpass")


def _lines(file: Path) -> Iterator[list[str]]:
    """Yield the fields of each line that has all five. As in libpq, a file that others may read is ignored."""
    try:
        if not file.is_file():
            return
        if os.name != "nt" and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            logger.warning("the password file %s is ignored: others may read it (chmod 600)", file)
            return
        content = file.read_bytes()
    except OSError:
        return
    for line in content.splitlines():
        try:
            text = line.decode()
        except UnicodeDecodeError:
            continue
        found = _FIELD.findall(text)
        if not text.startswith("#") and [end for _, end in found].count(":") >= 4:
            yield [re.sub(r"\\(.)", r"\1", field) for field, _ in found]
