//! HLS as one answer: the parts of a `multipart/mixed` body, written to files, are a stream that plays.

use crate::harness::*;
use crate::playlist::Playlist;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::header::HeaderMap;
use std::process::Command;

/// Name, media type and content of each part; fails on anything that is not as RFC 2046 has it.
fn parts(headers: &HeaderMap, body: &[u8]) -> Vec<(String, String, Vec<u8>)> {
    let media_type = headers["content-type"].to_str().expect("text");
    let boundary = media_type.strip_prefix("multipart/mixed; boundary=").expect(media_type);
    let (delimiter, mut parts) = (format!("--{boundary}"), Vec::new());
    let mut rest = body.strip_prefix(delimiter.as_bytes()).expect("it begins with a delimiter");
    loop {
        if rest == b"--\r\n" {
            return parts;
        }
        rest = rest.strip_prefix(b"\r\n").expect("a line ends");
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("headers end");
        let head = std::str::from_utf8(&rest[..end]).expect("text");
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).expect(name).to_owned();
        let length: usize = field("Content-Length: ").parse().expect("a number");
        let disposition = field("Content-Disposition: ");
        let name = disposition.strip_prefix("attachment; name=\"").and_then(|rest| rest.split('"').next());
        let name = name.expect(&disposition).to_owned();
        assert!(disposition.ends_with(&format!("; filename=\"{name}\"")), "{disposition}");
        let content = &rest[end + 4..end + 4 + length];
        parts.push((name, field("Content-Type: "), content.to_vec()));
        rest = rest[end + 4 + length..].strip_prefix(format!("\r\n{delimiter}").as_bytes()).expect("a delimiter");
    }
}

/// Writes the parts to a folder, decodes the playlist there, and returns it with the frames of each track.
fn played(parts: &[(String, String, Vec<u8>)]) -> (Playlist, Vec<(String, u64)>) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, _, content) in parts {
        assert!(!name.contains('/'));
        std::fs::write(folder.path().join(name), content).expect("written");
    }
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-show_entries", "stream=codec_name,nb_read_frames", "-of", "json"])
        .arg(folder.path().join("index.m3u8"))
        .output()
        .expect("these tests need the ffprobe command (Debian: apt install ffmpeg)");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("json");
    let streams = json["streams"].as_array().expect("streams").iter().map(|stream| {
        let text = |name: &str| stream[name].as_str().unwrap_or_default().to_owned();
        (text("codec_name"), text("nb_read_frames").parse().unwrap_or(0))
    });
    let playlist = Playlist::read(&String::from_utf8_lossy(&parts.last().expect("a playlist").2));
    (playlist, streams.collect())
}

#[tokio::test]
async fn the_parts_are_a_stream_that_plays_with_sound_and_without() {
    let service = Service::start(&[]).await;
    let baseline = service.holdings();
    let picture = "-f lavfi -i testsrc2=size=160x90:rate=30000/1001:duration=5";
    let sound = "-f lavfi -i sine=duration=5";
    for (upload, with_sound) in
        [(video("ts", &format!("{picture} {sound}"), QUICK), true), (video("mkv", picture, QUICK), false)]
    {
        for http in [http1(), http2()] {
            let headers = [("x-output-format", "hls"), ("accept", "*/*")];
            let (status, head, body) = answer(&http, post(&service, &headers, whole(upload.clone()))).await;
            assert_eq!(status, 200, "{body:?}");
            let parts = parts(&head, &body);
            let names: Vec<_> =
                parts.iter().map(|(name, media_type, _)| (name.as_str(), media_type.as_str())).collect();
            let media = "video/mp4";
            let expected = [
                ("init.mp4", media),
                ("segment-00001.m4s", media),
                ("segment-00002.m4s", media),
                ("segment-00003.m4s", media),
                ("index.m3u8", "application/vnd.apple.mpegurl"),
            ];
            assert_eq!(names, expected);
            let (playlist, streams) = played(&parts);
            assert_eq!(streams[0], ("h264".to_owned(), 150));
            assert_eq!(streams.get(1).map(|sound| sound.0.as_str()), with_sound.then_some("aac"));
            assert_eq!(
                playlist.segments.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
                ["segment-00001.m4s", "segment-00002.m4s", "segment-00003.m4s"]
            );
            let frame = 1001.0 / 30000.0;
            let sum: f64 = playlist.segments.iter().map(|(_, seconds)| seconds).sum();
            assert!((sum - 150.0 * frame).abs() <= frame * 1.01, "{sum}");
            for line in [
                "#EXT-X-TARGETDURATION:2",
                "#EXT-X-PLAYLIST-TYPE:VOD",
                "#EXT-X-INDEPENDENT-SEGMENTS",
                "#EXT-X-MAP:URI=\"init.mp4\"",
                "#EXT-X-ENDLIST",
            ] {
                assert!(playlist.has(line), "{line} in {}", playlist.text);
            }
        }
    }
    service.back_to(baseline).await;
}

/// Each segment decodes with nothing but the header before it.
#[tokio::test]
async fn every_segment_begins_with_a_key_frame_and_has_the_length_that_was_asked_for() {
    let service = Service::start(&[]).await;
    let upload = video("ts", "-f lavfi -i testsrc2=size=160x90:rate=25:duration=6", QUICK);
    for (segment, gop, lengths) in [("1", "1", 6), ("3", "0.5", 2)] {
        let headers = [("x-output-format", "hls"), ("x-segment-seconds", segment), ("x-gop-seconds", gop)];
        let (_, head, body) = answer(&http1(), post(&service, &headers, whole(upload.clone()))).await;
        let parts = parts(&head, &body);
        let (playlist, _) = played(&parts);
        assert_eq!(playlist.segments.len(), lengths, "{}", playlist.text);
        let mut frames = 0;
        for (_, _, segment) in &parts[1..parts.len() - 1] {
            frames += probe(&[parts[0].2.as_slice(), segment].concat()).1[0].3;
        }
        assert_eq!(frames, 150);
    }
}

#[tokio::test]
async fn segments_come_while_the_upload_goes_on() {
    let service = Service::start(&[]).await;
    let upload = video("ts", "-f lavfi -i testsrc2=size=160x90:rate=25:duration=6", QUICK);
    let (sender, body) = streamed();
    let request = post(&service, &[("x-output-format", "hls")], body);
    let answered = tokio::spawn(async move { head(&http2(), request).await });
    let cut = upload.len() * 2 / 3;
    sender.send(upload.slice(..cut)).await.expect("read");
    let mut response = answered.await.expect("not panicked");
    let mut got = Vec::new();
    while !got.windows(17).any(|name| name == b"segment-00001.m4s") {
        let frame = tokio::time::timeout(DEADLINE, response.body_mut().frame()).await.expect("in time");
        got.extend_from_slice(&frame.expect("more").expect("whole").into_data().expect("data"));
    }
    sender.send(upload.slice(cut..)).await.expect("read");
    drop(sender);
    let headers = response.headers().clone();
    got.extend_from_slice(&response.into_body().collect().await.expect("whole").to_bytes());
    assert_eq!(played(&parts(&headers, &got)).1[0].1, 150);
}

/// Whoever takes what came for a whole stream must be able to see that it is none.
#[tokio::test]
async fn a_stream_that_breaks_off_has_no_end() {
    let service = Service::start(&["--drain-timeout", "300ms"]).await;
    let (sender, body) = streamed();
    let request = post(&service, &[("x-output-format", "hls")], body);
    let http = http1();
    let answered = tokio::spawn({
        let http = http.clone();
        async move { head(&http, request).await }
    });
    let upload = video("ts", "-f lavfi -i testsrc2=size=160x90:rate=25:duration=6", QUICK);
    sender.send(upload.slice(..upload.len() / 2)).await.expect("read");
    let mut response = answered.await.expect("not panicked");
    let first = response.body_mut().frame().await.expect("more").expect("whole").into_data().expect("data");
    assert!(first.starts_with(b"--snowshed-"));
    // SIGTERM with the upload open: the stream cannot end by itself.
    assert_eq!(service.terminate().await.0, Some(0));
    let rest = response.into_body().collect().await;
    assert!(rest.is_err(), "{:?}", rest.map(http_body_util::Collected::to_bytes));
    drop((sender, http));
}

/// One segment and what the connection takes is all that a reader who stalls can cost, and not for long.
#[tokio::test]
async fn a_reader_that_stalls_is_broken_off() {
    let service = Service::start(&["--idle-timeout", "1s"]).await;
    let baseline = service.holdings();
    let upload = video("ts", "-f lavfi -i testsrc2=size=640x360:rate=25:duration=6", QUICK);
    for http in [http1(), http2_with_small_stream_windows()] {
        let headers = [("x-output-format", "hls"), ("x-height", "480")];
        let response = head(&http, post(&service, &headers, whole(upload.clone()))).await;
        assert_eq!(response.status(), 200);
        let start = std::time::Instant::now();
        while service.metric("transcoder_streams").await > 0.0 {
            assert!(start.elapsed() < DEADLINE, "it still waits for its reader");
        }
        assert!(response.into_body().collect().await.is_err(), "what was broken off must not look whole");
        drop(http);
    }
    service.back_to(baseline).await;
}

#[tokio::test]
async fn what_is_no_video_is_refused_as_ever() {
    let service = Service::start(&[]).await;
    for accept in ["*/*", "application/vnd.apple.mpegurl"] {
        let headers = [("x-output-format", "hls"), ("accept", accept)];
        let noise = Bytes::from_static(b"this is no video at all, whatever it says it is");
        let (status, head, _) = answer(&http1(), post(&service, &headers, whole(noise))).await;
        assert_eq!((status.as_u16(), head.get("location")), (422, None), "{accept}");
    }
}
