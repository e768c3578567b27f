-- What a new database holds, with the default schema and prefix: to be read, and compared. Nothing applies this file.
-- Written by "python -m tests.schema_sql" from what the migrations make; a test compares the two.

CREATE TABLE public.voltagent_memory_migrations (
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    version integer DEFAULT 1 NOT NULL,
    CONSTRAINT voltagent_memory_migrations_pkey PRIMARY KEY (name)
);

CREATE TABLE public.voltagent_memory_conversations (
    id text NOT NULL,
    resource_id text NOT NULL,
    user_id text NOT NULL,
    title text,
    metadata jsonb,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    pinned boolean DEFAULT false NOT NULL,
    archived boolean DEFAULT false NOT NULL,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    read_at timestamp with time zone,
    deleted_at timestamp with time zone,
    title_is_automatic boolean DEFAULT false NOT NULL,
    forked_from text,
    forked_up_to text,
    CONSTRAINT voltagent_memory_conversations_pkey PRIMARY KEY (id)
);

CREATE INDEX voltagent_memory_conversations_by_user ON public.voltagent_memory_conversations USING btree (user_id, updated_at, id);

CREATE INDEX voltagent_memory_conversations_by_resource ON public.voltagent_memory_conversations USING btree (resource_id, created_at, id);

CREATE INDEX voltagent_memory_conversations_in_sidebar ON public.voltagent_memory_conversations USING btree (user_id, archived, pinned, updated_at, id) WHERE (deleted_at IS NULL);

CREATE SEQUENCE public.voltagent_memory_messages_seq;

CREATE TABLE public.voltagent_memory_messages (
    conversation_id text NOT NULL,
    message_id text NOT NULL,
    role text NOT NULL,
    content text NOT NULL,
    type text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    content_json json,
    metadata jsonb,
    archived boolean DEFAULT false NOT NULL,
    seq bigint DEFAULT nextval('public.voltagent_memory_messages_seq'::regclass) NOT NULL,
    parts jsonb,
    format text,
    payload json,
    parent_id text,
    words tsvector,
    CONSTRAINT voltagent_memory_messages_pkey PRIMARY KEY (conversation_id, message_id),
    CONSTRAINT voltagent_memory_messages_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES public.voltagent_memory_conversations(id) ON DELETE CASCADE
);

ALTER SEQUENCE public.voltagent_memory_messages_seq OWNED BY public.voltagent_memory_messages.seq;

CREATE INDEX voltagent_memory_messages_in_order ON public.voltagent_memory_messages USING btree (conversation_id, archived, created_at, seq);

CREATE INDEX voltagent_memory_messages_in_branches ON public.voltagent_memory_messages USING btree (message_id) WHERE (parent_id IS NOT NULL);

CREATE INDEX voltagent_memory_messages_by_word ON public.voltagent_memory_messages USING gin (words) WHERE (words IS NOT NULL);

CREATE TABLE public.voltagent_memory_payloads (
    conversation_id text NOT NULL,
    format text NOT NULL,
    payload json NOT NULL,
    revision text,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT voltagent_memory_payloads_pkey PRIMARY KEY (conversation_id, format),
    CONSTRAINT voltagent_memory_payloads_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES public.voltagent_memory_conversations(id) ON DELETE CASCADE
);

CREATE TABLE public.voltagent_memory_shares (
    token text NOT NULL,
    conversation_id text NOT NULL,
    up_to text,
    up_to_time timestamp with time zone,
    up_to_seq bigint,
    newest_seq bigint,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT voltagent_memory_shares_pkey PRIMARY KEY (token, conversation_id),
    CONSTRAINT voltagent_memory_shares_conversation_id_fkey FOREIGN KEY (conversation_id) REFERENCES public.voltagent_memory_conversations(id) ON DELETE CASCADE
);

CREATE INDEX voltagent_memory_shares_by_conversation ON public.voltagent_memory_shares USING btree (conversation_id);

CREATE UNLOGGED TABLE public.voltagent_memory_watchers (
    user_id text NOT NULL,
    listener text NOT NULL,
    until timestamp with time zone NOT NULL,
    CONSTRAINT voltagent_memory_watchers_pkey PRIMARY KEY (user_id, listener)
);

CREATE TABLE public.voltagent_memory_agent_history (
    id text NOT NULL,
    agent_id text NOT NULL,
    "timestamp" timestamp with time zone DEFAULT now() NOT NULL,
    status text,
    input jsonb,
    output jsonb,
    usage jsonb,
    metadata jsonb,
    userid text,
    conversationid text,
    exact jsonb,
    CONSTRAINT voltagent_memory_agent_history_pkey PRIMARY KEY (id)
);

CREATE INDEX voltagent_memory_history_by_agent_time ON public.voltagent_memory_agent_history USING btree (agent_id, "timestamp", id);

CREATE INDEX voltagent_memory_history_by_user ON public.voltagent_memory_agent_history USING btree (userid, "timestamp", id);

CREATE INDEX voltagent_memory_history_by_conversation ON public.voltagent_memory_agent_history USING btree (conversationid, "timestamp", id);

CREATE SEQUENCE public.voltagent_memory_history_steps_seq;

CREATE TABLE public.voltagent_memory_agent_history_steps (
    key text NOT NULL,
    value jsonb NOT NULL,
    history_id text NOT NULL,
    agent_id text NOT NULL,
    exact jsonb,
    seq bigint DEFAULT nextval('public.voltagent_memory_history_steps_seq'::regclass) NOT NULL,
    CONSTRAINT voltagent_memory_agent_history_steps_pkey PRIMARY KEY (key),
    CONSTRAINT voltagent_memory_agent_history_steps_history_id_fkey FOREIGN KEY (history_id) REFERENCES public.voltagent_memory_agent_history(id) ON DELETE CASCADE
);

ALTER SEQUENCE public.voltagent_memory_history_steps_seq OWNED BY public.voltagent_memory_agent_history_steps.seq;

CREATE INDEX voltagent_memory_history_steps_by_entry ON public.voltagent_memory_agent_history_steps USING btree (history_id);

CREATE SEQUENCE public.voltagent_memory_history_events_seq;

CREATE TABLE public.voltagent_memory_agent_history_timeline_events (
    id text NOT NULL,
    history_id text NOT NULL,
    agent_id text NOT NULL,
    event_type text NOT NULL,
    event_name text NOT NULL,
    start_time timestamp with time zone NOT NULL,
    end_time timestamp with time zone,
    status text,
    status_message text,
    level text DEFAULT 'INFO'::text,
    version text,
    parent_event_id text,
    tags jsonb,
    input jsonb,
    output jsonb,
    error jsonb,
    metadata jsonb,
    exact jsonb,
    seq bigint DEFAULT nextval('public.voltagent_memory_history_events_seq'::regclass) NOT NULL,
    CONSTRAINT voltagent_memory_agent_history_timeline_events_pkey PRIMARY KEY (id),
    CONSTRAINT voltagent_memory_agent_history_timeline_events_history_id_fkey FOREIGN KEY (history_id) REFERENCES public.voltagent_memory_agent_history(id) ON DELETE CASCADE
);

ALTER SEQUENCE public.voltagent_memory_history_events_seq OWNED BY public.voltagent_memory_agent_history_timeline_events.seq;

CREATE INDEX voltagent_memory_history_events_by_entry ON public.voltagent_memory_agent_history_timeline_events USING btree (history_id);

CREATE OR REPLACE FUNCTION public.voltagent_memory_add_messages(conversation_ids text[], user_ids text[], resource_ids text[], sizes text[], message_ids text[], roles text[], contents text[], contents_json text[], types text[], metadatas text[], created_ats text[], formats text[], payloads text[], parent_ids text[], vectors text[], storage_limit bigint, archive boolean, patient boolean)
 RETURNS TABLE(item integer, stored_at timestamp with time zone)
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
 SET enable_sort TO 'off'
AS $function$
DECLARE
    last integer := 0;
    conversation text;
    owner text;
    locked boolean;
    touched boolean;
    activity timestamptz;
    accepted boolean;
    cutoff_time timestamptz;
    cutoff_seq bigint;
    lock_timeout text;
    user_key text;
BEGIN
    FOR this IN 1 .. cardinality(conversation_ids) LOOP
        IF conversation IS DISTINCT FROM conversation_ids[this] THEN
            conversation := conversation_ids[this];
            locked := false;
            touched := false;
            IF patient THEN
                SELECT c.user_id INTO owner
                    FROM "public".voltagent_memory_conversations AS c
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                    FOR UPDATE;
            ELSE
                SELECT c.user_id INTO owner
                    FROM "public".voltagent_memory_conversations AS c
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                    FOR UPDATE SKIP LOCKED;
                IF NOT FOUND THEN
                    locked := EXISTS (
                        SELECT FROM "public".voltagent_memory_conversations AS c
                        WHERE c.id = conversation AND c.deleted_at IS NULL
                    );
                END IF;
            END IF;
            PERFORM set_config('voltmem.user_id', owner, true);
        END IF;

        IF owner IS NULL AND NOT locked AND resource_ids[this] IS NOT NULL AND user_ids[this] IS NOT NULL THEN
            -- Another transaction may be creating the conversation, and INSERT waits until that one ends.
            BEGIN
                IF NOT patient THEN
                    lock_timeout := current_setting('lock_timeout');
                    PERFORM set_config('lock_timeout', '10ms', true);
                END IF;
                INSERT INTO "public".voltagent_memory_conversations (id, resource_id, user_id)
                    VALUES (conversation, resource_ids[this], user_ids[this])
                    ON CONFLICT (id) DO NOTHING;
                SELECT c.user_id INTO owner
                    FROM "public".voltagent_memory_conversations AS c
                    WHERE c.id = conversation AND c.deleted_at IS NULL
                    FOR UPDATE;
                IF NOT patient THEN
                    PERFORM set_config('lock_timeout', lock_timeout, true);
                END IF;
                PERFORM set_config('voltmem.user_id', owner, true);
            EXCEPTION WHEN lock_not_available THEN
                locked := true;
            END;
        END IF;

        IF vectors IS NOT NULL AND owner IS NOT NULL THEN
            user_key := left(encode(sha256(convert_to(owner, 'UTF8')), 'hex'), 8);
        END IF;

        activity := clock_timestamp();
        accepted := owner IS NOT NULL AND (user_ids[this] IS NULL OR user_ids[this] = owner);
        FOR position IN last + 1 .. last + sizes[this]::integer LOOP
            IF accepted THEN
                INSERT INTO "public".voltagent_memory_messages AS m
                    (conversation_id, message_id, role, content, content_json, type, metadata, created_at,
                     format, payload, parent_id, words)
                VALUES
                    (conversation, message_ids[position], roles[position], contents[position],
                     contents_json[position]::json, types[position], metadatas[position]::jsonb,
                     coalesce(created_ats[position]::timestamptz, activity),
                     formats[position], payloads[position]::json, parent_ids[position],
                     replace(vectors[position], E'\x01', user_key)::tsvector)
                ON CONFLICT (conversation_id, message_id) DO UPDATE SET
                    role = excluded.role,
                    content = excluded.content,
                    content_json = excluded.content_json,
                    type = excluded.type,
                    metadata = excluded.metadata,
                    parts = NULL,
                    created_at = CASE WHEN created_ats[position] IS NULL THEN m.created_at ELSE excluded.created_at END,
                    format = excluded.format,
                    payload = excluded.payload,
                    parent_id = coalesce(excluded.parent_id, m.parent_id),
                    words = excluded.words
                RETURNING m.created_at INTO stored_at;
            ELSE
                stored_at := NULL;
            END IF;
            IF accepted OR locked THEN
                item := position;
                RETURN NEXT;
            END IF;
        END LOOP;
        last := last + sizes[this]::integer;

        IF accepted THEN
            touched := true;
            -- Find the newest message beyond the limit, without counting.
            SELECT m.created_at, m.seq INTO cutoff_time, cutoff_seq
                FROM "public".voltagent_memory_messages AS m
                WHERE storage_limit IS NOT NULL AND m.conversation_id = conversation AND NOT m.archived
                ORDER BY m.created_at DESC, m.seq DESC
                OFFSET storage_limit LIMIT 1;
            IF NOT FOUND THEN
                NULL;
            ELSIF archive THEN
                UPDATE "public".voltagent_memory_messages AS m
                    SET archived = true
                    WHERE m.conversation_id = conversation AND NOT m.archived
                        AND (m.created_at, m.seq) <= (cutoff_time, cutoff_seq);
            ELSE
                DELETE FROM "public".voltagent_memory_messages AS m
                    WHERE m.conversation_id = conversation AND NOT m.archived
                        AND (m.created_at, m.seq) <= (cutoff_time, cutoff_seq);
            END IF;
        ELSIF NOT locked AND EXISTS (
            SELECT FROM "public".voltagent_memory_conversations AS c
            WHERE c.id = conversation AND c.deleted_at IS NOT NULL
                AND (user_ids[this] IS NULL OR c.user_id = user_ids[this])
        ) THEN
            item := -this;
            RETURN NEXT;
        END IF;

        IF touched AND conversation_ids[this + 1] IS DISTINCT FROM conversation THEN
            UPDATE "public".voltagent_memory_conversations AS c
                SET updated_at = activity
                WHERE c.id = conversation;
        END IF;
    END LOOP;
END
$function$;

CREATE OR REPLACE FUNCTION public.voltagent_memory_drop_messages(conversation text, of_user text, message_ids text[], up_to text, storage_limit bigint)
 RETURNS TABLE(owner text, is_deleted boolean, has_message boolean, dropped bigint)
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    place_time timestamptz;
    place_seq bigint;
BEGIN
    SELECT c.user_id INTO owner
        FROM "public".voltagent_memory_conversations AS c
        WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
        FOR UPDATE;
    IF NOT FOUND THEN
        SELECT c.user_id, c.deleted_at IS NOT NULL AND (of_user IS NULL OR c.user_id = of_user) INTO owner, is_deleted
            FROM "public".voltagent_memory_conversations AS c
            WHERE c.id = conversation;
        RETURN NEXT;
        RETURN;
    END IF;

    IF message_ids IS NOT NULL THEN
        DELETE FROM "public".voltagent_memory_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = ANY(message_ids);
    ELSIF up_to IS NOT NULL THEN
        SELECT m.created_at, m.seq INTO place_time, place_seq
            FROM "public".voltagent_memory_messages AS m
            WHERE m.conversation_id = conversation AND m.message_id = up_to;
        has_message := FOUND;
        DELETE FROM "public".voltagent_memory_messages AS m
            WHERE m.conversation_id = conversation AND (m.created_at, m.seq) > (place_time, place_seq);
    ELSE
        DELETE FROM "public".voltagent_memory_messages AS m
            WHERE m.conversation_id = conversation;
    END IF;
    GET DIAGNOSTICS dropped = ROW_COUNT;

    IF dropped > 0 THEN
        IF up_to IS NOT NULL AND EXISTS (
            SELECT FROM "public".voltagent_memory_messages AS m WHERE m.conversation_id = conversation AND m.archived
        ) THEN
            UPDATE "public".voltagent_memory_messages AS m
                SET archived = false
                WHERE m.conversation_id = conversation AND m.archived AND m.message_id IN (
                    SELECT newest.message_id FROM "public".voltagent_memory_messages AS newest
                    WHERE newest.conversation_id = conversation
                    ORDER BY newest.created_at DESC, newest.seq DESC LIMIT storage_limit
                );
        END IF;
        -- Update the row without changing it, so that the trigger notifies the watchers.
        UPDATE "public".voltagent_memory_conversations AS c
            SET updated_at = c.updated_at
            WHERE c.id = conversation;
    END IF;
    RETURN NEXT;
END
$function$;

CREATE OR REPLACE FUNCTION public.voltagent_memory_drop_messages_of_user(of_user text)
 RETURNS bigint
 LANGUAGE plpgsql
AS $function$
DECLARE
    conversation text;
    total bigint := 0;
BEGIN
    FOR conversation IN
        SELECT c.id FROM "public".voltagent_memory_conversations AS c
        WHERE c.user_id = of_user AND c.deleted_at IS NULL
        ORDER BY c.id
    LOOP
        SELECT total + coalesce(d.dropped, 0) INTO total
            FROM "public".voltagent_memory_drop_messages(conversation, of_user, NULL, NULL, NULL) AS d;
    END LOOP;
    RETURN total;
END
$function$;

CREATE OR REPLACE FUNCTION public.voltagent_memory_hand_over(conversation text, of_user text, recipient text)
 RETURNS void
 LANGUAGE plpgsql
 SET enable_seqscan TO 'off'
AS $function$
DECLARE
    giver text;
BEGIN
    -- FOR UPDATE, not FOR NO KEY UPDATE: it must wait for a concurrent INSERT of a share, whose foreign key check locks
    -- the row FOR KEY SHARE.
    SELECT c.user_id INTO giver
        FROM "public".voltagent_memory_conversations AS c
        WHERE c.id = conversation AND (of_user IS NULL OR c.user_id = of_user) AND c.deleted_at IS NULL
        FOR UPDATE;
    IF giver <> recipient THEN
        UPDATE "public".voltagent_memory_messages AS m
            SET words = replace(
                m.words::text,
                '''' || left(encode(sha256(convert_to(giver, 'UTF8')), 'hex'), 8),
                '''' || left(encode(sha256(convert_to(recipient, 'UTF8')), 'hex'), 8)
            )::tsvector
            WHERE m.conversation_id = conversation AND m.words IS NOT NULL;
        DELETE FROM "public".voltagent_memory_shares AS s
            WHERE s.conversation_id = conversation;
    END IF;
END
$function$;

CREATE OR REPLACE FUNCTION public.voltagent_memory_plain(title text, separators text, unspaced text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE STRICT
AS $function$
BEGIN
    IF getdatabaseencoding() <> 'UTF8' THEN
        RETURN ' ' || regexp_replace(lower(title), '[^[:alnum:]]+', ' ', 'g') || ' ';
    END IF;
    IF octet_length(title) = length(title) THEN
        title := lower(title COLLATE "C");
    ELSIF current_setting('server_version_num')::integer < 130000 THEN
        title := lower(title);
    ELSE
        title := regexp_replace(
            normalize(title, NFKD),
            '[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7'
            '\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\ufe00-\ufe0f]',
            '', 'g'
        );
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
$function$;

CREATE OR REPLACE FUNCTION public.voltagent_memory_tell_watchers()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog', 'pg_temp'
AS $function$
BEGIN
    -- OLD is NULL on INSERT, NEW is NULL on DELETE. Their users differ when the conversation gets another owner.
    PERFORM pg_notify(
            'voltmem_' || left(encode(sha256(convert_to('"public".voltagent_memory', 'UTF8')), 'hex'), 16),
            left(encode(sha256(convert_to(w.user_id, 'UTF8')), 'hex'), 8)
        )
        FROM "public".voltagent_memory_watchers AS w
        WHERE w.user_id IN (OLD.user_id, NEW.user_id) AND w.until > statement_timestamp();
    RETURN NULL;
END
$function$;

CREATE TRIGGER voltagent_memory_tell_watchers AFTER INSERT OR DELETE OR UPDATE ON public.voltagent_memory_conversations FOR EACH ROW EXECUTE FUNCTION public.voltagent_memory_tell_watchers();
