"""voltmem.sync in web applications under gunicorn: Flask and Django, with threads, and with forked workers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.checkout import ROOT
from voltmem.sync import PostgresStorage

REQUESTS = 60

STORAGE = """
import os
from voltmem.sync import PostgresStorage

storage = PostgresStorage(os.environ["DATABASE_URL"], schema=os.environ["SCHEMA"])
storage.open()  # with --preload in the parent of all workers
opened_by = os.getpid()
"""

FLASK = (
    STORAGE
    + """
from flask import Flask, jsonify, request

app = Flask(__name__)

@app.post("/<user>/<conversation>")
def add(user, conversation):
    memory = storage.conversation(user, conversation)
    message = memory.add({"role": "user", "content": request.get_json()["text"]})
    return jsonify(id=message.id, worker=os.getpid(), opened_by=opened_by)

@app.get("/<user>")
def export(user):
    return app.response_class(storage.for_user(user).export_user(), mimetype="application/jsonl")
"""
)

DJANGO = (
    STORAGE
    + """
import json
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse, StreamingHttpResponse
from django.urls import path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)

def add(request, user, conversation):
    with storage.transaction() as tx:
        memory = tx.for_user(user).conversation(conversation)
        message = memory.add({"role": "user", "content": json.loads(request.body)["text"]})
    return JsonResponse({"id": message.id, "worker": os.getpid(), "opened_by": opened_by})

def export(request, user):
    return StreamingHttpResponse(storage.for_user(user).export_user(), content_type="application/jsonl")

urlpatterns = [path("<user>/<conversation>", add), path("<user>", export)]
app = get_wsgi_application()
"""
)


@contextmanager
def gunicorn(folder: Path, *options: str, **environment: str) -> Iterator[str]:
    """Run gunicorn for ``application:app``. Yields its address. SIGTERM ends it, without a traceback."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--worker-class", "gthread", *options]
    given = {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}", **environment}
    log = folder / "log"
    with (
        log.open("w") as file,
        subprocess.Popen([*command, "application:app"], cwd=folder, env=given, stdout=file, stderr=file) as process,
    ):
        try:
            while not (found := re.search(r"Listening at: (http://\S+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(120)
    assert code == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    assert "SIGKILL" not in log.read_text()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn needs a system that forks")
@pytest.mark.parametrize("application", [FLASK, DJANGO], ids=["flask", "django"])
@pytest.mark.parametrize("options", [["--preload"], []], ids=["preload", "each"])
def test_workers_with_threads_share_a_storage(
    application: str, options: list[str], dsn: str, schema: str, tmp_path: Path
) -> None:
    """Concurrent requests in two workers with four threads each are all stored and read."""
    (tmp_path / "application.py").write_text(application)

    with gunicorn(tmp_path, "--workers", "2", "--threads", "4", *options, DATABASE_URL=dsn, SCHEMA=schema) as address:

        def add(number: int) -> dict[str, Any]:
            added = client.post(f"/ada/c{number % 4}", json={"text": f"message {number}"})
            return dict(added.raise_for_status().json())

        with httpx2.Client(base_url=address, timeout=120) as client, ThreadPoolExecutor(16) as pool:
            added = list(pool.map(add, range(REQUESTS)))
            exported = client.get("/ada").raise_for_status().text

    workers, openers = ({each[name] for each in added} for name in ("worker", "opened_by"))
    assert openers == workers if not options else len(openers) == 1 and not openers & workers
    assert len({each["id"] for each in added}) == REQUESTS
    assert {f"message {number}" for number in range(REQUESTS)} == set(re.findall(r'"(message \d+)"', exported))
    with PostgresStorage(dsn, schema=schema) as storage:
        assert storage.count_conversations(user_id="ada") == 4
