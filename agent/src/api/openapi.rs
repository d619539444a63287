//! `GET /api/v1/openapi.json`: the description of this API for programs.

use axum::Json;
use serde_json::{Value, json};

/// OpenAPI 3.1.
pub(super) async fn get() -> Json<Value> {
    Json(document())
}

/// The paths that are described, with what each answers.
const LISTS: &[(&str, &str, &str)] = &[
    ("/api/v1/fds", "Fds", "Open descriptors of each target, by kind and place in the code"),
    ("/api/v1/incidents", "Incident", "Incidents, newest first"),
    ("/api/v1/slo", "Slo", "What each objective is doing"),
    ("/api/v1/breaker", "Breaker", "Breakers that have acted, or would have"),
];

fn document() -> Value {
    let mut paths = serde_json::Map::new();
    for (path, schema, summary) in LISTS {
        let items = json!({"type": "array", "items": reference(schema)});
        let list = object(&[("schema", json!({"const": 1})), ("items", items), ("next", nullable("string"))]);
        paths.insert((*path).to_owned(), operation(summary, &parameters(), &list));
    }
    let id = json!([{"name": "id", "in": "path", "required": true, "schema": {"type": "string", "format": "uuid"}}]);
    let items = json!({"type": "array", "items": reference("Fd")});
    let list = object(&[("schema", json!({"const": 1})), ("items", items), ("next", nullable("string"))]);
    let pid = json!([
        {"name": "pid", "in": "path", "required": true, "schema": {"type": "integer", "minimum": 1}},
        {"name": "limit", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}},
        {"name": "cursor", "in": "query", "schema": {"type": "string"}},
    ]);
    let summary = "Each open descriptor of a target, with its path or peer, looked up at this moment";
    paths.insert("/api/v1/fds/{pid}".into(), operation(summary, &pid, &list));
    let trace = json!([{"name": "trace_id", "in": "path", "required": true,
        "schema": {"type": "string", "pattern": "^[0-9a-fA-F]{32}$"}}]);
    let summary =
        "Spans and kernel events of one trace, across threads and child processes. 404 says how long traces are kept";
    paths.insert("/api/v1/traces/{trace_id}".into(), operation(summary, &trace, &reference("Trace")));
    paths.insert("/api/v1/incidents/{id}".into(), operation("One incident", &id, &reference("Incident")));
    paths
        .insert("/api/v1/status".into(), operation("Targets, and the tier and cost of each probe", &json!([]), &any()));
    paths.insert(
        "/api/v1/stream".into(),
        json!({"get": {"summary": "Server-sent events: `sample` once a second, `incident` at each change",
            "responses": {"200": {"description": "The stream", "content": {"text/event-stream": {"schema": {"type": "string"}}}}}}}),
    );
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Snowshed", "version": env!("CARGO_PKG_VERSION"), "license": {"name": "MIT OR Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": schemas()},
    })
}

fn schemas() -> Value {
    let text = json!({"type": "string"});
    let time = json!({"type": "string", "format": "date-time"});
    let count = json!({"type": "integer", "minimum": 0});
    let number = json!({"type": "number"});
    let list = json!({"type": "array"});
    json!({
        "Incident": object(&[
            ("id", text.clone()), ("target", any()), ("severity", json!({"enum": ["page", "ticket", "info"]})),
            ("opened_at", time.clone()), ("updated_at", time), ("closed_at", nullable("string")),
            ("end", json!({"enum": ["seen", "unknown", null]})), ("trigger", any()),
            ("times", any()), ("what_changed", json!({"type": "array", "items": {"type": "string"}, "maxItems": 12,
                "description": "What is different since the onset, or from the instance before; not causes"})), ("verdict", json!({"enum": ["named", "unknown"]})),
            ("causes", list.clone()), ("actions", list.clone()),
        ]),
        "Fds": object(&[("pid", count.clone()), ("live", count.clone()), ("orphaned", count.clone()), ("connections", nullable("object")), ("sites", list)]),
        "Fd": object(&[
            ("fd", count.clone()), ("kind", text.clone()), ("name", nullable("string")), ("deleted", json!({"type": "boolean"})),
            ("local", nullable("string")), ("peer", nullable("string")), ("state", nullable("string")),
            ("connection", nullable("object")), ("direct_descriptors", nullable("object")), ("frames", json!({"type": "array"})),
            ("age_seconds", nullable("number")), ("trace_id", nullable("string")), ("join", text.clone()),
        ]),
        "Slo": object(&[
            ("name", text.clone()), ("service", text.clone()), ("target", number),
            ("state", json!({"enum": ["insufficient_data", "ok", "violated", "burning"]})), ("ratio", nullable("number")),
            ("window_requests", count.clone()), ("violations", count.clone()), ("budget_used", nullable("number")),
        ]),
        "Breaker": object(&[
            ("pid", count), ("state", text.clone()), ("limit", nullable("integer")), ("reason", text.clone()),
            ("dry_run", json!({"type": "boolean"})), ("expires_at", nullable("string")),
        ]),
        "Trace": trace(),
        "Problem": object(&[("type", text.clone()), ("title", text.clone()), ("status", json!({"type": "integer"})), ("detail", text)]),
    })
}

/// One trace. Each kernel event has its `join`, and an `ambiguity`: how many traces could be meant; 1 is this one, 0 is
/// unknown how many.
fn trace() -> Value {
    let (text, count) = (json!({"type": "string"}), json!({"type": "integer", "minimum": 0}));
    let (time, list) = (json!({"type": "string", "format": "date-time"}), json!({"type": "array"}));
    let of = |item: Value| json!({"type": "array", "items": item});
    let frames = of(text.clone());
    let joined = |about: &str, more: &[(&str, Value)]| {
        let all = [more, &[("join", text.clone()), ("ambiguity", count.clone())]].concat();
        let mut event = object(&all);
        event["description"] = about.into();
        of(event)
    };
    object(&[
        ("schema", json!({"const": 1})),
        ("trace_id", text.clone()),
        ("first_at", time.clone()),
        ("last_at", time.clone()),
        ("processes", list.clone()),
        ("requests", list.clone()),
        ("calls", list),
        (
            "descriptors",
            joined(
                "Made for it, by process, kind and place. Found by looking: what was given back between two looks is missing",
                &[
                    ("pid", count.clone()),
                    ("kind", text.clone()),
                    ("frames", frames.clone()),
                    ("made", count.clone()),
                    ("live", count.clone()),
                    ("given_back", count.clone()),
                    ("fds", of(count.clone())),
                    ("first_made_at", time.clone()),
                    ("last_made_at", time.clone()),
                    ("seen_at", time.clone()),
                ],
            ),
        ),
        (
            "stalls",
            joined(
                "Event loops that did not come back while they worked for it",
                &[
                    ("pid", count.clone()),
                    ("tid", count.clone()),
                    ("thread", text.clone()),
                    ("since", time.clone()),
                    ("until", time.clone()),
                    ("seconds", json!({"type": "number"})),
                    ("syscall", nullable("string")),
                    ("frames", frames.clone()),
                ],
            ),
        ),
        (
            "retransmits",
            joined(
                "Segments sent again that hold its bytes, or may",
                &[
                    ("pid", nullable("integer")),
                    ("local", text.clone()),
                    ("peer", text.clone()),
                    ("segments", count.clone()),
                    ("first_at", time.clone()),
                    ("last_at", time.clone()),
                ],
            ),
        ),
        (
            "growth",
            joined(
                "Pages that came in where it was the last trace seen",
                &[
                    ("pid", count.clone()),
                    ("kind", text.clone()),
                    ("frames", frames),
                    ("bytes", count.clone()),
                    ("seen_at", time),
                ],
            ),
        ),
        ("left_out", count.clone()),
    ])
}

fn operation(summary: &str, parameters: &Value, answer: &Value) -> Value {
    let problem = json!({"description": "What was wrong", "content": {"application/problem+json": {"schema": reference("Problem")}}});
    json!({"get": {"summary": summary, "parameters": parameters, "responses": {
        "200": {"description": "OK", "content": {"application/json": {"schema": answer}}}, "default": problem}}})
}

fn parameters() -> Value {
    let query = |name: &str, schema: Value| json!({"name": name, "in": "query", "schema": schema});
    let time = json!({"type": "string", "format": "date-time"});
    json!([
        query("since", time.clone()),
        query("until", time),
        query("limit", json!({"type": "integer", "minimum": 1, "maximum": 1000, "default": 100})),
        query("cursor", json!({"type": "string"})),
    ])
}

fn object(properties: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({"type": "object", "required": required, "properties": properties})
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn nullable(kind: &str) -> Value {
    json!({"type": [kind, "null"]})
}

fn any() -> Value {
    json!({"type": "object"})
}
