-- The ledgers, images, notices and bills, and the functions by which Tollgate writes and reads them.
--
-- Ids are compared by their bytes. The system's ledger, of the catalog and of API keys, is the one of the org ''.

-- How far each ledger and its image are. Narrow, with room to update rows in place: an append changes one row of it an org.
CREATE TABLE ledgers (
    org text COLLATE "C" PRIMARY KEY,
    -- The number of the latest entry.
    version bigint NOT NULL,
    -- The version that the image is of; zero: there is none.
    image bigint NOT NULL,
    -- Whether the image lacks entries.
    behind boolean NOT NULL
) WITH (fillfactor = 60);
CREATE INDEX ledgers_behind ON ledgers (org) WHERE behind;

-- The truth: what happened, in order. The columns after `call` say for people what `body` says for Tollgate.
CREATE TABLE entries (
    org text COLLATE "C" NOT NULL,
    number bigint NOT NULL,
    -- Which call appended it; of the first entry of an append only.
    call uuid,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    meter text,
    user_id text,
    quantity numeric,
    key text,
    occurred_at timestamptz,
    body bytea NOT NULL,
    PRIMARY KEY (org, number)
);

-- Callers' keys for as long as they are remembered, by a hash of org, space and key.
CREATE TABLE keys (
    hash uuid PRIMARY KEY,
    -- The entry that the key made.
    number bigint NOT NULL,
    -- The entry that took it back.
    reversed_by bigint,
    at timestamptz NOT NULL
);
CREATE INDEX keys_at ON keys (at);

-- Records as images have them: what the entries add up to.
CREATE TABLE parts (
    kind smallint NOT NULL,
    key bytea NOT NULL,
    -- When it may be forgotten, in seconds since 1970; null: never.
    ends bigint,
    body bytea NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX parts_ends ON parts (ends) WHERE ends IS NOT NULL;

-- Notices. Who reads them numbers first those that came since: `position` is their order. `call` and `place` are the order
-- in which they were appended, as far as it is known.
CREATE TABLE notices (
    call bigint NOT NULL,
    place integer NOT NULL,
    position bigint UNIQUE,
    org text COLLATE "C" NOT NULL,
    entry bigint NOT NULL,
    index integer NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    meter text,
    user_id text,
    -- What it is about and says, for people.
    period text,
    details jsonb,
    body bytea NOT NULL,
    PRIMARY KEY (org, entry, index)
);
CREATE INDEX notices_new ON notices (call, place) WHERE position IS NULL;
CREATE SEQUENCE notice_calls;

-- One row: who holds it numbers notices.
CREATE TABLE notice_order (numbered bigint NOT NULL);
INSERT INTO notice_order VALUES (0);

-- Closed bills, for people and reports: Tollgate itself reads none of it. They never change.
CREATE TABLE bills (
    org text COLLATE "C" NOT NULL,
    -- The entry that closed it: the ledger has one of each number.
    entry bigint NOT NULL,
    -- Its number among those of the organization.
    number bigint,
    -- The first day of the month, and the month's first moment and the first after it by the organization's clocks.
    month date,
    begins_at timestamptz,
    ends_at timestamptz,
    time_zone text NOT NULL,
    closed_at timestamptz,
    name text,
    -- The last plan of the month.
    plan text,
    -- The version of the catalog by which the end of the month was rated.
    catalog bigint NOT NULL,
    currency text NOT NULL,
    total numeric NOT NULL,
    PRIMARY KEY (org, entry)
);

-- What they are made of: the amounts of a bill's lines add up to its total.
CREATE TABLE bill_lines (
    org text COLLATE "C" NOT NULL,
    entry bigint NOT NULL,
    line bigint NOT NULL,
    -- The number of the bill.
    bill bigint,
    -- `usage`, `fee` or `adjustment`.
    kind text NOT NULL,
    plan text,
    -- The month that an adjustment puts right.
    adjusted_month date,
    begins_at timestamptz,
    ends_at timestamptz,
    description text,
    meter text,
    properties jsonb,
    quantity numeric,
    included numeric,
    billable numeric,
    amount numeric NOT NULL,
    arithmetic text,
    PRIMARY KEY (org, entry, line)
);

-- Work that one process should do at a time, and who does it.
CREATE TABLE leases (
    name text PRIMARY KEY,
    holder bigint NOT NULL,
    -- Higher for each new holder.
    number bigint NOT NULL,
    ends timestamptz NOT NULL
);

-- Claims a lease, or keeps it; gives its number, or null where another holder has it.
CREATE FUNCTION claim(p_name text, p_holder bigint, p_millis bigint) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_number bigint;
BEGIN
    INSERT INTO leases AS l (name, holder, number, ends)
    VALUES (p_name, p_holder, 1, clock_timestamp() + p_millis * interval '1 millisecond')
    ON CONFLICT (name) DO UPDATE SET
        holder = excluded.holder,
        number = l.number + CASE WHEN l.holder = excluded.holder THEN 0 ELSE 1 END,
        ends = clock_timestamp() + p_millis * interval '1 millisecond'
    WHERE l.holder = excluded.holder OR l.ends <= clock_timestamp()
    RETURNING l.number INTO v_number;
    RETURN v_number;
END
$$;

-- Writes closed bills down, each a JSON object.
CREATE FUNCTION keep_bills(p_bills text[]) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO bills (org, entry, number, month, begins_at, ends_at, time_zone, closed_at, name, plan, catalog, currency, total)
    SELECT b.org, b.entry, b.number, b.month, b.begins_at, b.ends_at, b.time_zone, b.closed_at, b.name, b.plan, b.catalog,
        b.currency, b.total
    FROM unnest(p_bills) AS t (bill), jsonb_to_record(t.bill::jsonb) AS b (
        org text, entry bigint, number bigint, month date, begins_at timestamptz, ends_at timestamptz, time_zone text,
        closed_at timestamptz, name text, plan text, catalog bigint, currency text, total numeric
    );
    INSERT INTO bill_lines (org, entry, line, bill, kind, plan, adjusted_month, begins_at, ends_at, description, meter, properties,
        quantity, included, billable, amount, arithmetic)
    SELECT b.org, b.entry, l.line, b.number, l.kind, l.plan, l.adjusted_month, l.begins_at, l.ends_at, l.description, l.meter, l.properties,
        l.quantity, l.included, l.billable, l.amount, l.arithmetic
    FROM unnest(p_bills) AS t (bill), jsonb_to_record(t.bill::jsonb) AS b (org text, entry bigint, number bigint, lines jsonb),
        jsonb_to_recordset(b.lines) AS l (
            line bigint, kind text, plan text, adjusted_month date, begins_at timestamptz, ends_at timestamptz, description text,
            meter text, properties jsonb, quantity numeric, included numeric, billable numeric, amount numeric, arithmetic text
        );
END
$$;

-- Appends entries to ledgers, each of which must be at the version that is expected; answers of each whether it was made.
--
-- Asked again with the same call it answers the same, however often, and makes nothing twice: who lost the answer asks again.
-- The ledgers come sorted, and no two calls wait for one another, for they lock rows in that order. Nothing is made
-- of a ledger where one of the keys that the call takes for new is known.
CREATE FUNCTION append(
    p_call uuid,
    p_orgs text[], p_expected bigint[], p_versions bigint[],
    p_places integer[], p_entry_orgs text[], p_numbers bigint[], p_calls uuid[], p_ats timestamptz[], p_kinds text[], p_meters text[],
    p_users text[], p_quantities text[], p_keys text[], p_occurred timestamptz[], p_bodies bytea[],
    p_key_places integer[], p_key_hashes uuid[], p_key_numbers bigint[], p_key_reversals bigint[], p_key_ats timestamptz[],
    p_reversal_places integer[], p_reversal_hashes uuid[], p_reversals bigint[],
    p_notice_places integer[], p_notice_orders bigint[], p_notice_orgs text[], p_notice_entries bigint[], p_notice_indexes integer[],
    p_notice_ats timestamptz[], p_notice_kinds text[], p_notice_meters text[], p_notice_users text[], p_notice_periods text[],
    p_notice_details text[], p_notice_bodies bytea[],
    p_bill_places integer[], p_bills text[],
    p_new_places integer[], p_new_hashes uuid[]
) RETURNS boolean[]
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    -- What this call makes, and what is answered: that, and what the same call made before.
    v_made boolean[] := array_fill(false, ARRAY[cardinality(p_orgs)]);
    v_done boolean[];
    -- Ledgers where a key is known that was taken for new.
    v_known boolean[] := v_made;
    v_count integer := 0;
    v_place integer;
BEGIN
    -- What is answered is durable.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    IF 0 = ANY (p_expected) THEN
        INSERT INTO ledgers (org, version, image, behind)
        SELECT a.org, 0, 0, false FROM unnest(p_orgs, p_expected) AS a (org, expected) WHERE a.expected = 0
        ON CONFLICT (org) DO NOTHING;
    END IF;
    PERFORM 1 FROM ledgers WHERE org = ANY (p_orgs) ORDER BY org FOR NO KEY UPDATE;
    -- Keys are written together with entries, and nobody else appends to these ledgers from here on.
    IF cardinality(p_new_hashes) > 0 THEN
        FOR v_place IN
            SELECT n.place FROM unnest(p_new_places, p_new_hashes) AS n (place, hash) JOIN keys AS k ON k.hash = n.hash
        LOOP
            v_known[v_place] := true;
        END LOOP;
    END IF;
    FOR v_place IN
        UPDATE ledgers AS l SET version = a.version, behind = true
        FROM unnest(p_orgs, p_expected, p_versions) WITH ORDINALITY AS a (org, expected, version, place)
        WHERE l.org = a.org AND l.version = a.expected AND NOT v_known[a.place]
        RETURNING a.place
    LOOP
        v_made[v_place] := true;
        v_count := v_count + 1;
    END LOOP;
    v_done := v_made;
    IF v_count < cardinality(p_orgs) THEN
        FOR v_place IN
            SELECT a.place FROM unnest(p_orgs, p_expected) WITH ORDINALITY AS a (org, expected, place)
            JOIN entries AS e ON e.org = a.org AND e.number = a.expected + 1
            WHERE e.call = p_call
        LOOP
            v_done[v_place] := true;
        END LOOP;
        IF v_count = 0 THEN
            RETURN v_done;
        END IF;
    END IF;
    INSERT INTO entries (org, number, call, at, kind, meter, user_id, quantity, key, occurred_at, body)
    SELECT e.org, e.number, e.call, e.at, e.kind, e.meter, e.user_id, e.quantity::numeric, e.key, e.occurred_at, e.body
    FROM unnest(p_places, p_entry_orgs, p_numbers, p_calls, p_ats, p_kinds, p_meters, p_users, p_quantities, p_keys,
        p_occurred, p_bodies) AS e (place, org, number, call, at, kind, meter, user_id, quantity, key, occurred_at, body)
    WHERE v_made[e.place];
    IF cardinality(p_key_hashes) > 0 THEN
        INSERT INTO keys AS k (hash, number, reversed_by, at)
        SELECT n.hash, n.number, n.reversed_by, n.at
        FROM unnest(p_key_places, p_key_hashes, p_key_numbers, p_key_reversals, p_key_ats)
            AS n (place, hash, number, reversed_by, at)
        WHERE v_made[n.place]
        ON CONFLICT (hash) DO UPDATE SET number = excluded.number, reversed_by = excluded.reversed_by, at = excluded.at;
    END IF;
    IF cardinality(p_reversal_hashes) > 0 THEN
        UPDATE keys AS k SET reversed_by = r.number
        FROM unnest(p_reversal_places, p_reversal_hashes, p_reversals) AS r (place, hash, number)
        WHERE k.hash = r.hash AND v_made[r.place];
    END IF;
    IF cardinality(p_notice_places) > 0 THEN
        INSERT INTO notices (call, place, org, entry, index, at, kind, meter, user_id, period, details, body)
        SELECT coalesce(n.call, c.call), n.ordinal, n.org, n.entry, n.index, n.at, n.kind, n.meter, n.user_id, n.period,
            n.details::jsonb, n.body
        FROM (SELECT nextval('notice_calls') AS call) AS c,
            unnest(p_notice_places, p_notice_orders, p_notice_orgs, p_notice_entries, p_notice_indexes, p_notice_ats, p_notice_kinds,
                p_notice_meters, p_notice_users, p_notice_periods, p_notice_details, p_notice_bodies)
            WITH ORDINALITY AS n (place, call, org, entry, index, at, kind, meter, user_id, period, details, body, ordinal)
        WHERE v_made[n.place];
    END IF;
    IF cardinality(p_bill_places) > 0 THEN
        PERFORM keep_bills(ARRAY(
            SELECT n.bill FROM unnest(p_bill_places, p_bills) AS n (place, bill) WHERE v_made[n.place]
        ));
    END IF;
    RETURN v_done;
END
$$;

-- The images and the entries since of some ledgers, all of one moment: heads, then entries.
CREATE FUNCTION open(p_orgs text[], p_kinds smallint[], p_keys bytea[])
RETURNS TABLE (place bigint, head boolean, number bigint, body bytea)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT a.place, true, l.image, p.body
    FROM unnest(p_orgs, p_kinds, p_keys) WITH ORDINALITY AS a (org, kind, key, place)
    JOIN ledgers AS l ON l.org = a.org
    JOIN parts AS p ON p.kind = a.kind AND p.key = a.key
    WHERE l.image > 0
    UNION ALL
    SELECT a.place, false, e.number, e.body
    FROM unnest(p_orgs) WITH ORDINALITY AS a (org, place)
    JOIN ledgers AS l ON l.org = a.org
    JOIN entries AS e ON e.org = l.org AND e.number > l.image
    WHERE l.behind;
END
$$;

-- The entries of ledgers behind versions.
CREATE FUNCTION since(p_orgs text[], p_after bigint[])
RETURNS TABLE (place bigint, body bytea)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT a.place, e.body
    FROM unnest(p_orgs, p_after) WITH ORDINALITY AS a (org, after, place)
    JOIN entries AS e ON e.org = a.org AND e.number > a.after;
END
$$;

-- The versions of ledgers.
CREATE FUNCTION versions(p_orgs text[])
RETURNS TABLE (place bigint, version bigint)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT a.place, l.version FROM unnest(p_orgs) WITH ORDINALITY AS a (org, place)
    JOIN ledgers AS l ON l.org = a.org;
END
$$;

-- Parts of images, and entries, of those of some ledgers whose images are of these versions: first the places of these, and
-- then what there is. Each part and entry says, counted from one, of which ledger it is.
CREATE FUNCTION load(
    p_orgs text[], p_images bigint[],
    p_part_orgs integer[], p_kinds smallint[], p_keys bytea[], p_entry_orgs integer[], p_numbers bigint[]
)
RETURNS TABLE (place bigint, entry boolean, body bytea)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_current boolean[] := array_fill(false, ARRAY[cardinality(p_orgs)]);
BEGIN
    FOR place IN
        SELECT a.place FROM unnest(p_orgs, p_images) WITH ORDINALITY AS a (org, image, place)
        LEFT JOIN ledgers AS l ON l.org = a.org
        WHERE a.image = coalesce(l.image, 0)
    LOOP
        v_current[place] := true;
        RETURN NEXT;
    END LOOP;
    RETURN QUERY
    SELECT a.place, false, p.body
    FROM unnest(p_part_orgs, p_kinds, p_keys) WITH ORDINALITY AS a (ledger, kind, key, place)
    JOIN parts AS p ON p.kind = a.kind AND p.key = a.key
    WHERE v_current[a.ledger]
    UNION ALL
    SELECT a.place, true, e.body
    FROM unnest(p_entry_orgs, p_numbers) WITH ORDINALITY AS a (ledger, number, place)
    JOIN entries AS e ON e.org = p_orgs[a.ledger] AND e.number = a.number
    WHERE v_current[a.ledger];
END
$$;

-- The entries that callers' keys made, and those that took them back.
CREATE FUNCTION find(p_orgs text[], p_hashes uuid[])
RETURNS TABLE (place bigint, reversed_by bigint, body bytea)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT a.place, k.reversed_by, e.body
    FROM unnest(p_orgs, p_hashes) WITH ORDINALITY AS a (org, hash, place)
    JOIN keys AS k ON k.hash = a.hash
    JOIN entries AS e ON e.org = a.org AND e.number = k.number;
END
$$;

-- Keeps images that are newer than those there are. The ledgers come sorted. A part without a body is removed.
CREATE FUNCTION checkpoint(
    p_orgs text[], p_versions bigint[],
    p_places integer[], p_kinds smallint[], p_keys bytea[], p_ends bigint[], p_bodies bytea[]
) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_newer boolean[] := array_fill(false, ARRAY[cardinality(p_orgs)]);
    v_place integer;
BEGIN
    PERFORM 1 FROM ledgers WHERE org = ANY (p_orgs) ORDER BY org FOR NO KEY UPDATE;
    FOR v_place IN
        UPDATE ledgers AS l SET image = a.version, behind = l.version > a.version
        FROM unnest(p_orgs, p_versions) WITH ORDINALITY AS a (org, version, place)
        WHERE l.org = a.org AND l.image < a.version AND l.version >= a.version
        RETURNING a.place
    LOOP
        v_newer[v_place] := true;
    END LOOP;
    DELETE FROM parts AS p
    USING unnest(p_places, p_kinds, p_keys, p_bodies) AS a (place, kind, key, body)
    WHERE p.kind = a.kind AND p.key = a.key AND a.body IS NULL AND v_newer[a.place];
    INSERT INTO parts AS p (kind, key, ends, body)
    SELECT a.kind, a.key, a.ends, a.body
    FROM unnest(p_places, p_kinds, p_keys, p_ends, p_bodies) AS a (place, kind, key, ends, body)
    WHERE a.body IS NOT NULL AND v_newer[a.place]
    ON CONFLICT (kind, key) DO UPDATE SET ends = excluded.ends, body = excluded.body;
END
$$;

-- Gives the notices that came since their positions, behind all others; says how many those were.
--
-- Only what is committed is numbered, and one at a time numbers: whatever is committed later comes behind.
CREATE FUNCTION number_notices() RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_numbered bigint;
    v_count bigint;
BEGIN
    SELECT numbered INTO v_numbered FROM notice_order FOR UPDATE;
    UPDATE notices AS n SET position = v_numbered + o.ordinal
    FROM (
        SELECT org, entry, index, row_number() OVER (ORDER BY call, place, org, entry, index) AS ordinal
        FROM notices WHERE position IS NULL
    ) AS o
    WHERE n.org = o.org AND n.entry = o.entry AND n.index = o.index;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    UPDATE notice_order SET numbered = v_numbered + v_count;
    RETURN v_count;
END
$$;

-- Forgets some keys that were seen before a time, and some parts that ended; says how many those were.
CREATE FUNCTION sweep(p_keys_before timestamptz, p_parts_before bigint, p_limit integer) RETURNS bigint
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_keys bigint;
    v_parts bigint;
BEGIN
    DELETE FROM keys WHERE hash = ANY (ARRAY(
        SELECT hash FROM keys WHERE at < p_keys_before ORDER BY at LIMIT p_limit FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS v_keys = ROW_COUNT;
    DELETE FROM parts WHERE (kind, key) IN (
        SELECT kind, key FROM parts WHERE ends < p_parts_before ORDER BY ends LIMIT p_limit FOR UPDATE SKIP LOCKED
    );
    GET DIAGNOSTICS v_parts = ROW_COUNT;
    RETURN greatest(v_keys, v_parts);
END
$$;

-- Notices behind a position, in order; those that came since the last look are numbered first.
CREATE FUNCTION notices_after(p_position bigint, p_limit bigint)
RETURNS TABLE (n_position bigint, n_index integer, n_body bytea)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM notices WHERE position IS NULL) THEN
        PERFORM number_notices();
    END IF;
    RETURN QUERY
    SELECT n.position, n.index, n.body FROM notices AS n
    WHERE n.position > p_position ORDER BY n.position LIMIT p_limit;
END
$$;

-- Which life of the Redis before this database is the current one, for each part of the orgs; see the store `redis+postgres`.
-- What was appended in a former life and did not come here is lost.
CREATE TABLE incarnations (
    shard smallint PRIMARY KEY,
    number bigint NOT NULL,
    -- Who began it.
    maker uuid
);
INSERT INTO incarnations (shard, number) SELECT shard, 0 FROM generate_series(0, 127) AS shard;

-- Whether these incarnations are the current ones; they stay so until the end of the transaction.
CREATE FUNCTION hold(p_shards smallint[], p_numbers bigint[]) RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
DECLARE
    v_count bigint;
BEGIN
    SELECT count(*) INTO v_count FROM (
        SELECT 1 FROM incarnations AS i
        JOIN unnest(p_shards, p_numbers) AS a (shard, number) ON a.shard = i.shard AND a.number = i.number
        ORDER BY i.shard FOR SHARE OF i
    ) AS held;
    RETURN v_count = cardinality(p_shards);
END
$$;

-- Begins the next incarnations of some shards after these, and says which are the current ones, and which of them are this
-- maker's. It waits for what holds the former ones; nothing that holds them comes after it.
CREATE FUNCTION renew(p_shards smallint[], p_numbers bigint[], p_maker uuid)
RETURNS TABLE (r_shard smallint, r_number bigint, r_mine boolean)
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM 1 FROM incarnations WHERE shard = ANY (p_shards) ORDER BY shard FOR UPDATE;
    UPDATE incarnations AS i SET number = i.number + 1, maker = p_maker
    FROM unnest(p_shards, p_numbers) AS a (shard, number)
    WHERE i.shard = a.shard AND i.number = a.number;
    RETURN QUERY
    SELECT shard, number, coalesce(maker = p_maker, false) FROM incarnations WHERE shard = ANY (p_shards);
END
$$;

-- The versions and latest entries of ledgers whose shards are of these incarnations, all of one moment; others have no row.
CREATE FUNCTION versions_held(p_orgs text[], p_shards smallint[], p_numbers bigint[])
RETURNS TABLE (place bigint, version bigint, body bytea)
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT a.place, coalesce(l.version, 0), e.body
    FROM unnest(p_orgs, p_shards, p_numbers) WITH ORDINALITY AS a (org, shard, number, place)
    JOIN incarnations AS i ON i.shard = a.shard AND i.number = a.number
    LEFT JOIN ledgers AS l ON l.org = a.org
    LEFT JOIN entries AS e ON e.org = l.org AND e.number = l.version;
END
$$;
