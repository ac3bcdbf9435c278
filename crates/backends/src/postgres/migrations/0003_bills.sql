-- Closed bills and their lines as columns, and what notices say: for people and reports. Tollgate itself reads none of it.

-- Closed bills: they never change.
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

-- What a notice is about and says; null of those that an older version wrote.
ALTER TABLE notices ADD COLUMN period text, ADD COLUMN details jsonb;

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

-- As the function of the same name before it, which stays for servers of the version before while servers are upgraded one at a
-- time: with bills, and with what notices say.
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
    p_bill_places integer[], p_bills text[]
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
    FOR v_place IN
        UPDATE ledgers AS l SET version = a.version, behind = true
        FROM unnest(p_orgs, p_expected, p_versions) WITH ORDINALITY AS a (org, expected, version, place)
        WHERE l.org = a.org AND l.version = a.expected
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
