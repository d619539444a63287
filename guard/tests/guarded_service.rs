//! A guarded service and an agent, over real sockets.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use snowshed_guard::{Guard, GuardConfig, Lease, LimitLayer, Limiter, context, monotonic_ns};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tower::{Layer, Service};

const DEADLINE: Duration = Duration::from_secs(10);

/// Polls until the condition holds.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An agent that records reports and answers with what it is told.
#[derive(Clone, Default)]
struct Agent {
    reports: Arc<Mutex<Vec<serde_json::Value>>>,
    answer: Arc<Mutex<Option<String>>>,
}

impl Agent {
    fn answer(&self, answer: Option<serde_json::Value>) {
        *self.answer.lock().expect("not poisoned") = answer.map(|answer| answer.to_string());
    }

    fn reports(&self) -> Vec<serde_json::Value> {
        self.reports.lock().expect("not poisoned").clone()
    }

    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        self.serve_on(listener);
        address
    }

    fn serve_on(&self, listener: TcpListener) {
        let agent = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let agent = agent.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let agent = agent.clone();
                    async move {
                        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/api/v1/guard"));
                        let body = request.into_body().collect().await.expect("a whole report").to_bytes();
                        let report = serde_json::from_slice(&body).expect("json");
                        agent.reports.lock().expect("not poisoned").push(report);
                        let answer = agent.answer.lock().expect("not poisoned").clone();
                        let status = if answer.is_some() { 200 } else { 404 };
                        let response = Response::builder().status(status);
                        response.body(Full::new(Bytes::from(answer.unwrap_or_default())))
                    }
                });
                tokio::spawn(async move {
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
                });
            }
        });
    }
}

fn grant(limit: Option<u32>, lease_ms: u64) -> Option<serde_json::Value> {
    Some(serde_json::json!({"schema":1,"lease_ms":lease_ms,"limit":limit,"retry_after_s":2,"reason":"fd_leak: test"}))
}

type Chunks = StreamBody<tokio_stream::wrappers::ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// A service whose responses stream what the returned senders send, behind the layer.
async fn serve(layer: LimitLayer) -> (SocketAddr, mpsc::Receiver<mpsc::Sender<Result<Frame<Bytes>, Infallible>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (streams_tx, streams) = mpsc::channel(16);
    let service = layer.layer(tower::service_fn(move |_request: Request<Incoming>| {
        let streams = streams_tx.clone();
        async move {
            let (tx, rx) = mpsc::channel(1);
            streams.send(tx).await.unwrap_or_default();
            let body: Chunks = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(rx));
            Ok::<_, Infallible>(Response::new(body))
        }
    }));
    // The context that a span would publish.
    let service = tower::service_fn(move |request: Request<Incoming>| {
        let _entered = context::enter([0xaa; 16], [0xbb; 8], 1);
        service.clone().call(request)
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    (address, streams)
}

fn limited(limit: u32) -> Limiter {
    let limiter = Limiter::default();
    limiter.renew(Lease::granted(monotonic_ns(), Duration::from_secs(9), Some(limit), 2, "why".into()));
    limiter
}

fn post(address: SocketAddr, body: Bytes) -> Request<Full<Bytes>> {
    Request::post(format!("http://{address}/work")).body(Full::new(body)).expect("a request")
}

#[tokio::test]
async fn a_place_is_held_until_the_response_body_ends() {
    let limiter = limited(1);
    let (address, mut streams) = serve(LimitLayer::new(limiter.clone())).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();

    let first = client.request(post(address, Bytes::new())).await.expect("an answer");
    assert_eq!(first.status(), 200);
    let stream = streams.recv().await.expect("the handler ran");

    let refused = client.request(post(address, Bytes::new())).await.expect("an answer");
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "2");
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let problem = refused.into_body().collect().await.expect("a body").to_bytes();
    let problem: serde_json::Value = serde_json::from_slice(&problem).expect("json");
    assert_eq!((problem["status"].as_u64(), problem["detail"].is_string()), (Some(429), true));
    assert!(!problem.to_string().contains("why"), "the reason is not for strangers: {problem}");

    stream.send(Ok(Frame::data(Bytes::from_static(b"last")))).await.expect("still read");
    drop(stream);
    assert_eq!(first.into_body().collect().await.expect("whole").to_bytes(), "last");
    eventually("the place is free again", || limiter.now(1).in_flight == 0).await;
    assert_eq!(client.request(post(address, Bytes::new())).await.expect("an answer").status(), 200);
    assert_eq!(limiter.now(1).rejected_total, 1);
}

#[tokio::test]
async fn a_place_is_free_when_the_client_goes_away() {
    let limiter = limited(1);
    let (address, mut streams) = serve(LimitLayer::new(limiter.clone())).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(post(address, Bytes::new())).await.expect("an answer");
    let _stream = streams.recv().await.expect("the handler ran");
    assert_eq!(limiter.now(1).in_flight, 1);
    drop((response, client));
    eventually("the place is free again", || limiter.now(1).in_flight == 0).await;
}

/// The client sends far more than any socket buffer holds and reads the answer only after that.
#[tokio::test]
async fn a_client_that_is_still_uploading_sees_the_status() {
    let (address, _streams) = serve(LimitLayer::new(limited(0))).await;
    let upload = Bytes::from(vec![7; 7 << 20]);
    let http1: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let http2: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    for client in [http1, http2] {
        let answer = tokio::time::timeout(DEADLINE, client.request(post(address, upload.clone()))).await;
        assert_eq!(answer.expect("in time").expect("an answer, not a reset").status(), 429);
    }
}

/// More than is read at once, by a client that looks only when all of it is written.
#[tokio::test]
async fn a_client_that_looks_late_sees_the_status() {
    let (address, _streams) = serve(LimitLayer::new(limited(0))).await;
    let upload = vec![7; 2 * snowshed_guard::drain::BYTES];
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address)?;
        write!(stream, "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n\r\n", upload.len())?;
        stream.write_all(&upload)?;
        let mut said = [0; 12];
        stream.read_exact(&mut said).map(|()| said)
    });
    let said = tokio::time::timeout(DEADLINE, client).await.expect("in time").expect("no panic");
    assert_eq!(&said.expect("an answer, not a broken pipe"), b"HTTP/1.1 429");
}

fn start(agent: SocketAddr) -> Guard {
    let config = GuardConfig { agent_url: format!("http://{agent}"), service: "svc".into(), instance_id: "i-1".into() };
    Guard::start(config).expect("started")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_list_the_open_request_and_the_answer_limits_until_it_runs_out() {
    let agent = Agent::default();
    agent.answer(grant(None, 1000));
    let guard = start(agent.serve().await);
    let (address, mut streams) = serve(guard.layer().route("POST /work/{id}")).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();

    let open = client.request(post(address, Bytes::new())).await.expect("an answer");
    let _stream = streams.recv().await.expect("the handler ran");
    eventually("a report lists the request", || {
        agent.reports().last().is_some_and(|report| report["open"][0]["trace_id"] == "aa".repeat(16))
    })
    .await;
    let report = agent.reports().pop().expect("a report");
    assert_eq!(report["pid"], std::process::id());
    assert_eq!(
        (&report["schema"], &report["service"], &report["service_instance_id"]),
        (&1.into(), &"svc".into(), &"i-1".into())
    );
    assert_eq!((&report["in_flight"], &report["complete"], &report["limit"]), (&1.into(), &true.into(), &().into()));
    assert_eq!(
        (&report["open"][0]["span_id"], &report["open"][0]["route"]),
        (&"bb".repeat(8).into(), &"POST /work/{id}".into())
    );
    assert!(report["open"][0]["since_ns"].as_u64() <= report["at_ns"].as_u64());

    agent.answer(grant(Some(1), 1000));
    eventually("the limit arrives", || guard.limiter().now(1).limit == Some(1)).await;
    assert_eq!(client.request(post(address, Bytes::new())).await.expect("an answer").status(), 429);
    eventually("the refusal is reported", || {
        agent.reports().last().is_some_and(|report| report["rejected_total"] == 1 && report["limit"] == 1)
    })
    .await;

    // The agent disowns the process: the lease runs out and everybody comes in.
    agent.answer(None);
    eventually("the lease runs out", || guard.limiter().now(1).limit.is_none()).await;
    assert_eq!(client.request(post(address, Bytes::new())).await.expect("an answer").status(), 200);
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_agent_everybody_comes_in_and_a_late_agent_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = listener.local_addr().expect("bound");
    drop(listener);
    let guard = start(nobody);
    let (address, _streams) = serve(guard.layer()).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    assert_eq!(client.request(post(address, Bytes::new())).await.expect("an answer").status(), 200);

    let agent = Agent::default();
    agent.answer(grant(Some(0), 2000));
    agent.serve_on(TcpListener::bind(nobody).await.expect("the port is still free"));
    eventually("the limit arrives", || guard.limiter().now(1).limit == Some(0)).await;
    let limiter = guard.limiter().clone();
    let stopping = Instant::now();
    drop(guard);
    assert!(stopping.elapsed() < Duration::from_secs(2), "stopping waits for nobody");
    assert_eq!(limiter.now(1).limit, None, "a guard that ends leaves no limit behind");
}
