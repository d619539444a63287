//! What pictures look like: turned upright, odd sizes, other pixels; and that content decides what an upload is.

use crate::harness::*;
use bytes::Bytes;
use std::io::Write;
use std::process::{Command, Stdio};

/// Brightness of the first picture's four quarters: top left, top right, bottom left, bottom right.
fn quarters(file: &[u8]) -> [u8; 4] {
    let mut decoder = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-i",
            "-",
            "-frames:v",
            "1",
            "-vf",
            "scale=2:2:flags=area,format=gray",
            "-f",
            "rawvideo",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg runs");
    let (mut stdin, file) = (decoder.stdin.take().expect("piped"), file.to_vec());
    // It stops reading after the first picture.
    let writer = std::thread::spawn(move || stdin.write_all(&file).unwrap_or_default());
    let output = decoder.wait_with_output().expect("ended");
    writer.join().expect("written");
    output.stdout.try_into().expect("four pixels")
}

/// Replaces the matrix of the first track's header (ISO/IEC 14496-12, 8.3.2).
fn with_matrix(movie: &Bytes, [a, b, c, d]: [i32; 4]) -> Bytes {
    let mut movie = movie.to_vec();
    let header = movie.windows(4).position(|four| four == b"tkhd").expect("a track") + 4;
    for (at, number) in [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30].into_iter().enumerate() {
        movie[header + 40 + at * 4..][..4].copy_from_slice(&number.to_be_bytes());
    }
    movie.into()
}

#[tokio::test]
async fn pictures_stand_upright() {
    let service = Service::start(&[]).await;
    // Bright in the top left quarter alone, and wider than high.
    let source = "-f lavfi -i color=black:size=320x160:rate=25:duration=0.4";
    let lit = "-vf drawbox=x=0:y=0:w=160:h=80:color=white:t=fill -pix_fmt yuv420p -movflags +faststart";
    let upload = video("mp4", source, lit);
    // The quarter that is bright, by the matrix.
    for (matrix, wide, bright) in [
        ([1, 0, 0, 1], true, 0),
        ([0, 1, -1, 0], false, 1),
        ([-1, 0, 0, -1], true, 3),
        ([0, -1, 1, 0], false, 2),
        ([-1, 0, 0, 1], true, 1),
        ([1, 0, 0, -1], true, 2),
        ([0, 1, 1, 0], false, 0),
        ([0, -1, -1, 0], false, 3),
    ] {
        let upload = with_matrix(&upload, matrix);
        let (status, _, body) = answer(&http1(), post(&service, &[("x-height", "160")], whole(upload))).await;
        assert_eq!(status, 200, "{matrix:?}: {body:?}");
        let (_, width, height, frames) = probe(&body).1[0].clone();
        assert_eq!((width, height, frames), (if wide { 320 } else { 80 }, 160, 10), "{matrix:?}");
        let quarters = quarters(&body);
        for (place, brightness) in quarters.into_iter().enumerate() {
            assert_eq!(brightness > 128, place == bright, "{matrix:?}: {quarters:?}");
        }
    }
}

#[tokio::test]
async fn odd_sizes_pixels_and_codecs() {
    let service = Service::start(&[]).await;
    let source = |size: &str| format!("-f lavfi -i testsrc2=size={size}:rate=25:duration=0.4");
    let cases = [
        ("odd", video("mkv", &source("160x90"), "-vf scale=161:91,setsar=1 -c:v libx264 -pix_fmt yuv444p"), (212, 120)),
        ("tiny", video("mkv", &source("18x10"), "-c:v mpeg4"), (216, 120)),
        (
            "not square",
            video("mp4", &source("180x144"), "-c:v libx264 -vf setsar=16/11 -movflags +faststart"),
            (218, 120),
        ),
        ("ten bits", video("mkv", &source("160x90"), "-c:v libx264 -pix_fmt yuv420p10le"), (214, 120)),
        ("pictures in order of showing", video("ts", &source("160x90"), "-c:v mpeg2video -bf 2"), (214, 120)),
        ("vp8", video("webm", &source("160x90"), "-c:v libvpx -deadline realtime -cpu-used 8"), (214, 120)),
        ("interlaced", video("ts", &source("160x96"), "-c:v libx264 -flags +ilme+ildct"), (200, 120)),
        (
            "one slice of many",
            video("mp4", &source("160x90"), "-c:v libx264 -x264-params slices=4:bframes=4"),
            (214, 120),
        ),
        ("timestamped packets", video("m2ts", &source("160x90"), "-c:v libx264"), (214, 120)),
    ];
    for (name, upload, (width, height)) in cases {
        for format in ["fmp4", "ts"] {
            let request = post(&service, &[("x-output-format", format), ("x-height", "120")], whole(upload.clone()));
            let (status, _, body) = answer(&http1(), request).await;
            assert_eq!(status, 200, "{name}: {body:?}");
            let (codec, got_width, got_height, frames) = probe(&body).1[0].clone();
            assert_eq!(
                (codec.as_str(), got_width, got_height, frames),
                ("h264", width, height, 10),
                "{name} to {format}"
            );
        }
    }
}

/// The type that the sender names does not matter, the content does.
#[tokio::test]
async fn content_decides() {
    let service = Service::start(&[]).await;
    let matroska = video("mkv", &picture("160x90"), "-c:v libx264 -preset ultrafast");
    for media_type in ["video/mp4", "video/mp2t", "video/nonsense"] {
        let request = post(&service, &[("content-type", media_type)], whole(matroska.clone()));
        assert_eq!(answer(&http1(), request).await.0, 200, "{media_type}");
    }
}

/// A size that changes with each part, in a container that has one header.
#[tokio::test]
async fn sizes_change_up_and_down() {
    let service = Service::start(&[]).await;
    let mut upload = Vec::new();
    for (part, size) in ["160x90", "320x240", "64x64", "640x360"].into_iter().enumerate() {
        let sources = format!("-f lavfi -i testsrc2=size={size}:rate=25:duration=1");
        upload.extend(video("ts", &sources, &format!("-c:v libx264 -preset ultrafast -output_ts_offset {part}")));
    }
    for format in ["fmp4", "ts"] {
        let request = post(&service, &[("x-output-format", format), ("x-height", "90")], whole(upload.clone()));
        let (status, _, body) = answer(&http1(), request).await;
        assert_eq!(status, 200, "{body:?}");
        let (_, width, height, frames) = probe(&body).1[0].clone();
        assert_eq!((width, height), (160, 90));
        assert!((96..=100).contains(&frames), "{frames} pictures of 100");
    }
}
