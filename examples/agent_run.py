"""Record an agent's run while it happens: its input, its steps and its events, which are printed as a tree."""

import asyncio

from pydantic import JsonValue

from voltmem import AgentHistoryEntry, AgentRun, PostgresStorage

RECIPES: dict[str, JsonValue] = {"soup": ["leeks", "potatoes"]}


def model(messages: list[JsonValue]) -> JsonValue:
    """Stand in for a language model: look up a recipe, then answer."""
    return {"tool": "search", "q": messages[0]} if len(messages) == 1 else f"Take {messages[-1]}."


async def search(run: AgentRun, q: str) -> JsonValue:
    async with run.event("tool:search", type="tool", input={"q": q}) as event:
        event.output = RECIPES[q]  # for an unknown dish, the event and the run end with the status "error"
        return event.output


async def cook(storage: PostgresStorage, dish: str) -> None:
    async with storage.record_run("cook", input=dish, user_id="ada", metadata={"model": "scripted"}) as run:
        messages: list[JsonValue] = [dish]
        async with run.event("agent:think"):
            while isinstance(answer := model(messages), dict):
                await run.add_step("tool_call", name="search", arguments=answer)
                messages.append(await search(run, str(answer["q"])))
                await run.add_step("tool_result", name="search", content=messages[-1])
        await run.add_step("text", content=answer)
        run.output, run.usage = answer, {"totalTokens": 7}


def show(entry: AgentHistoryEntry) -> None:
    print(f"{entry.input}: {entry.status}, after {len(entry.steps)} steps: {entry.output}")
    for depth, event in entry.event_tree():
        detail = event.status_message or event.output or ""
        print(f"  {'   ' * depth}└─ {event.name} {event.status} {detail}")


async def main() -> None:
    async with PostgresStorage() as storage:
        for dish in ("soup", "unicorn"):
            try:
                await cook(storage, dish)
            except KeyError as error:
                print(f"no recipe for {error}")

        for entry in (await storage.list_history_entries(user_id="ada", limit=2)).entries:
            show(entry)


if __name__ == "__main__":
    asyncio.run(main())
