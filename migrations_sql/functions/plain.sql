-- version 3
-- plain: split a title into words, in lower case and without accents, with one space before and after each word.
--
-- A search for "cafe" finds "Café" in messages, and must find it in titles, too. Titles are not indexed: a user has
-- hundreds of them, and the search reads them all.
--
-- This is plain() of voltmem/_areas/words.py, as far as PostgreSQL can do it. Lower case follows Unicode if the server
-- has such a collation, since the database's own may convert ASCII letters only. PostgreSQL 12 has no normalize():
-- there the letters of Latin, Greek, Cyrillic and Arabic lose their accents, and compatibility forms such as full-width
-- letters stay as they are. In a database with another encoding than UTF-8, accents stay, and a title with accents is
-- not found.
--
-- Arguments:
--   title
--   separators     a regular expression that matches the characters between words
--   unspaced       a regular expression whose group matches a run of characters of a script without spaces

CREATE OR REPLACE FUNCTION {schema}.{prefix}_plain(title text, separators text, unspaced text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $plain$
DECLARE
    marks CONSTANT text := '[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7'
        '\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\ufe00-\ufe0f]';
BEGIN
    IF getdatabaseencoding() <> 'UTF8' THEN
        RETURN ' ' || regexp_replace(lower(title), '[^[:alnum:]]+', ' ', 'g') || ' ';
    END IF;
    IF octet_length(title) = length(title) THEN
        title := lower(title COLLATE "C");
    ELSIF current_setting('server_version_num')::integer < 130000 THEN
        IF EXISTS (SELECT 1 FROM pg_catalog.pg_collation AS c WHERE c.collname = 'und-x-icu') THEN
            title := lower(title COLLATE "und-x-icu");
        ELSE
            title := lower(title);
        END IF;
        title := translate(
            regexp_replace(title, marks, '', 'g'),
            'àáâãäåçèéêëìíîïñòóôõöùúûüýÿāăąćĉċčďēĕėęěĝğġģĥĩīĭįĵķĺļľńņňōŏőŕŗřśŝşšţťũūŭůűųŵŷźżžơưǎǐǒǔǖǘǚǜǟǡǣǧǩǫǭǯǰǵ'
            'ǹǻǽǿȁȃȅȇȉȋȍȏȑȓȕȗșțȟȧȩȫȭȯȱȳΐάέήίΰϊϋόύώйѐёѓїќѝўѷӂӑӓӗӛӝӟӣӥӧӫӭӯӱӳӵӹḁḃḅḇḉḋḍḏḑḓḕḗḙḛḝḟḡḣḥḧḩḫḭḯḱḳḵḷḹḻḽḿṁṃṅṇṉ'
            'ṋṍṏṑṓṕṗṙṛṝṟṡṣṥṧṩṫṭṯṱṳṵṷṹṻṽṿẁẃẅẇẉẋẍẏẑẓẕẖẗẘẙạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹἀἁἂἃἄἅἆἇἐἑἒἓἔ'
            'ἕἠἡἢἣἤἥἦἧἰἱἲἳἴἵἶἷὀὁὂὃὄὅὐὑὒὓὔὕὖὗὠὡὢὣὤὥὦὧὰάὲέὴήὶίὸόὺύὼώᾀᾁᾂᾃᾄᾅᾆᾇᾐᾑᾒᾓᾔᾕᾖᾗᾠᾡᾢᾣᾤᾥᾦᾧᾰᾱᾲᾳᾴᾶᾷῂῃῄῆῇῐῑῒΐῖῗῠῡῢΰῤ'
            'ῥῦῧῲῳῴῶῷآأؤإئۀۂۓ',
            'aaaaaaceeeeiiiinooooouuuuyyaaaccccdeeeeegggghiiiijklllnnnooorrrssssttuuuuuuwyzzzouaiouuuuuaaægkooʒjg'
            'naæøaaeeiioorruusthaeooooyιαεηιυιυουωиеегікиуѵжааеәжзииоөэууучыabbbcdddddeeeeefghhhhhiikkkllllmmmnnn'
            'noooopprrrrsssssttttuuuuuvvwwwwwxxyzzzhtwyaaaaaaaaaaaaeeeeeeeeiioooooooooooouuuuuuuyyyyααααααααεεεεε'
            'εηηηηηηηηιιιιιιιιοοοοοουυυυυυυυωωωωωωωωααεεηηιιοουυωωααααααααηηηηηηηηωωωωωωωωαααααααηηηηηιιιιιιυυυυρ'
            'ρυυωωωωωااوايەہے'
        );
        title := replace(translate(title, chr(962), chr(963)), chr(223), 'ss');
    ELSE
        title := regexp_replace(normalize(title, NFKD), marks, '', 'g');
        IF to_regcollation('pg_catalog.pg_c_utf8') IS NOT NULL THEN
            title := lower(title COLLATE "pg_c_utf8");
        ELSIF to_regcollation('pg_catalog."und-x-icu"') IS NOT NULL THEN
            title := lower(title COLLATE "und-x-icu");
        ELSE
            title := lower(title);
        END IF;
        title := normalize(replace(translate(title, chr(962), chr(963)), chr(223), 'ss'), NFC);
    END IF;
    title := regexp_replace(regexp_replace(title, separators, ' ', 'g'), unspaced, ' \1 ', 'g');
    RETURN regexp_replace(' ' || title || ' ', '  +', ' ', 'g');
END
$plain$;
