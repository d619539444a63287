//! The peers that the demo and the end-to-end tests put together: transcoder, agent, Alertmanager, and a plain client.
//!
//! Everything is real and on the loopback; each peer ends when its handle goes out of scope.

mod agent;
mod alertmanager;
mod events;
mod hosts;
pub mod http;
pub mod names;
mod nginx;
mod postgres;
mod python;
mod redis;
mod scene;
mod service;
mod steady;
mod traffic;
mod transcoder;
mod webhook;

pub use agent::{Agent, AgentPorts, Ran, snowshed};
pub use alertmanager::Alertmanager;
pub use events::{Event, Events};
pub use hosts::{Hosts, enter};
pub use names::Names;
pub use nginx::Nginx;
pub use postgres::Postgres;
pub use python::{PythonServer, interpreter, script};
pub use redis::Redis;
pub use scene::Scene;
pub use service::{Language, Service, go};
pub(crate) use service::{NAMED as NODE_NAMES, compile};
pub use steady::Steady;
pub use traffic::Traffic;
pub(crate) use transcoder::is_live;
pub use transcoder::{Fault, Transcoder, TranscoderOptions};
pub use webhook::Webhook;

/// The objective that the demo and the tests hold the transcoder to: both faults break it, health keeps it.
pub const SLO: &str = r#"apiVersion: openslo/v1
kind: SLO
metadata: {name: transcode-first-byte}
spec:
  service: transcoder
  indicator:
    metadata: {name: first-byte}
    spec:
      ratioMetric:
        counter: true
        good:  {metricSource: {type: snowshed, spec: {route: "POST /api/v1/transcode", status: "< 500", first_byte: "<= 1s"}}}
        total: {metricSource: {type: snowshed, spec: {route: "POST /api/v1/transcode"}}}
  timeWindow: [{duration: 1h, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{target: 0.95}]
"#;
