//! What goes in and what comes out.

use crate::harness::*;
use bytes::Bytes;
use http_body_util::BodyExt;

/// The picture's stream, and whether there is sound.
fn checked(bytes: &[u8]) -> (String, (u64, u64, u64), bool) {
    let (format, streams) = probe(bytes);
    let (codec, width, height, frames) = streams.first().expect("a stream").clone();
    assert_eq!(codec, "h264");
    let sound = streams.get(1).is_some_and(|stream| stream.0 == "aac" && stream.3 > 20);
    assert_eq!(streams.len(), 1 + usize::from(sound), "{streams:?}");
    (format, (width, height, frames), sound)
}

#[tokio::test]
async fn every_container_in_and_out_over_both_protocols() {
    let service = Service::start(&[]).await;
    let both = format!("{} {SOUND}", picture("160x90"));
    let uploads = [
        ("transport stream", ts_with_sound(), true),
        ("mp4, index in front", video("mp4", &both, &format!("{QUICK} -movflags +faststart")), true),
        ("mp4, index at the end", video("mp4", &both, QUICK), true),
        (
            "fragmented mp4",
            video("mp4", &picture("160x90"), &format!("{QUICK} -movflags frag_keyframe+empty_moov")),
            false,
        ),
        ("matroska", video("mkv", &both, &format!("{QUICK} -ac 1 -ar 22050")), true),
        ("mpeg-2", video("ts", &picture("160x90"), "-c:v mpeg2video"), false),
    ];
    for (name, upload, sound) in &uploads {
        for (asked, media_type, expected) in
            [("fmp4", "video/mp4", "mov,mp4,m4a,3gp,3g2,mj2"), ("ts", "video/mp2t", "mpegts")]
        {
            for http in [http1(), http2()] {
                let request = post(&service, &[("x-output-format", asked), ("x-height", "120")], whole(upload.clone()));
                let (status, headers, body) = answer(&http, request).await;
                assert_eq!(status, 200, "{name} to {asked}: {body:?}");
                assert_eq!(headers["content-type"], media_type);
                assert_eq!(checked(&body), (expected.to_owned(), (214, 120, 50), *sound), "{name} to {asked}");
            }
        }
    }
    assert_eq!(service.metric("transcoder_frames_total").await, 50.0 * 24.0);
    assert_eq!(service.metric("transcoder_requests_total{status=\"200\"}").await, 24.0);
    assert_eq!(service.metric("transcoder_first_byte_seconds_count").await, 24.0);
}

#[tokio::test]
async fn the_result_begins_before_the_upload_ends() {
    let service = Service::start(&[]).await;
    let upload = ts_with_sound();
    for http in [http1(), http2()] {
        let (sender, body) = streamed();
        let cut = upload.len() * 9 / 10;
        let request = post(&service, &[("x-output-format", "ts")], body);
        let answered = tokio::spawn(async move { head(&http, request).await });
        sender.send(upload.slice(..cut)).await.expect("read");
        // The last tenth is sent only after the head of the answer, with a first piece, is there.
        let response = answered.await.expect("not panicked");
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let first = body.frame().await.expect("a piece").expect("whole").into_data().expect("data");
        assert!(!first.is_empty());
        sender.send(upload.slice(cut..)).await.expect("read");
        drop(sender);
        let rest = body.collect().await.expect("whole").to_bytes();
        assert_eq!(checked(&[first, rest].concat()).1.2, 50);
    }
}

#[tokio::test]
async fn a_size_that_changes_in_the_middle_is_scaled_to_one() {
    let service = Service::start(&[]).await;
    let small = ts_with_sound();
    let large = video("ts", &format!("{} {SOUND}", picture("320x180")), &format!("{QUICK} -output_ts_offset 2"));
    let upload = Bytes::from([small, large].concat());
    let (status, _, body) = answer(&http1(), post(&service, &[("x-height", "90")], whole(upload))).await;
    assert_eq!(status, 200, "{body:?}");
    let (_, (width, height, frames), _) = checked(&body);
    assert_eq!((width, height), (160, 90));
    assert!((98..=100).contains(&frames), "{frames} frames of 100");
}

#[tokio::test]
async fn what_is_left_of_a_truncated_upload_is_transcoded() {
    let service = Service::start(&[]).await;
    let upload = ts_with_sound();
    let (status, _, body) = answer(&http1(), post(&service, &[], whole(upload.slice(..upload.len() / 2)))).await;
    assert_eq!(status, 200, "{body:?}");
    let frames = checked(&body).1.2;
    assert!((10..40).contains(&frames), "{frames} frames of 50 in half of the upload");
}

#[tokio::test]
async fn many_streams_at_once_over_one_connection() {
    let service = Service::start(&["--max-streams", "12"]).await;
    let baseline = service.holdings();
    let http = http2();
    let streams: Vec<_> = (0..12)
        .map(|_| {
            let (http, request) = (http.clone(), post(&service, &[], whole(ts_with_sound())));
            tokio::spawn(async move { answer(&http, request).await })
        })
        .collect();
    for stream in streams {
        let (status, _, body) = stream.await.expect("not panicked");
        assert_eq!(status, 200, "{body:?}");
        assert_eq!(checked(&body).1.2, 50);
    }
    drop(http);
    service.back_to(baseline).await;
}
