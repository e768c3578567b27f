-- version 1
-- unite: merge a JSON document into another as VoltAgent appends to a working memory that is JSON.
--
-- A function for the same reason as merge_patch.
--
-- Arguments:
--   target         the document
--   addition       its objects are merged into those of the document. Of an array, the values that the document's array
--                  lacks are added. Any other value, null too, replaces the one in the document
--
-- Returns the changed document.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_unite(target jsonb, addition jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $unite$
DECLARE
    name text;
    value jsonb;
BEGIN
    IF jsonb_typeof(target) = 'array' AND jsonb_typeof(addition) = 'array' THEN
        RETURN (
            SELECT coalesce(jsonb_agg(each.value ORDER BY each.place), '[]') FROM (
                SELECT listed.value, min(listed.place) AS place
                FROM jsonb_array_elements(target || addition) WITH ORDINALITY AS listed (value, place)
                GROUP BY listed.value
            ) AS each
        );
    END IF;
    IF jsonb_typeof(target) <> 'object' OR jsonb_typeof(addition) <> 'object' THEN
        RETURN addition;
    END IF;
    FOR name, value IN SELECT each.key, each.value FROM jsonb_each(addition) AS each LOOP
        target := target || jsonb_build_object(
            name, coalesce({schema}.{prefix}_unite(target -> name, value), value)
        );
    END LOOP;
    RETURN target;
END
$unite$;
