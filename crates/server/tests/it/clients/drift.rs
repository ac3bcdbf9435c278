//! The client libraries of `clients/` against the document, so that none lacks what the server learns: in each, the table of
//! operations is made of the document, and the types that are written by hand have every field of its schemas.
//!
//! `TOLLGATE_WRITE_CLIENTS=1 cargo test -p tollgate-server --test it clients::drift` writes the tables. A field is added by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// When set, the tables are written.
const WRITE: &str = "TOLLGATE_WRITE_CLIENTS";

/// Native operations that are in no table, and why.
const LEFT_OUT: [(&str, &str); 1] = [("stream", "events that never end are not an answer")];

const MADE: &str = "Every native operation of the API, made of openapi.json by a test; not written by hand.";

/// A route under its id.
struct Operation {
    id: String,
    method: String,
    path: String,
    query: Vec<String>,
}

/// A file, and how the table is written in its language.
type Table = (&'static str, fn(&[Operation]) -> String);

const TABLES: [Table; 4] = [
    ("go/operations.go", go),
    ("python/src/tollgate/_operations.py", python),
    ("rust/src/operations.rs", rust),
    ("typescript/src/operations.ts", typescript),
];

fn library(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients").join(file)
}

fn document() -> Value {
    serde_json::from_str(&tollgate_server::openapi_json()).expect("the document is JSON")
}

/// The native operations in the order of their ids. Compatible APIs have clients of their own.
fn operations() -> Vec<Operation> {
    let document = document();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let is_compatible = path.starts_with("/v1/billing/");
        if is_compatible || !(path.starts_with("/v1/") || path == "/health" || path == "/ready") {
            continue;
        }
        for (method, operation) in item.as_object().expect("methods") {
            let Some(id) = operation["operationId"].as_str() else { continue };
            if LEFT_OUT.iter().any(|(left_out, _)| *left_out == id) {
                continue;
            }
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let query = parameters.filter(|parameter| parameter["in"] == "query");
            let query =
                query.map(|parameter| parameter["name"].as_str().expect("a name").to_owned()).collect();
            let (id, method) = (id.to_owned(), method.to_uppercase());
            found.push(Operation { id, method, path: path.clone(), query });
        }
    }
    found.sort_by(|left, right| left.id.cmp(&right.id));
    assert!(found.len() > 50, "only {} operations", found.len());
    found
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

/// `list_holds` as `ListHolds`.
fn camel(id: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    id.split('_').filter(|word| !word.is_empty()).map(capital).collect()
}

fn python(operations: &[Operation]) -> String {
    let mut text = format!("\"\"\"{MADE}\"\"\"\n\nfrom typing import Final\n\n");
    text += "#: By id: method, path, and the parameters of the query.\n";
    text += "OPERATIONS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {\n";
    for Operation { id, method, path, query } in operations {
        let comma = if query.len() == 1 { "," } else { "" };
        let _ = writeln!(text, "    {id:?}: ({method:?}, {path:?}, ({}{comma})),", quoted(query));
    }
    text + "}\n"
}

fn go(operations: &[Operation]) -> String {
    let mut text = format!(
        "// Code generated from openapi.json. DO NOT EDIT.\n\npackage tollgate\n\n// {MADE}\nvar (\n"
    );
    let width = operations.iter().map(|operation| camel(&operation.id).len()).max().unwrap_or(0);
    for Operation { id, method, path, query } in operations {
        let query =
            if query.is_empty() { "nil".to_owned() } else { format!("[]string{{{}}}", quoted(query)) };
        let name = camel(id);
        let _ = writeln!(text, "\tOp{name:width$} = Operation{{{id:?}, {method:?}, {path:?}, {query}}}");
    }
    text + ")\n"
}

fn typescript(operations: &[Operation]) -> String {
    let mut text = format!("// {MADE}\n\n/** By id: method, path, and the parameters of the query. */\n");
    text += "export const operations = {\n";
    for Operation { id, method, path, query } in operations {
        let query = quoted(query);
        let _ = writeln!(text, "  {id}: {{ method: {method:?}, path: {path:?}, query: [{query}] }},");
    }
    text + "} as const;\n"
}

fn rust(operations: &[Operation]) -> String {
    let mut text = format!("//! {MADE}\n\nuse crate::Operation;\n");
    for Operation { id, method, path, query } in operations {
        let (name, query) = (id.to_uppercase(), quoted(query));
        let _ = write!(
            text,
            "\n/// `{method} {path}`\n#[rustfmt::skip]\npub const {name}: Operation =\n    \
             Operation {{ method: Method::{method}, path: {path:?}, query: &[{query}] }};\n"
        );
    }
    text.replace("use crate::Operation;\n", "use http::Method;\n\nuse crate::Operation;\n")
}

#[test]
fn every_client_has_every_operation() {
    let operations = operations();
    for (file, made) in TABLES {
        let (path, made) = (library(file), made(&operations));
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(&path, &made).expect("written");
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let differs = kept.lines().zip(made.lines()).find(|(kept, made)| kept != made);
        assert!(
            kept == made,
            "clients/{file} is not what the document says: {WRITE}=1 writes it; {differs:?}"
        );
    }
}

/// A type or a call of a client: where it is written, and the schema whose fields it has.
struct Declared {
    file: &'static str,
    begins: &'static str,
    ends: &'static str,
    schema: &'static str,
    /// Fields that it need not have, each for a reason.
    without: &'static [&'static str],
}

/// Members of a problem that only a denial, or one call, has.
const NO_DENIAL: &[&str] = &["allowed", "conflicts", "hold", "limit", "quantity", "remaining", "type"];

/// Members of a problem that a denial has in its whole answer only.
const IN_THE_PROBLEM: &[&str] = &["allowed", "conflicts", "field", "hold", "request_id", "title", "type"];

const fn declared(
    file: &'static str,
    begins: &'static str,
    ends: &'static str,
    schema: &'static str,
    without: &'static [&'static str],
) -> Declared {
    Declared { file, begins, ends, schema, without }
}

const GO: &str = "go/tollgate.go";
const PYTHON: &str = "python/src/tollgate/_protocol.py";
const RUST: &str = "rust/src/wire.rs";
const RUST_HOLD: &str = "rust/src/hold.rs";
const TYPESCRIPT: &str = "typescript/src/protocol.ts";
const TYPESCRIPT_HOLD: &str = "typescript/src/hold.ts";

const DECLARED: &[Declared] = &[
    declared(GO, "type Usage struct", "\n}", "UsageRequest", &[]),
    declared(GO, "type ModelCall struct", "\n}", "CallRequest", &[]),
    declared(PYTHON, "class ModelCall(", "\n\n\n", "CallRequest", &[]),
    declared(RUST, "pub struct ModelCall ", "\n}", "CallRequest", &[]),
    declared(TYPESCRIPT, "interface ModelCall ", "\n}", "CallRequest", &[]),
    declared(GO, "type Decision struct", "\n}", "UsageReply", &[]),
    declared(GO, "type Decision struct", "\n}", "Problem", IN_THE_PROBLEM),
    declared(GO, "type Limit struct", "\n}", "LimitDetail", &[]),
    declared(GO, "type APIError struct", "\n}", "Problem", NO_DENIAL),
    declared(GO, "type TopUp struct", "\n}", "TopUpRequest", &[]),
    declared(GO, "type Recorded struct", "\n}", "BatchReply", &[]),
    declared(GO, "type Recorded struct", "\n}", "RecordResult", &[]),
    declared(PYTHON, "def usage(", "return", "UsageRequest", &[]),
    declared(PYTHON, "class Allowed:", "\nclass ", "UsageReply", &[]),
    declared(PYTHON, "class Denied:", "\nDecision", "Problem", IN_THE_PROBLEM),
    declared(PYTHON, "class Limit:", "\nclass ", "LimitDetail", &[]),
    // It has the whole problem as a dictionary.
    declared(PYTHON, "class ApiError(", "\nclass ", "Problem", NO_DENIAL),
    declared(PYTHON, "def credit(", "return", "TopUpRequest", &[]),
    declared(RUST, "pub struct Usage ", "\n}", "UsageRequest", &[]),
    // That it is allowed is its type.
    declared(RUST, "pub struct Allowed ", "\n}", "UsageReply", &["allowed"]),
    declared(RUST, "pub struct Denied ", "\n}", "Problem", IN_THE_PROBLEM),
    declared(RUST, "pub struct Limit ", "\n}", "LimitDetail", &[]),
    declared(RUST, "pub struct Batch ", "\n}", "BatchReply", &[]),
    declared(RUST, "pub struct RecordResult ", "\n}", "RecordResult", &[]),
    declared(RUST, "pub struct TopUp ", "\n}", "TopUpRequest", &[]),
    declared("rust/src/error.rs", "pub struct ApiError ", "\n}", "Problem", NO_DENIAL),
    declared("go/hold.go", "type Hold struct", "\n}", "HoldRequest", &[]),
    declared("go/hold.go", "type HoldItem struct", "\n}", "HoldItem", &[]),
    declared(PYTHON, "def reservation(", "return", "HoldRequest", &[]),
    declared(
        "typescript/src/client.ts",
        "async hold(",
        "\n  }",
        "HoldRequest",
        &["user", "path", "within", "properties"],
    ),
    declared(
        TYPESCRIPT_HOLD,
        "interface HoldOptions ",
        "\n}",
        "HoldRequest",
        &["org", "meter", "quantity", "expires_in", "on_expiry", "call"],
    ),
    declared(TYPESCRIPT, "interface HoldItem ", "\n}", "HoldItem", &[]),
    declared(TYPESCRIPT_HOLD, "interface HoldReply ", "\n}", "HoldReply", &[]),
    declared(TYPESCRIPT_HOLD, "interface CaptureReply ", "\n}", "CaptureReply", &[]),
    declared(RUST_HOLD, "pub struct Hold ", "\n}", "HoldRequest", &[]),
    declared(RUST_HOLD, "pub struct HoldItem ", "\n}", "HoldItem", &[]),
    declared(RUST_HOLD, "pub struct Captured ", "\n}", "CaptureReply", &[]),
    declared("typescript/src/batcher.ts", "interface UsageRecord ", "\n}", "UsageRequest", &[]),
    declared(TYPESCRIPT, "interface Allowed ", "\n}", "UsageReply", &[]),
    declared(TYPESCRIPT, "interface Problem ", "\n}", "Problem", &[]),
    declared(TYPESCRIPT, "interface Limit ", "\n}", "LimitDetail", &[]),
    declared("typescript/src/client.ts", "interface BatchAnswer ", "\n}", "BatchReply", &[]),
    declared("typescript/src/client.ts", "interface BatchAnswer ", "\n}", "RecordResult", &[]),
    declared(
        "typescript/src/client.ts",
        "topUp(",
        "\n  }",
        "TopUpRequest",
        &["priority", "reason", "metadata"],
    ),
    declared(
        "typescript/src/client.ts",
        "interface TopUpOptions ",
        "\n}",
        "TopUpRequest",
        &["meter", "amount", "effective_at", "expires_at"],
    ),
];

impl Declared {
    /// The fields of the schema whose names are nowhere in it.
    fn lacks(&self, document: &Value) -> Vec<String> {
        let Self { file, begins, ends, schema, without } = *self;
        let text = std::fs::read_to_string(library(file)).expect("a source");
        let (_, rest) = text.split_once(begins).unwrap_or_else(|| panic!("clients/{file} has no {begins:?}"));
        let (inside, _) =
            rest.split_once(ends).unwrap_or_else(|| panic!("clients/{file}: {begins} has no end"));
        let words: BTreeSet<&str> =
            inside.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
        let fields = document["components"]["schemas"][schema]["properties"].as_object();
        let fields = fields.unwrap_or_else(|| panic!("the document has no {schema}")).keys();
        let needed =
            fields.filter(|field| !without.contains(&field.as_str()) && !words.contains(field.as_str()));
        needed.map(|field| format!("clients/{file}: {begins}… lacks `{field}` of {schema}")).collect()
    }
}

#[test]
fn every_type_of_a_client_has_every_field() {
    let document = document();
    let lacks: Vec<String> = DECLARED.iter().flat_map(|declared| declared.lacks(&document)).collect();
    assert!(lacks.is_empty(), "{}", lacks.join("\n"));
}
