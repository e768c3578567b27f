"""
Readers of other programs' files for import_conversations(): ChatGPT's export, and messages in the forms of APIs.

::

    from voltmem.importers import from_chatgpt

    result = await storage.import_conversations("ada", from_chatgpt(Path("export.zip")))
    print(result.conversations, result.skipped, result.left_out)

No database is involved. What cannot be read is named and counted, and the rest is imported: an entry of a file that is
broken, or another program's, becomes ``Skipped``; the messages that are left out of a conversation are counted in its
``left_out``. An InvalidInputError is raised if a file has no conversation at all, and says whose file it is, if that is
known.
"""

from voltmem.importers._chatgpt import from_chatgpt
from voltmem.importers._found import Conversations
from voltmem.importers._openai import from_openai

__all__ = ["Conversations", "from_chatgpt", "from_openai"]
