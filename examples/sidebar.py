"""The sidebar of a chat application: a user's conversations by last activity, opened, renamed, continued, deleted."""

import asyncio

from voltmem import Conversation, PostgresStorage

USER = "ada"


async def show(storage: PostgresStorage, occasion: str) -> None:
    print(f"\n{occasion}")
    for conversation in await storage.query_conversations(user_id=USER, resource_id="cook", limit=20):
        last = await storage.get_messages(USER, conversation.id, limit=1)
        preview = last[0].text if last else "(empty)"
        print(f"  {conversation.title or 'Untitled'}: {preview}")


async def main() -> None:
    async with PostgresStorage() as storage:
        for title, question in (("Bread", "Why won't it rise?"), ("Soup", "Too salty!"), (None, "What is a roux?")):
            conversation = await storage.create_conversation(
                Conversation(user_id=USER, resource_id="cook", title=title)
            )
            await storage.add_message({"role": "user", "content": question}, USER, conversation.id)
        await show(storage, "The last active conversation comes first:")

        newest, _, bread = await storage.query_conversations(user_id=USER, resource_id="cook", limit=3)
        await storage.update_conversation(newest.id, title="Sauces", touch=False)
        await storage.add_message({"role": "assistant", "content": "Give it time."}, USER, bread.id)
        await show(storage, "One was renamed where it stands; an answer moved Bread to the top:")

        opened = await storage.get_user_conversation(bread.id, "mallory")
        print(f"\nAnother user who knows the id gets: {opened}")

        for conversation in await storage.query_conversations(user_id=USER, resource_id="cook", limit=None):
            await storage.delete_conversation(conversation.id, owner=USER)


if __name__ == "__main__":
    asyncio.run(main())
