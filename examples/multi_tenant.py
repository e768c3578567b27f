"""Many users in one database: each request uses a view of the storage that is limited to its user."""

import asyncio

from voltmem import ConversationNotFoundError, PostgresStorage, UserStorage


async def answer(storage: UserStorage, conversation_id: str, question: str) -> str:
    """Handle a request. It needs no user id, because the view was created when the user signed in."""
    await storage.ensure_conversation({"id": conversation_id, "title": question})
    await storage.add_message({"role": "user", "content": question}, conversation_id)
    count = len(await storage.get_messages(conversation_id, roles=["user"]))
    reply = f"That is question {count} of {storage.user_id}."
    await storage.add_message({"role": "assistant", "content": reply}, conversation_id)
    return reply


async def main() -> None:
    async with PostgresStorage() as storage:
        ada, bob = storage.for_user("tenant-a/ada"), storage.for_user("tenant-b/bob")
        print(await answer(ada, "secret-of-ada", "Where is the treasure?"))
        print(await answer(bob, "plans-of-bob", "What's for lunch?"))

        print("bob reads:", await bob.get_messages("secret-of-ada"))
        print("bob deletes:", await bob.delete_conversation("secret-of-ada"))
        try:
            await answer(bob, "secret-of-ada", "Let me in")
        except ConversationNotFoundError as error:
            print("bob writes:", error)
        print("bob's own:", [conversation.title for conversation in await bob.query_conversations()])

        for tenant, conversation_id in ((ada, "secret-of-ada"), (bob, "plans-of-bob")):
            await tenant.delete_conversation(conversation_id)


if __name__ == "__main__":
    asyncio.run(main())
