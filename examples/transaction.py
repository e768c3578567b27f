"""Messages and the application's own rows in one transaction: both are stored, or neither."""

import asyncio

from voltmem import PostgresStorage


async def main() -> None:
    async with PostgresStorage() as storage:
        await storage.ensure_conversation({"id": "order", "user_id": "ada", "title": "An order"})

        # The storage's own transaction. Its connection also runs the application's statements.
        async with storage.transaction() as tx:
            await tx.connection.execute("CREATE TABLE IF NOT EXISTS example_orders (item text, message_id text)")
            message = await tx.add_message({"role": "user", "content": "Two coffees, please"}, "ada", "order")
            await tx.connection.execute("INSERT INTO example_orders VALUES ($1, $2)", "coffee", message.id)

        # If the block raises, the transaction is rolled back.
        try:
            async with storage.transaction() as tx:
                await tx.add_message({"role": "assistant", "content": "Paid."}, "ada", "order")
                raise RuntimeError("the card was declined")
        except RuntimeError as error:
            print(f"rolled back, because {error}")

        # The application's own transaction, on any asyncpg connection. The application commits it.
        async with storage.transaction() as tx:
            connection = tx.connection  # in place of a connection from the application's pool
            bound = storage.bind(connection)
            await bound.add_message({"role": "assistant", "content": "Coming up."}, "ada", "order")
            orders = await connection.fetchval("SELECT count(*) FROM example_orders")
            await connection.execute("DROP TABLE example_orders")

        messages = [message.content for message in await storage.get_messages("ada", "order")]
        print(f"{orders} order; the conversation: {messages}")
        await storage.delete_conversation("order")


if __name__ == "__main__":
    asyncio.run(main())
