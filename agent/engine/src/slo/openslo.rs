//! The shape of an OpenSLO v1 document, as far as this version understands it.
//!
//! Invariant: what it does not understand is refused by name, never skipped, because an ignored field
//! would change what is promised. Fields that only describe are read and dropped.

use serde::{Deserialize, de::IgnoredAny};
use serde_saphyr::Spanned;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Document {
    pub(super) api_version: Spanned<String>,
    pub(super) kind: Spanned<String>,
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metadata {
    pub(super) name: Spanned<String>,
    #[serde(rename = "displayName")]
    _display_name: Option<IgnoredAny>,
    #[serde(rename = "labels")]
    _labels: Option<IgnoredAny>,
    #[serde(rename = "annotations")]
    _annotations: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Spec {
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    pub(super) service: Spanned<String>,
    pub(super) indicator: Indicator,
    pub(super) time_window: Spanned<Vec<TimeWindow>>,
    pub(super) budgeting_method: Spanned<String>,
    pub(super) objectives: Spanned<Vec<Objective>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Indicator {
    #[serde(rename = "metadata")]
    _metadata: Option<Metadata>,
    pub(super) spec: IndicatorSpec,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IndicatorSpec {
    #[serde(rename = "description")]
    _description: Option<IgnoredAny>,
    pub(super) ratio_metric: RatioMetric,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RatioMetric {
    pub(super) counter: Option<Spanned<bool>>,
    pub(super) good: Metric,
    pub(super) total: Metric,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Metric {
    pub(super) metric_source: MetricSource,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricSource {
    #[serde(rename = "type")]
    pub(super) kind: Spanned<String>,
    pub(super) spec: Query,
}

/// Which requests, and what makes them good.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    pub(super) route: Option<Spanned<String>>,
    pub(super) status: Option<Spanned<String>>,
    pub(super) first_byte: Option<Spanned<String>>,
    pub(super) duration: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct TimeWindow {
    pub(super) duration: Spanned<String>,
    pub(super) is_rolling: Spanned<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Objective {
    #[serde(rename = "displayName")]
    _display_name: Option<IgnoredAny>,
    pub(super) target: Option<Spanned<f64>>,
    pub(super) target_percent: Option<Spanned<f64>>,
}
