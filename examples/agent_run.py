"""An agent's run, recorded while it happens: what it was asked, its steps, and a timeline that is printed as a tree."""

import asyncio

from pydantic import JsonValue

from voltmem import AgentHistoryEntry, AgentRun, PostgresStorage

RECIPES: dict[str, JsonValue] = {"soup": ["leeks", "potatoes"]}


def model(said: list[JsonValue]) -> JsonValue:
    """Stands for a language model: it looks a recipe up before it answers."""
    return {"tool": "search", "q": said[0]} if len(said) == 1 else f"Take {said[-1]}."


async def search(run: AgentRun, q: str) -> JsonValue:
    async with run.event("tool:search", type="tool", input={"q": q}) as event:
        event.output = RECIPES[q]  # an unknown dish is an event in error, and a run in error
        return event.output


async def cook(storage: PostgresStorage, dish: str) -> None:
    async with storage.record_run("cook", input=dish, user_id="ada", metadata={"model": "scripted"}) as run:
        said: list[JsonValue] = [dish]
        async with run.event("agent:think"):
            while isinstance(answer := model(said), dict):
                await run.add_step("tool_call", name="search", arguments=answer)
                said.append(await search(run, str(answer["q"])))
                await run.add_step("tool_result", name="search", content=said[-1])
        await run.add_step("text", content=answer)
        run.output, run.usage = answer, {"totalTokens": 7}


def show(entry: AgentHistoryEntry) -> None:
    print(f"{entry.input}: {entry.status}, after {len(entry.steps)} steps: {entry.output}")
    for depth, event in entry.event_tree():
        told = event.status_message or event.output or ""
        print(f"  {'   ' * depth}└─ {event.name} {event.status} {told}")


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
