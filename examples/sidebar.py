"""A chat application's sidebar: groups by day, pins, search, undoing a deletion, and isolation of users."""

import asyncio

from voltmem import ConversationItem, PostgresStorage, as_html, group_by_date

USER = "ada"


async def show(storage: PostgresStorage, occasion: str) -> list[ConversationItem]:
    print(f"\n{occasion}")
    page = await storage.list_conversations(USER, resource_id="cook", limit=20)
    for group in group_by_date(page.items, "Europe/Oslo"):
        print(f"  {group.label}")
        for item in group.conversations:
            print(f"    {'*' if item.unread else ' '} {item.title or 'Untitled'}: {item.preview}")
    return page.items


async def main() -> None:
    async with PostgresStorage(search=True) as storage:
        for title, question in (("Bread", "Why won't it rise?"), ("Soup", "Too salty!"), (None, "What is a roux?")):
            memory = storage.conversation(USER, resource_id="cook")
            await memory.add({"role": "user", "content": question})
            if title is not None:
                await memory.title(title)
        sauces, soup, bread = await show(storage, "The last active conversation comes first:")

        await storage.rename_conversation(sauces.id, "Sauces", automatic=True)
        await storage.pin_conversation(soup.id)
        await storage.add_message({"role": "assistant", "content": "Give it time."}, USER, bread.id)
        await show(storage, "Soup is pinned, Sauces was named without moving, and an unread answer moved Bread up:")

        for hit in (await storage.search(USER, "give ti")).hits:
            print(f"\nSearch as you type finds: {as_html(hit.snippet, 'b')}")
        await storage.soft_delete_conversation(bread.id)
        print(f"A deleted conversation reads as: {await storage.get_conversation(bread.id)}")
        await storage.restore_conversation(bread.id)

        opened = await storage.for_user("mallory").get_conversation(bread.id)
        print(f"Another user who knows the id gets: {opened}")
        await storage.delete_user(USER)


if __name__ == "__main__":
    asyncio.run(main())
