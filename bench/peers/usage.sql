-- The rules of Tollgate's gate call in PostgreSQL: a key counts once, the month's allowance and top-ups cover the org, the
-- per-user limit covers the user; all of it or nothing, in one transaction of one call.

CREATE TABLE orgs (
  org        text PRIMARY KEY,
  allowance  numeric NOT NULL,
  top_up     numeric NOT NULL DEFAULT 0,
  user_limit numeric
);

-- scope is '' for the org itself, else the user. Room on each page keeps updates in place.
CREATE TABLE counters (
  org   text NOT NULL,
  scope text NOT NULL,
  month date NOT NULL,
  used  numeric NOT NULL,
  PRIMARY KEY (org, scope, month)
) WITH (fillfactor = 50);

CREATE TABLE usage_ledger (
  org      text NOT NULL,
  key      text NOT NULL,
  user_id  text NOT NULL,
  quantity numeric NOT NULL,
  at       timestamptz NOT NULL,
  PRIMARY KEY (org, key)
);

CREATE FUNCTION use_credit(p_org text, p_user text, p_quantity numeric, p_key text,
                           OUT allowed boolean, OUT reason text, OUT remaining numeric)
LANGUAGE plpgsql AS $$
DECLARE
  plan      orgs;
  seen      usage_ledger;
  now_month date := date_trunc('month', now());
  org_used  numeric;
  user_used numeric;
BEGIN
  allowed := false;
  -- The row of the org orders all decisions about it.
  SELECT * INTO plan FROM orgs WHERE org = p_org FOR UPDATE;
  IF NOT FOUND THEN reason := 'no_plan'; RETURN; END IF;

  SELECT * INTO seen FROM usage_ledger WHERE org = p_org AND key = p_key;
  IF FOUND THEN
    allowed := seen.user_id = p_user AND seen.quantity = p_quantity;
    reason := CASE WHEN allowed THEN 'replayed' ELSE 'key_reused' END;
    RETURN;
  END IF;

  SELECT coalesce(max(used) FILTER (WHERE scope = ''), 0), coalesce(max(used) FILTER (WHERE scope <> ''), 0)
    INTO org_used, user_used
    FROM counters WHERE org = p_org AND scope IN ('', p_user) AND month = now_month;

  remaining := plan.allowance + plan.top_up - org_used - p_quantity;
  IF remaining < 0 THEN reason := 'org_limit_reached'; RETURN; END IF;
  IF user_used + p_quantity > plan.user_limit THEN reason := 'user_limit_reached'; RETURN; END IF;

  INSERT INTO counters VALUES (p_org, '', now_month, p_quantity), (p_org, p_user, now_month, p_quantity)
    ON CONFLICT (org, scope, month) DO UPDATE SET used = counters.used + excluded.used;
  INSERT INTO usage_ledger VALUES (p_org, p_key, p_user, p_quantity, now());
  allowed := true;
END $$;
