"""The smallest program: store two messages and read them back. The second run also prints the first run's."""

import asyncio

from voltmem import PostgresStorage


async def main() -> None:
    async with PostgresStorage() as storage:  # the embedded PostgreSQL, unless VOLTMEM_DATABASE_URL is set
        await storage.ensure_conversation({"id": "hello", "user_id": "ada", "title": "Hello"})
        await storage.add_messages(
            [
                {"role": "user", "content": "Do you remember me?"},
                {"role": "assistant", "content": "From now on."},
            ],
            "ada",
            "hello",
        )
        for message in await storage.get_messages("ada", "hello"):
            print(f"{message.created_at:%H:%M:%S} {message.role}: {message.content}")


if __name__ == "__main__":
    asyncio.run(main())
