"""
OpenAI Agents SDK: a session that keeps a conversation in PostgreSQL.

::

    session = VoltMemSession("trip-to-oslo", storage, user_id="ada")
    result = await Runner.run(agent, "Do I need a coat?", session=session)

    # Or take the signed-in user from the run's context.
    session = VoltMemSession("trip-to-oslo", storage, user_id=lambda context: context.user_id)
    result = await Runner.run(agent, "Do I need a coat?", session=session, context=SignedIn("ada"))

    # What the agent writes down of the user.
    memory = VoltMemWorkingMemory(storage.working_memory("ada"))
    agent = Agent(name="guide", tools=memory.tools)
    result = await Runner.run(agent, "Hello", run_config=RunConfig(call_model_input_filter=memory))
"""

from __future__ import annotations

from voltmem.adapters.openai_agents._items import FORMAT, to_items, to_messages
from voltmem.adapters.openai_agents._session import VoltMemSession
from voltmem.adapters.openai_agents._working_memory import VoltMemWorkingMemory

__all__ = ["FORMAT", "VoltMemSession", "VoltMemWorkingMemory", "to_items", "to_messages"]
