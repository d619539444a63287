//! OTLP over gRPC: the trace service.

use super::{Desk, MESSAGE};
use futures_util::Stream;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use std::{future::Future, io, time::Duration};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::Connected},
};

struct Service(Desk);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        Ok(Response::new(self.0.take(request.into_inner())))
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
    let service = TraceServiceServer::new(Service(desk)).max_decoding_message_size(MESSAGE);
    Server::builder()
        .concurrency_limit_per_connection(32)
        .max_concurrent_streams(64)
        .timeout(Duration::from_secs(10))
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .add_service(service)
        .serve_with_incoming_shutdown(connections, end)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::otlp::tests::desk;
    use opentelemetry_proto::tonic::{
        collector::trace::v1::trace_service_client::TraceServiceClient,
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
