//! The service as the benchmarks see it: a process of its own, asked over HTTP/2.

use super::{Subject, job::Job};
use crate::{
    load::connection::{self, Connection},
    process,
    rig::{Transcoder, TranscoderOptions},
};
use anyhow::{Context as _, bail};
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use std::{future::Future, net::SocketAddr, pin::pin, time::Duration};
use tempfile::TempDir;

/// For anything that is asked of the service.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running service.
pub(crate) struct Service {
    inner: Transcoder,
    _folder: TempDir,
}

impl Service {
    /// A fresh one.
    ///
    /// # Errors
    /// It is not built or does not come up.
    pub(crate) fn start(subject: &Subject, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("snowshed-bench-").tempdir().context("benchmark's folder")?;
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        let options = TranscoderOptions {
            program: subject.transcoder.clone(),
            arguments: arguments.chain(subject.with.iter().cloned()).collect(),
            ..TranscoderOptions::default()
        };
        Ok(Self { inner: Transcoder::start(folder.path(), &options)?, _folder: folder })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.inner.address()
    }

    /// Its pid.
    pub(crate) fn pid(&self) -> u32 {
        self.inner.pid()
    }

    /// Asks it to end; whether it did so with 0.
    ///
    /// # Errors
    /// It does not within `bound`.
    pub(crate) fn stop(&mut self, bound: Duration) -> anyhow::Result<bool> {
        Ok(self.inner.child().stop(bound)?.0.success())
    }

    /// CPU seconds since its start.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn cpu(&self) -> anyhow::Result<f64> {
        Ok(process::clock_seconds(process::cpu_clock(self.pid())?))
    }

    /// The most memory that it ever had resident, bytes.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        process::peak_resident(self.pid()).context("the service is gone")
    }
}

/// A loop for what is asked of it.
///
/// # Errors
/// The kernel has no descriptors left.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("event loop")
}

/// The whole result of a job.
///
/// # Errors
/// It is not answered with 200 and a whole body in time.
pub(crate) async fn transcode(address: SocketAddr, job: Job, video: Bytes) -> anyhow::Result<Bytes> {
    let connection = Connection::open(address).await?;
    let (response, mut stream) = begin(&connection, address, job).await?;
    let answering = async {
        let mut body = body(response).await?;
        let mut all = BytesMut::new();
        while let Some(piece) = next(&mut body).await? {
            all.extend_from_slice(&piece);
        }
        anyhow::Ok(all.freeze())
    };
    in_time(while_sending(connection::send(&mut stream, video, true), answering)).await
}

/// Sends a job's head.
///
/// # Errors
/// The connection is broken.
pub(crate) async fn begin(
    connection: &Connection,
    address: SocketAddr,
    job: Job,
) -> anyhow::Result<(h2::client::ResponseFuture, h2::SendStream<Bytes>)> {
    let height = job.height.to_string();
    let headers = [
        ("content-type", job.clip.content_type()),
        ("x-output-format", job.format),
        ("x-height", height.as_str()),
        ("x-preset", job.preset),
    ];
    let head = connection::head(address, &headers).context("request")?;
    connection.begin(head).await.context("request")
}

/// The body of a 200.
///
/// # Errors
/// Another status.
pub(crate) async fn body(response: h2::client::ResponseFuture) -> anyhow::Result<RecvStream> {
    let (head, mut body) = response.await.context("answer")?.into_parts();
    if head.status == 200 {
        return Ok(body);
    }
    let why = next(&mut body).await?.unwrap_or_default();
    bail!("answered {}: {}", head.status, String::from_utf8_lossy(&why));
}

/// The next piece of a body.
///
/// # Errors
/// The stream was reset.
pub(crate) async fn next(body: &mut RecvStream) -> anyhow::Result<Option<Bytes>> {
    let Some(piece) = body.data().await else { return Ok(None) };
    let piece = piece.context("answer")?;
    body.flow_control().release_capacity(piece.len()).context("answer")?;
    Ok(Some(piece))
}

/// The answer, while an upload goes on beside it; what is wrong with the upload, the answer tells.
pub(crate) async fn while_sending<T>(sending: impl Future, answering: impl Future<Output = T>) -> T {
    let (mut sending, mut answering) = (pin!(sending), pin!(answering));
    tokio::select! {
        answer = &mut answering => return answer,
        _ = &mut sending => {}
    }
    answering.await
}

/// Within [`PATIENCE`].
///
/// # Errors
/// It takes longer.
pub(crate) async fn in_time<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, work).await.context("the service does not answer")?
}
