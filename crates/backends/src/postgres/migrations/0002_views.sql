-- Views for analysts, in SQL alone: Tollgate itself reads none of them. Times are those of UTC.

-- The organizations, and how much is in their ledgers.
CREATE VIEW orgs AS
SELECT org, version AS entries FROM ledgers WHERE org <> '';

-- What was used, a row for each time that it was counted, and one with the quantity below zero where it was taken back.
CREATE VIEW usage_records AS
SELECT
    org, number AS entry, kind, meter, user_id, key,
    CASE kind WHEN 'reversed' THEN -quantity ELSE quantity END AS quantity,
    coalesce(occurred_at, at) AS used_at,
    at AS recorded_at
FROM entries
WHERE kind IN ('used', 'reversed');

-- What was used in a month, by organization, meter and user.
CREATE VIEW counters AS
SELECT
    org, meter, user_id, date_trunc('month', used_at AT TIME ZONE 'UTC')::date AS month,
    sum(quantity) AS quantity, count(*) FILTER (WHERE kind = 'used') AS usages
FROM usage_records
GROUP BY org, meter, user_id, date_trunc('month', used_at AT TIME ZONE 'UTC')::date;

-- Credit that was added, and that was taken back of it, with the quantity below zero.
CREATE VIEW grants AS
SELECT
    org, number AS entry, kind, meter, key,
    CASE kind WHEN 'top_up_voided' THEN -quantity ELSE quantity END AS quantity,
    at AS recorded_at
FROM entries
WHERE kind IN ('topped_up', 'top_up_voided');
