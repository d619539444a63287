//! The transcoder's metrics, held against Prometheus: both formats, right values, and exemplars that name requests.
//!
//! Invariant: trace ids and counts are decided here, sent by a plain client, and read back from Prometheus alone.
//! Cost: a second of transcoding and a few scrapes.

use crate::prometheus::Prometheus;
use anyhow::{Context as _, ensure};
use hyper::Method;
use serde_json::Value;
use std::{net::SocketAddr, path::Path, process::Command, time::Duration};
use xtask::{
    process, program,
    rig::{Transcoder, TranscoderOptions, http},
    video::Clip,
};

/// Where videos are sent, which is also the route's label.
const ROUTE: &str = "/api/v1/transcode";
/// What the client says is its own span.
const PARENT: &str = "b7ad6b7169203331";
/// Requests whose traces are kept.
const SAMPLED: [&str; 3] =
    ["0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736", "80f198ee56343ba864fe8b2a57d3eff7"];
/// A request whose trace nobody keeps.
const UNSAMPLED: &str = "463ac35c9f6413ad48485a3953bb6124";
/// For a scrape and what comes before it, on a machine that has other work.
const DEADLINE: Duration = Duration::from_secs(40);

/// Transcodes one clip per trace and says how many bytes were sent in all.
fn transcode(service: SocketAddr) -> anyhow::Result<usize> {
    let video = Clip::Fragmented.bytes()?;
    let traces = SAMPLED.iter().map(|trace| (*trace, "01")).chain([(UNSAMPLED, "00")]);
    let mut sent = 0;
    for (trace, flags) in traces {
        let parent = format!("00-{trace}-{PARENT}-{flags}");
        let headers = [("content-type", Clip::Fragmented.content_type()), ("traceparent", &*parent)];
        let reply = http::send(service, Method::POST, ROUTE, &headers, video.clone(), DEADLINE)?;
        ensure!(reply.status == 200 && !reply.body.is_empty(), "{}: {}", reply.status, reply.text());
        sent += video.len();
    }
    Ok(sent)
}

/// Waits until Prometheus has one sample of this expression, and with this value.
fn wait_value(prometheus: &Prometheus, expression: &str, wanted: f64) -> anyhow::Result<()> {
    let mut last = Vec::new();
    let waited = process::wait_until(expression, DEADLINE, || {
        last = prometheus.query(expression)?;
        let [sample] = &*last else { return Ok(None) };
        let value = sample["value"][1].as_str().and_then(|value| value.parse::<f64>().ok());
        Ok((value == Some(wanted)).then_some(()))
    });
    waited.with_context(|| format!("{wanted} is wanted, the last answer was {last:?}"))
}

/// Fails unless an exemplar is of a request that was sampled, by the service's own span, and in its bucket.
fn check(series: &Value, exemplar: &Value) -> anyhow::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (trace, span) = (text(&exemplar["labels"]["trace_id"]), text(&exemplar["labels"]["span_id"]));
    ensure!(SAMPLED.contains(&&*trace), "not a trace that was sampled: {exemplar}");
    ensure!(span.len() == 16 && span != PARENT, "not the service's span: {exemplar}");
    let bound = text(&series["seriesLabels"]["le"]).parse::<f64>().context("the bucket's bound")?;
    let value = text(&exemplar["value"]).parse::<f64>().context("the exemplar's value")?;
    ensure!(value > 0.0 && value <= bound, "not in its bucket: {exemplar} in {series}");
    Ok(())
}

/// The exemplars of a histogram, once there is one; each is checked.
fn wait_exemplars(prometheus: &Prometheus, selector: &str) -> anyhow::Result<()> {
    let found = process::wait_until("an exemplar", DEADLINE, || {
        let found = prometheus.exemplars(selector)?;
        Ok((!found.is_empty()).then_some(found))
    });
    let mut seen = 0;
    for series in found.with_context(|| selector.to_owned())? {
        for exemplar in series["exemplars"].as_array().context("no list of exemplars")? {
            check(&series, exemplar)?;
            seen += 1;
        }
    }
    ensure!(seen > 0, "{selector}: series without an exemplar");
    Ok(())
}

/// What `promtool check metrics` says of a page in the text format. (It reads no other: its complaint about
/// OpenMetrics is the type `info`. That format is proved by the scrape.)
fn promtool(folder: &Path, page: &str) -> anyhow::Result<()> {
    let file = folder.join("transcoder-metrics.txt");
    std::fs::write(&file, page)?;
    let check = format!("promtool check metrics < '{}'", file.display());
    let told = program::output(Command::new("sh").args(["-c", &check]))?;
    ensure!(told.is_empty(), "{told}");
    Ok(())
}

#[test]
fn prometheus_reads_both_formats_and_finds_the_requests() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let options =
        TranscoderOptions { arguments: vec!["--max-streams".to_owned(), "7".to_owned()], ..Default::default() };
    let service = Transcoder::start(folder.path(), &options)?;
    let prometheus = Prometheus::start(folder.path(), &[service.address()])?;
    let bytes = transcode(service.address())?;
    let requests = SAMPLED.len() + 1;

    // Only OpenMetrics has exemplars, so whatever is found here was negotiated and parsed as that.
    wait_exemplars(&prometheus, &format!("transcoder_request_duration_seconds_bucket{{route=\"{ROUTE}\"}}"))?;
    wait_exemplars(&prometheus, "transcoder_first_byte_seconds_bucket")?;

    let frames = Clip::Fragmented.shape().frames() * requests as u64;
    for (expression, wanted) in [
        (format!("transcoder_requests_total{{route=\"{ROUTE}\",status=\"200\"}}"), requests as f64),
        (format!("transcoder_request_duration_seconds_count{{route=\"{ROUTE}\"}}"), requests as f64),
        ("transcoder_first_byte_seconds_bucket{le=\"+Inf\"}".to_owned(), requests as f64),
        ("transcoder_frames_total".to_owned(), frames as f64),
        ("transcoder_received_bytes_total".to_owned(), bytes as f64),
        ("transcoder_streams_max".to_owned(), 7.0),
        ("transcoder_streams".to_owned(), 0.0),
        ("up".to_owned(), 1.0),
    ] {
        wait_value(&prometheus, &expression, wanted)?;
    }
    // All four requests have been scraped by now, the one without a kept trace among them.
    wait_exemplars(&prometheus, "{__name__=~\"transcoder_.*_bucket\"}")?;

    let accept = [("accept", "text/plain")];
    let page = http::send(service.address(), Method::GET, "/metrics", &accept, "", Duration::from_secs(10))?;
    ensure!(page.content_type.starts_with("text/plain; version=0.0.4"), "{}", page.content_type);
    ensure!(page.text().contains("transcoder_first_byte_seconds_bucket"), "{}", page.text());
    promtool(folder.path(), &page.text())?;
    // Else this would show nothing.
    ensure!(promtool(folder.path(), "x_total{ 1\n").is_err(), "promtool takes nonsense");
    Ok(())
}
