"""What schemathesis cannot know of Tollgate. `cargo xtask fuzz-http` loads this file."""

import schemathesis
from schemathesis.specs.openapi.checks import negative_data_rejection


@schemathesis.serializer("application/toml")
def toml(_, value):
    """A catalog is sent as the text it is."""
    text = value if isinstance(value, str) else str(value)
    return {"data": text.encode("utf-8", "surrogatepass")}


# The refusals that no schema can foresee, each with its reason. Schemathesis' own check, `positive_data_acceptance`,
# knows statuses only; this one also knows the code and the field, so that any other refusal of a request that is valid
# by the document is a finding: the document says too little, or the server refuses too much.
BEYOND_THE_SCHEMA = {
    # What the request names is not there, or its state does not allow it.
    ("unknown_org", "org"),
    ("unknown_meter", "meter"),
    ("unknown_plan", "plan"),
    ("unknown_key", "key"),
    ("unknown_entry", "entry"),
    ("unknown_version", "version"),
    ("unknown_api_key", "id"),
    ("no_plan", None),
    ("trial_ended", None),
    ("trial_used", "plan"),
    ("org_limit_reached", None),
    ("user_limit_reached", None),
    ("user_required", "user"),
    ("key_reused", "key"),
    ("key_reversed", "key"),
    ("plan_retired", "plan"),
    ("plan_in_use", None),
    ("too_many", None),
    ("month_runs", "month"),
    ("unknown_bill", "month"),
    ("unrated", None),
    # A text is a catalog by its grammar and by what it says.
    ("invalid_catalog", None),
    # A cursor is what the same list gave.
    ("invalid_cursor", "cursor"),
    # "1.0e-11" and "0" are decimals, but finer or smaller than can be counted.
    ("invalid_field", "quantity"),
    ("invalid_field", "amount"),
    # Times must be near now, or after another time.
    ("invalid_field", "time"),
    ("invalid_field", "expires_at"),
    ("invalid_field", "effective_at"),
    # The names of the IANA database.
    ("invalid_field", "time_zone"),
    # A user needs the scope `user`.
    ("invalid_field", "user"),
    ("invalid_parameter", "user"),
    # Days of the calendar, in the form that `window` asks for, one after the other.
    ("invalid_parameter", "from"),
    ("invalid_parameter", "to"),
    # One of the body and the header must have it.
    ("missing_field", "key"),
}


@schemathesis.check
def refused_for_a_reason_beyond_the_schema(ctx, response, case):
    """A request that is valid by the document is refused only for what the document cannot say."""
    if case.meta is None or not case.meta.generation.mode.is_positive or response.status_code < 400:
        return
    problem = response.json()
    refusal = (problem["code"], problem.get("field"))
    assert refusal in BEYOND_THE_SCHEMA, f"valid by the document, yet refused: {refusal}: {problem['detail']}"


@schemathesis.check
def what_is_wrong_is_refused(ctx, response, case):
    """Schemathesis' own check, but for a batch: of that, wrong records are rejected one by one."""
    if case.path == "/v1/usage/batch" and response.status_code == 200:
        if case.meta is not None and case.meta.generation.mode.is_negative:
            assert response.json()["rejected"] > 0, "nothing of a batch that is not valid was rejected"
        return None
    return negative_data_rejection(ctx, response, case)


@schemathesis.check
def every_problem_names_its_request(ctx, response, case):
    """The id of the request is in every problem, as in the header."""
    if response.status_code >= 400 and case.path != "/ready":
        problem = response.json()
        header = response.headers["x-request-id"][0]
        assert problem["request_id"] == header, f"{problem['request_id']} instead of {header}"
        assert problem["status"] == response.status_code, f"the body says {problem['status']}"
