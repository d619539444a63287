//! `GET /faults` and `GET|PUT|DELETE /faults/{name}`, only with `--allow-fault-control`.

use super::problem::Problem;
use crate::faults::{self, Dose, Fault};
use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use serde_json::{Value, json};

/// The longest value, in bytes.
pub(super) const VALUE_BYTES: usize = 64;

fn state(fault: &dyn Fault) -> Value {
    let value = faults::value(fault);
    json!({
        "name": fault.name(),
        "active": value.is_some(),
        "value": value,
        "default": fault.default_value(),
        "cause": fault.cause(),
        "description": fault.describe(),
    })
}

/// All of them.
pub(super) async fn list() -> Json<Value> {
    let items: Vec<Value> = faults::ALL.into_iter().map(state).collect();
    Json(json!({"schema": 1, "items": items, "next": null}))
}

/// Whether it is on.
pub(super) async fn get(Path(name): Path<String>) -> Result<Json<Value>, Problem> {
    Ok(Json(state(faults::find(&name)?)))
}

/// Switches it on; the body is the value, empty for the default.
pub(super) async fn put(Path(name): Path<String>, value: String) -> Result<Json<Value>, Problem> {
    let fault = faults::find(&name)?;
    Dose::new(fault, value.trim())?.give();
    Ok(Json(state(fault)))
}

/// Switches it off and gives back what it holds.
pub(super) async fn delete(Path(name): Path<String>) -> Result<StatusCode, Problem> {
    faults::cure(faults::find(&name)?);
    Ok(StatusCode::NO_CONTENT)
}
