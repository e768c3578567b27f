-- 0013 plain titles
-- What: a function that takes the accents and the capitals off a title.
-- Why:  the search finds "Café" in messages when somebody types "cafe", and must find it in titles as well. Nothing is
--       stored: a user has hundreds of titles, and they are looked through.
-- Lock: none on tables.

-- As voltmem/_words.py does it, as far as PostgreSQL can: decomposed, without marks, in lower case, composed again.
-- PostgreSQL 12 and encodings other than UTF-8 have no normalize(): there the accents stay, and must be typed.
CREATE OR REPLACE FUNCTION {schema}.{prefix}_plain(title text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $plain$
BEGIN
    IF current_setting('server_version_num')::integer >= 130000 AND getdatabaseencoding() = 'UTF8' THEN
        title := regexp_replace(normalize(title, NFKD), U&'[\0300-\036F]', '', 'g');
        title := normalize(replace(translate(lower(title), U&'\03C2', U&'\03C3'), U&'\00DF', 'ss'), NFC);
    ELSE
        title := lower(title);
    END IF;
    RETURN title;
END
$plain$;
