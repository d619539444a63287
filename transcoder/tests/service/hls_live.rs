//! A live playlist while its upload goes on: what viewers get, what they wait for, and what they are refused.

use crate::harness::*;
use crate::playlist::Playlist;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use std::sync::OnceLock;
use tokio::sync::mpsc;

/// Seven seconds of picture and sound, in a container that can be cut anywhere.
pub(crate) fn clip() -> Bytes {
    static MADE: OnceLock<Bytes> = OnceLock::new();
    let inputs = "-f lavfi -i testsrc2=size=160x90:rate=25:duration=7 -f lavfi -i sine=duration=7";
    MADE.get_or_init(|| video("ts", inputs, QUICK)).clone()
}

/// So much of a clip as makes so many seconds of it.
pub(crate) fn first(clip: &Bytes, seconds: f64, of: f64) -> Bytes {
    clip.slice(..(clip.len() as f64 * seconds / of) as usize)
}

/// An upload in progress, and the playlist that it feeds.
pub(crate) struct Live {
    pub(crate) sender: mpsc::Sender<Bytes>,
    /// The POST's answer, whose body ends with the stream.
    pub(crate) answer: Response<Incoming>,
    pub(crate) session: String,
    pub(crate) playlist: String,
}

/// Begins a session with so much of an upload.
pub(crate) async fn open(service: &Service, http: &Http, begin: Bytes, headers: &[(&str, &str)]) -> Live {
    let (sender, body) = streamed();
    let asked = [("x-output-format", "hls"), ("accept", "application/vnd.apple.mpegurl")];
    let request = post(service, &[&asked, headers].concat(), body);
    let http = http.clone();
    let answered = tokio::spawn(async move { head(&http, request).await });
    sender.send(begin).await.expect("read");
    let answer = answered.await.expect("not panicked");
    assert_eq!(answer.status(), 201);
    let playlist = answer.headers()["location"].to_str().expect("text").to_owned();
    let session = playlist.strip_suffix("/index.m3u8").expect(&playlist).to_owned();
    let id = session.strip_prefix("/api/v1/sessions/").expect(&session);
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    let (session, playlist) = (format!("{}{session}", service.url), format!("{}{playlist}", service.url));
    Live { sender, answer, session, playlist }
}

impl Live {
    /// Sends the rest and waits for the end of the POST's answer.
    pub(crate) async fn finish(self, rest: Bytes) {
        self.sender.send(rest).await.expect("read");
        drop(self.sender);
        tokio::time::timeout(DEADLINE, self.answer.into_body().collect()).await.expect("in time").expect("whole");
    }
}

/// The playlist at this URL.
pub(crate) async fn playlist(http: &Http, url: &str) -> Playlist {
    let (status, headers, body) = answer(http, get(url)).await;
    assert_eq!(status, 200, "{url}: {body:?}");
    assert_eq!(headers["content-type"], "application/vnd.apple.mpegurl");
    assert_eq!(headers["access-control-allow-origin"], "*");
    Playlist::read(std::str::from_utf8(&body).expect("text"))
}

pub(crate) async fn status(http: &Http, url: &str) -> StatusCode {
    answer(http, get(url)).await.0
}

#[tokio::test]
async fn a_stream_is_watched_while_its_upload_goes_on() {
    let service = Service::start(&[]).await;
    for (uploader, viewer) in [(http1(), http2()), (http2(), http1())] {
        let mut live = open(&service, &uploader, first(&clip(), 3.5, 7.0), &[]).await;
        let said = live.answer.body_mut().frame().await.expect("more").expect("whole").into_data().expect("data");
        let said: serde_json::Value = serde_json::from_slice(&said).expect("json");
        assert_eq!(
            (&said["schema"], format!("{}{}", service.url, said["playlist"].as_str().expect("a path"))),
            (&1.into(), live.playlist.clone())
        );

        // The first answer has a whole segment, whenever it was asked for.
        let begun = playlist(&viewer, &live.playlist).await;
        assert!(!begun.segments.is_empty() && !begun.is_ended(), "{}", begun.text);
        assert!(begun.value("#EXT-X-SERVER-CONTROL:").starts_with("CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK="));
        let part_target: f64 = begun.value("#EXT-X-PART-INF:PART-TARGET=").parse().expect("a number");
        assert!(begun.parts.iter().all(|(_, seconds)| *seconds <= part_target + 1e-3), "{}", begun.text);

        // A segment is its parts, and is what a player needs beside the header.
        let of = |name: &str| format!("{}/{name}", live.session);
        let (name, seconds) = begun.segments[0].clone();
        let (_, headers, segment) = answer(&viewer, get(&of(&name))).await;
        assert_eq!(
            (&headers["content-type"], &headers["content-length"]),
            (&"video/mp4".parse().expect("a value"), &segment.len().into())
        );
        let mut joined = Vec::new();
        for (part, _) in begun.parts.iter().filter(|(part, _)| part.starts_with("part-00001.")) {
            joined.extend_from_slice(&answer(&viewer, get(&of(part))).await.2);
        }
        assert_eq!(segment, joined);
        let init = answer(&viewer, get(&of("init.mp4"))).await.2;
        assert_eq!(probe(&[init, segment].concat()).1[0].3, (seconds * 25.0).round() as u64);

        // What comes next is waited for: the hinted part, and the playlist that has it.
        let hint = begun.value("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"").trim_end_matches('"').to_owned();
        let last = begun.segments.len();
        let later = format!("{}?_HLS_msn={}", live.playlist, last + 1);
        let (hinted, later) = (get(&of(&hint)), get(&later));
        let waiting = [hinted, later].map(|request| {
            let viewer = viewer.clone();
            tokio::spawn(async move { answer(&viewer, request).await })
        });
        live.finish(clip().slice(first(&clip(), 3.5, 7.0).len()..)).await;
        let [part, later] = waiting;
        let (status, _, part) = part.await.expect("not panicked");
        assert_eq!(status, 200);
        assert_eq!(&part[4..8], b"moof");
        let later = later.await.expect("not panicked");
        assert!(Playlist::read(std::str::from_utf8(&later.2).expect("text")).segments.len() > last);

        // It is over and can still be watched, from the beginning.
        let ended = playlist(&viewer, &format!("{}?_HLS_msn=99999", live_url(&service, &said))).await;
        assert!(ended.is_ended() && ended.value("#EXT-X-MEDIA-SEQUENCE:") == "1", "{}", ended.text);
        let sum: f64 = ended.segments.iter().map(|(_, seconds)| seconds).sum();
        assert!((sum - 7.0).abs() < 0.05, "{sum}");
        assert_eq!(frames_by_url(&live_url(&service, &said)), 175);
    }
    assert_eq!(service.metric("transcoder_streams").await, 0.0);
}

fn live_url(service: &Service, said: &serde_json::Value) -> String {
    format!("{}{}", service.url, said["playlist"].as_str().expect("a path"))
}

/// What `ffprobe` decodes of a playlist over HTTP.
pub(crate) fn frames_by_url(url: &str) -> u64 {
    let output = std::process::Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames"])
        .args(["-of", "csv=p=0", url])
        .output()
        .expect("these tests need the ffprobe command (Debian: apt install ffmpeg)");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().expect("a number").parse().expect("a number")
}

#[tokio::test]
async fn hostile_and_mistaken_requests() {
    let service = Service::start(&[]).await;
    let http = http2();
    let live = open(&service, &http, first(&clip(), 3.5, 7.0), &[]).await;
    let begun = playlist(&http, &live.playlist).await;
    let whole = begun.segments.len() as u64;
    for query in [
        format!("_HLS_msn={}", whole + 3),
        "_HLS_msn=18446744073709551615&_HLS_part=18446744073709551615".into(),
        "_HLS_part=0".into(),
        "_HLS_msn=".into(),
        "_HLS_msn=-1".into(),
        "_HLS_msn=1e9".into(),
        "_HLS_msn=99999999999999999999999".into(),
        "_HLS_msn=1&_HLS_msn=1".into(),
        "_HLS_msn=%F0%9F%98%80".into(),
        format!("_HLS_msn={}&_HLS_part=1000", whole + 1),
        format!("_HLS_msn={}", "9".repeat(5_000)),
    ] {
        let (status, headers, body) = answer(&http, get(&format!("{}?{query}", live.playlist))).await;
        assert_eq!(status, 400, "{query:.60}: {body:?}");
        assert_eq!(headers["content-type"], "application/problem+json");
    }
    for query in ["", "a=b&&&=", "_HLS_msn=0", "_HLS_msn=1&_HLS_part=0&x=%00", "_HLS_skip=YES", "_hls_msn=junk"] {
        assert_eq!(status(&http, &format!("{}?{query}", live.playlist)).await, 200, "{query}");
    }
    for name in [
        "index.m3u",
        "segment-99999.m4s",
        "segment-1.m4s",
        "segment-18446744073709551615.m4s",
        "part-00001.99999.m4s",
        "part-18446744073709551615.18446744073709551615.m4s",
        "..%2f..%2fetc%2fpasswd",
        "%ff%fe",
        "init.mp4%00",
    ] {
        let (status, headers, _) = answer(&http, get(&format!("{}/{name}", live.session))).await;
        assert_eq!(
            (status.as_u16(), &headers["cache-control"]),
            (404, &"no-store".parse().expect("a value")),
            "{name}"
        );
    }
    for id in ["", "x", "%ff", &"0".repeat(32), &"0".repeat(8000)] {
        assert_eq!(status(&http, &format!("{}/api/v1/sessions/{id}/index.m3u8", service.url)).await, 404, "{id:.40}");
    }
    let method =
        |method: Method, url: &str| Request::builder().method(method).uri(url).body(whole_empty()).expect("a request");
    let (status, headers, body) = answer(&http, method(Method::HEAD, &live.playlist)).await;
    assert_eq!((status.as_u16(), body.len()), (200, 0));
    assert!(headers["content-length"] != "0");
    assert_eq!(answer(&http, method(Method::POST, &live.playlist)).await.0, 405);
    let (status, headers, _) = answer(&http, method(Method::OPTIONS, &live.session)).await;
    assert_eq!(
        (status.as_u16(), &headers["access-control-allow-methods"]),
        (204, &"GET, HEAD, DELETE".parse().expect("a value"))
    );
    live.finish(clip().slice(first(&clip(), 3.5, 7.0).len()..)).await;
}

fn whole_empty() -> Body {
    whole("")
}

/// Sixty who wait cost no thread and no file descriptor but their connection's, and all are answered by one change.
#[tokio::test]
async fn sixty_viewers_wait_at_once() {
    let service = Service::start(&[]).await;
    let http = http2();
    let live = open(&service, &http, first(&clip(), 3.5, 7.0), &[]).await;
    let begun = playlist(&http, &live.playlist).await;
    let next = begun.segments.len() + 1;
    let held = service.holdings();
    let waiting: Vec<_> = (0..60)
        .map(|_| {
            let (http, url) = (http.clone(), format!("{}?_HLS_msn={next}", live.playlist));
            tokio::spawn(async move { playlist(&http, &url).await.text })
        })
        .collect();
    // They are all there: each waits in a task of its own.
    let mut tasks = 0.0;
    while tasks < 60.0 {
        tasks = service.metric("transcoder_tasks").await;
    }
    // The metrics page came over a connection of its own.
    let now = service.holdings();
    assert!(now.0 <= held.0 + 2 && now.1 <= held.1, "{now:?}, before {held:?}");
    live.finish(clip().slice(first(&clip(), 3.5, 7.0).len()..)).await;
    for viewer in waiting {
        assert!(viewer.await.expect("not panicked").contains(&format!("segment-{next:05}.m4s")));
    }
}
