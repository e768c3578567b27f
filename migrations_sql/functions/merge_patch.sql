-- version 1
-- merge_patch: apply a JSON Merge Patch (RFC 7396) to a document.
--
-- A function, because the patch is applied within an UPDATE, to the row as it is once the lock was acquired: of two
-- concurrent patches neither is lost. It calls itself for each object within the patch.
--
-- Arguments:
--   target         the document
--   patch          its objects are merged into those of the document, its nulls remove members, and any other value
--                  replaces the one in the document
--
-- Returns the changed document.

CREATE OR REPLACE FUNCTION {schema}.{prefix}_merge_patch(target jsonb, patch jsonb) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $merge_patch$
DECLARE
    name text;
    value jsonb;
BEGIN
    IF jsonb_typeof(patch) <> 'object' THEN
        RETURN patch;
    END IF;
    IF jsonb_typeof(target) <> 'object' THEN
        target := '{}';
    END IF;
    FOR name, value IN SELECT each.key, each.value FROM jsonb_each(patch) AS each LOOP
        IF jsonb_typeof(value) = 'null' THEN
            target := target - name;
        ELSIF jsonb_typeof(value) = 'object' THEN
            target := target || jsonb_build_object(
                name, {schema}.{prefix}_merge_patch(coalesce(target -> name, 'null'), value)
            );
        ELSE
            target := target || jsonb_build_object(name, value);
        END IF;
    END LOOP;
    RETURN target;
END
$merge_patch$;
