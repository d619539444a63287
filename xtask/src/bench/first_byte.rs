//! How long until the first byte of the result, while the upload is still going on: its last quarter is withheld.

use super::{
    Subject,
    job::Job,
    service::{Service, begin, body, in_time, next, runtime, while_sending},
    table::{Figure, Row, Target},
};
use crate::load::connection::{self, Connection};
use anyhow::Context as _;
use bytes::Bytes;
use std::{net::SocketAddr, time::Instant};

/// Milliseconds from the request's head to the first byte of its result, of one job many times, on a service that has
/// answered before.
///
/// # Errors
/// No byte comes before the upload's end.
pub(crate) fn row(subject: &Subject, job: Job, runs: usize) -> anyhow::Result<Row> {
    let video = job.clip.bytes()?;
    let service = Service::start(subject, &[])?;
    let runtime = runtime()?;
    let mut times = Vec::with_capacity(runs);
    for run in 0..=runs {
        let time = runtime.block_on(in_time(one(service.address(), job, &video)));
        let time = time.with_context(|| format!("first byte of {:?}", job.clip))?;
        // The first one pays for what the service makes once.
        if run > 0 {
            times.push(time);
        }
    }
    let clip = format!("{:?}", job.clip).to_lowercase();
    let name = format!("first byte, {clip} {} as {}", job.name(), job.format);
    Ok(Row::own(name, Figure::of(&times), "ms", Target::AtMost(100.0)))
}

async fn one(address: SocketAddr, job: Job, video: &Bytes) -> anyhow::Result<f64> {
    let connection = Connection::open(address).await?;
    let begun = Instant::now();
    let (response, mut stream) = begin(&connection, address, job).await?;
    let answering = async {
        let mut body = body(response).await?;
        next(&mut body).await?.context("the answer is empty")?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    let most = video.slice(..video.len() * 3 / 4);
    while_sending(connection::send(&mut stream, most, false), answering).await
}
