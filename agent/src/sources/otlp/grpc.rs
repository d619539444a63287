//! OTLP over gRPC: the trace service; metrics and logs are only passed on.
//!
//! The codec hands the message's bytes on as they are, so that what is forwarded is what was sent. gzip is understood;
//! the size limit holds for what is unpacked as well.

use super::{Desk, MESSAGE, forward::Signal};
use axum::body::Bytes;
use bytes::{Buf as _, BufMut as _};
use futures_util::{Stream, future::BoxFuture};
use prost::Message as _;
use std::{
    convert::Infallible,
    future::Future,
    io,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::{Grpc, NamedService, UnaryService},
    transport::{Server, server::Connected},
};

/// Messages as bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

impl Desk {
    /// Takes a message, passes it on, and gives the answer's bytes.
    fn message(&self, signal: Signal, message: &Bytes) -> Result<Bytes, Status> {
        if signal == Signal::Traces {
            let answer = self
                .take_message(message)
                .inspect_err(|_| self.refused("malformed"))
                .map_err(|error| Status::internal(error.to_string()))?;
            self.forward.pass_message(signal, message);
            return Ok(answer.encode_to_vec().into());
        }
        if !self.forward.is_on() {
            return Err(Status::unimplemented("only spans are taken; metrics and logs where they can be passed on"));
        }
        self.forward.pass_message(signal, message);
        // An empty answer: all of it was taken.
        Ok(Bytes::new())
    }
}

/// One of OTLP's services; they differ in their name alone.
#[derive(Clone)]
struct Service<const SIGNAL: u8>(Desk);

const TRACES: u8 = 0;
const METRICS: u8 = 1;
const LOGS: u8 = 2;

impl NamedService for Service<TRACES> {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl NamedService for Service<METRICS> {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl NamedService for Service<LOGS> {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl<const SIGNAL: u8> UnaryService<Bytes> for Service<SIGNAL> {
    type Response = Bytes;
    type Future = std::future::Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let signal = match SIGNAL {
            METRICS => Signal::Metrics,
            LOGS => Signal::Logs,
            _ => Signal::Traces,
        };
        std::future::ready(self.0.message(signal, request.get_ref()).map(Response::new))
    }
}

impl<const SIGNAL: u8> tower::Service<axum::http::Request<Body>> for Service<SIGNAL>
where
    Self: NamedService,
{
    type Response = axum::http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: axum::http::Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path().strip_prefix('/').and_then(|path| path.strip_suffix("/Export")) != Some(Self::NAME)
            {
                return Ok(Status::unimplemented("there is Export alone").into_http());
            }
            let grpc = Grpc::new(Raw).accept_compressed(CompressionEncoding::Gzip).max_decoding_message_size(MESSAGE);
            Ok({ grpc }.unary(service, request).await)
        })
    }
}

/// Serves until `end` completes. Calls over the size limit and garbage are refused by the codec.
///
/// # Errors
/// The listener failed.
pub(crate) async fn serve<C>(
    connections: impl Stream<Item = io::Result<C>>,
    desk: Desk,
    end: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    Server::builder()
        .concurrency_limit_per_connection(32)
        .max_concurrent_streams(64)
        .timeout(Duration::from_secs(10))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(Service::<TRACES>(desk.clone()))
        .add_service(Service::<METRICS>(desk.clone()))
        .add_service(Service::<LOGS>(desk))
        .serve_with_incoming_shutdown(connections, end)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::otlp::tests::desk;
    use opentelemetry_proto::tonic::{
        collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use snowshed_engine::model::Observation;
    use tokio::{io::AsyncWriteExt as _, net::TcpListener, sync::oneshot};
    use tonic::transport::server::TcpIncoming;

    #[tokio::test]
    async fn a_real_client_is_served_and_garbage_does_no_harm() {
        let (desk, mut queue) = desk();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(TcpIncoming::from(listener), desk, async move { drop(stopped.await) }));

        let mut garbage = tokio::net::TcpStream::connect(address).await.expect("connects");
        garbage.write_all(&[0xff; 512]).await.expect("writes");

        let mut client = TraceServiceClient::connect(format!("http://{address}")).await.expect("connects");
        let good = Span { trace_id: vec![7; 16], end_time_unix_nano: 5, ..Span::default() };
        let bad = Span { trace_id: vec![7; 3], ..Span::default() };
        let spans = ScopeSpans { spans: vec![good, bad], ..ScopeSpans::default() };
        let call = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { scope_spans: vec![spans], ..ResourceSpans::default() }],
        };
        let answer = client.export(call).await.expect("answered").into_inner();
        assert_eq!(answer.partial_success.expect("one is bad").rejected_spans, 1);
        assert!(matches!(queue.recv().await, Some(Observation::Request(_))));

        let huge = Span { name: "x".repeat(MESSAGE), ..Span::default() };
        let spans = ScopeSpans { spans: vec![huge], ..ScopeSpans::default() };
        let call = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans { scope_spans: vec![spans], ..ResourceSpans::default() }],
        };
        let refused = client.export(call).await.expect_err("too large");
        assert_eq!(refused.code(), tonic::Code::OutOfRange);
        drop(client);
        drop(garbage);
        stop.send(()).expect("the server still runs");
        server.await.expect("no panic").expect("a clean end");
    }
}
