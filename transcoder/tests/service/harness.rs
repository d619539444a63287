//! Starting the binary, making video, talking HTTP, and looking at what the process holds.

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::mpsc;

/// For anything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
const BINARY: &str = env!("CARGO_BIN_EXE_snowshed-transcoder");

/// Polls until the condition holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A running transcoder; killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) url: String,
    pub(crate) pid: u32,
}

impl Service {
    /// Starts it on a free port.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        Self::start_limited("unlimited", arguments).await
    }

    /// The same with a soft limit of open files, as `ulimit -n` takes it.
    pub(crate) async fn start_limited(open_files: &str, arguments: &[&str]) -> Self {
        let limit = if open_files == "unlimited" { String::new() } else { format!("ulimit -n {open_files}; ") };
        Self::start_after(&limit, arguments).await
    }

    /// The same after these words to a shell, as in `PATH=/nowhere; `.
    pub(crate) async fn start_after(words: &str, arguments: &[&str]) -> Self {
        let mut child = tokio::process::Command::new("/bin/sh")
            .args(["-c", &format!("{words}exec \"$@\""), "sh", BINARY, "--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut line = String::new();
        let stdout = child.stdout.as_mut().expect("piped");
        tokio::time::timeout(DEADLINE, BufReader::new(stdout).read_line(&mut line))
            .await
            .expect("in time")
            .expect("text");
        let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("it said {line:?}")).to_owned();
        let pid = child.id().expect("running");
        Self { child, url, pid }
    }

    fn entries(&self, of: &str) -> usize {
        std::fs::read_dir(format!("/proc/{}/{of}", self.pid)).expect("alive").count()
    }

    /// Open file descriptors and threads.
    pub(crate) fn holdings(&self) -> (usize, usize) {
        (self.entries("fd"), self.entries("task"))
    }

    /// Waits until it holds no more than that.
    pub(crate) async fn back_to(&self, baseline: (usize, usize)) {
        let start = Instant::now();
        while self.holdings().0 > baseline.0 || self.holdings().1 > baseline.1 {
            assert!(start.elapsed() < DEADLINE, "fds and threads: {:?}, before {baseline:?}", self.holdings());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A value on its metrics page: the sum of all series that have this name and (at least) these labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let page = answer(&http1(), get(&format!("{}/metrics", self.url))).await.2;
        let page = String::from_utf8(page.to_vec()).expect("text");
        sum(&page, name).unwrap_or_else(|| panic!("{name} in {page}"))
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        self.url.strip_prefix("http://").expect("http")
    }

    /// Waits until so many streams are in progress.
    pub(crate) async fn streaming(&self, streams: f64) {
        let start = Instant::now();
        while self.metric("transcoder_streams").await != streams {
            assert!(start.elapsed() < DEADLINE, "never {streams} streams");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGTERM; its exit code and how long it took.
    pub(crate) async fn terminate(self) -> (Option<i32>, Duration) {
        self.signal_end();
        self.ended().await
    }

    /// SIGTERM, without waiting.
    pub(crate) fn signal_end(&self) {
        let sent = Command::new("kill").arg(self.pid.to_string()).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for its end; its exit code and how long that took.
    pub(crate) async fn ended(mut self) -> (Option<i32>, Duration) {
        let asked = Instant::now();
        let status = tokio::time::timeout(DEADLINE, self.child.wait()).await.expect("it ends").expect("waited");
        (status.code(), asked.elapsed())
    }
}

/// The sum of a page's series that have this name and these labels (`name{one="1",two="2"}`); `None` without any.
pub(crate) fn sum(page: &str, name: &str) -> Option<f64> {
    let parts = |series: &str| {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
        (name.to_owned(), labels.map(str::to_owned).collect::<Vec<_>>())
    };
    let (name, labels) = parts(name);
    let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (its_name, its_labels) = parts(series);
        let fits = its_name == name && labels.iter().all(|label| its_labels.contains(label));
        fits.then(|| value.parse::<f64>().expect("a number"))
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Runs the binary to its end; exit code and standard error.
pub(crate) fn run_to_end(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("the binary starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

pub(crate) type Body = BoxBody<Bytes, Infallible>;
pub(crate) type Http = Client<HttpConnector, Body>;

pub(crate) fn http1() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn http2() -> Http {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// A client that takes little of a response it does not read, on a connection that has room for others.
pub(crate) fn http2_with_small_stream_windows() -> Http {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_stream_window_size(64 << 10)
        .http2_initial_connection_window_size(8 << 20)
        .build_http()
}

pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// An upload that goes on as long as its sender is kept.
pub(crate) fn streamed() -> (mpsc::Sender<Bytes>, Body) {
    let (tx, rx) = mpsc::channel(1);
    let frames = tokio_stream::StreamExt::map(tokio_stream::wrappers::ReceiverStream::new(rx), |piece| {
        Ok::<_, Infallible>(Frame::data(piece))
    });
    (tx, BodyExt::boxed(StreamBody::new(frames)))
}

pub(crate) fn get(url: &str) -> Request<Body> {
    Request::get(url).body(whole("")).expect("a request")
}

/// A transcode request with these headers, and `video/mp4` unless they say otherwise.
pub(crate) fn post(service: &Service, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let mut request = Request::post(format!("{}/api/v1/transcode", service.url));
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "video/mp4");
    }
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(body).expect("a request")
}

/// The head of the answer, in time.
pub(crate) async fn head(http: &Http, request: Request<Body>) -> Response<Incoming> {
    tokio::time::timeout(DEADLINE, http.request(request)).await.expect("in time").expect("an answer")
}

/// The whole answer, in time.
pub(crate) async fn answer(http: &Http, request: Request<Body>) -> (StatusCode, HeaderMap, Bytes) {
    let (head, body) = head(http, request).await.into_parts();
    let body = tokio::time::timeout(DEADLINE, body.collect()).await.expect("in time").expect("whole").to_bytes();
    (head.status, head.headers, body)
}

/// Where videos are kept during the tests.
fn studio() -> &'static tempfile::TempDir {
    static STUDIO: OnceLock<tempfile::TempDir> = OnceLock::new();
    STUDIO.get_or_init(|| tempfile::tempdir().expect("a directory"))
}

/// Makes a video with the `ffmpeg` command; `arguments` come between the generated sources and the output.
pub(crate) fn video(extension: &str, inputs: &str, arguments: &str) -> Bytes {
    static MADE: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = MADE.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path: PathBuf = studio().path().join(format!("{number}.{extension}"));
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin"])
        .args(inputs.split_whitespace().chain(arguments.split_whitespace()))
        .arg(&path)
        .status()
        .expect("these tests need the ffmpeg command (Debian: apt install ffmpeg)");
    assert!(made.success(), "ffmpeg {inputs} {arguments}");
    std::fs::read(path).expect("made").into()
}

/// Two seconds of picture (25 a second) at this size.
pub(crate) fn picture(size: &str) -> String {
    format!("-f lavfi -i testsrc2=size={size}:rate=25:duration=2")
}

/// Two seconds of sound.
pub(crate) const SOUND: &str = "-f lavfi -i sine=duration=2";
/// Quick encoding of both.
pub(crate) const QUICK: &str = "-c:v libx264 -preset ultrafast -g 25 -c:a aac";

/// A transport stream with picture and sound.
pub(crate) fn ts_with_sound() -> Bytes {
    static MADE: OnceLock<Bytes> = OnceLock::new();
    MADE.get_or_init(|| video("ts", &format!("{} {SOUND}", picture("160x90")), QUICK)).clone()
}

/// What `ffprobe` says of a stream: codec, width, height, frames.
pub(crate) type Probed = Vec<(String, u64, u64, u64)>;

/// Decodes all of it.
pub(crate) fn probe(bytes: &[u8]) -> (String, Probed) {
    let file = tempfile::NamedTempFile::new_in(studio().path()).expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json"])
        .arg(file.path())
        .output()
        .expect("these tests need the ffprobe command (Debian: apt install ffmpeg)");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "ffprobe on {} bytes: {complaints}", bytes.len());
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let streams = json["streams"].as_array().expect("streams").iter().map(|stream| {
        let size = |name: &str| stream[name].as_u64().unwrap_or(0);
        (
            text(&stream["codec_name"]),
            size("width"),
            size("height"),
            text(&stream["nb_read_frames"]).parse().unwrap_or(0),
        )
    });
    (text(&json["format"]["format_name"]), streams.collect())
}
