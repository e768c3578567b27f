"""Three ways to read many conversations: numbered pages, a query builder, and iteration over all of them."""

import asyncio

from voltmem import Conversation, PostgresStorage

USER = "grace"


async def main() -> None:
    async with PostgresStorage() as storage:
        async with storage.transaction() as tx:
            for number in range(1, 26):
                await tx.ensure_conversation(
                    Conversation(id=f"page-{number}", user_id=USER, title=f"Conversation {number:02}")
                )

        number, has_more = 1, True
        while has_more:
            page = await storage.get_paginated_user_conversations(USER, page=number, page_size=10)
            print(f"page {page.page}: {len(page.conversations)} conversations, more: {page.has_more}")
            number, has_more = number + 1, page.has_more

        builder = storage.get_user_conversations(USER).order_by("title", "ASC")
        print("first by title: ", [conversation.title for conversation in await builder.limit(3)])
        print("and after those:", [conversation.title for conversation in await builder.offset(3).limit(3)])

        count = 0
        async for _ in storage.get_user_conversations(USER):  # in batches; each costs the same
            count += 1
        print(f"iterated over {count} of {await storage.count_conversations(user_id=USER)}")


if __name__ == "__main__":
    asyncio.run(main())
