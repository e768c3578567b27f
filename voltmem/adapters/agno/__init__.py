"""
Agno: sessions of agents, teams and workflows, as conversations and messages in PostgreSQL.

::

    # Agno 2 and 3, for arun().
    agent = Agent(model=model, db=VoltMemDb("postgresql://…"), add_history_to_context=True)
    await agent.arun("Do I need a coat?", user_id="ada", session_id="trip-to-oslo")

    # Agno 2 and 3, for run().
    agent = Agent(model=model, db=VoltMemSyncDb("postgresql://…"), add_history_to_context=True)
    agent.run("Do I need a coat?", user_id="ada", session_id="trip-to-oslo")

    # Agno 2 and 3: what the agent writes down of the user.
    agent = Agent(model=model, db=db, tools=[VoltMemWorkingMemory(storage.working_memory("ada"))])

    # Agno 1: replaces its PostgresStorage and takes the same arguments.
    storage = VoltMemStorage("agent_sessions", db_url="postgresql://…", auto_upgrade_schema=True)
    agent = Agent(model=model, storage=storage, user_id="ada", add_history_to_messages=True)

A session is the conversation with the same id. The messages of its runs are the conversation's messages, once each.
"""

from __future__ import annotations

from voltmem.adapters.agno._db import VoltMemDb
from voltmem.adapters.agno._import import import_sessions
from voltmem.adapters.agno._runs import Formats, to_messages, to_runs
from voltmem.adapters.agno._sessions import DEFAULT_RUNS, DEFAULT_USER_ID, Sessions
from voltmem.adapters.agno._sessions_of_1 import Mode, Session
from voltmem.adapters.agno._storage import VoltMemStorage
from voltmem.adapters.agno._sync_db import VoltMemSyncDb
from voltmem.adapters.agno._working_memory import VoltMemWorkingMemory

__all__ = [
    "DEFAULT_RUNS",
    "DEFAULT_USER_ID",
    "Formats",
    "Mode",
    "Session",
    "Sessions",
    "VoltMemDb",
    "VoltMemStorage",
    "VoltMemSyncDb",
    "VoltMemWorkingMemory",
    "import_sessions",
    "to_messages",
    "to_runs",
]
