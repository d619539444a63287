//! The workbench, embedded: one page, one script, one style sheet.

use super::Sources;
use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};

/// An embedded file.
#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const ASSETS: &[Asset] = &[
    Asset {
        path: "/",
        kind: "text/html; charset=utf-8",
        bytes: include_bytes!("../../../dashboards/web/dist/index.html"),
    },
    Asset {
        path: "/app.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../../dashboards/web/dist/app.js"),
    },
    Asset {
        path: "/app.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../../../dashboards/web/dist/app.css"),
    },
];

/// A route for each file, and an empty answer for the icon that browsers ask for unasked (they log a refusal as an error).
pub(super) fn router() -> Router<Sources> {
    let icon = Router::new().route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }));
    ASSETS.iter().fold(icon, |router, asset| {
        let answer = move || async move {
            ([(header::CONTENT_TYPE, asset.kind), (header::CACHE_CONTROL, "no-cache")], asset.bytes).into_response()
        };
        router.route(asset.path, get(answer))
    })
}
