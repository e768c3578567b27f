-- 0007 text that looks like JSON
-- What: puts text that begins like a JSON object or array into "content_json", as the JSON string that it is.
-- Why:  VoltAgent 0.1 keeps tool calls and lists of parts as JSON in "content", and they are read as what they were.
--       What voltmem itself stored as text must stay text, so from here on it never stands there looking like JSON.
--       Tables that VoltAgent made are left alone: whose such a text is, could not be told.
-- Lock: none on tables but ROW EXCLUSIVE: reads and writes go on.

UPDATE {schema}.{prefix}_messages
SET content_json = to_json(content)
WHERE content_json IS NULL AND parts IS NULL AND left(content, 1) IN ('[', '{')
    AND to_regclass('{schema}.idx_{prefix}_conversations_resource') IS NULL
    AND to_regclass('{schema}.idx_{prefix}_conversations_resource_id') IS NULL;
