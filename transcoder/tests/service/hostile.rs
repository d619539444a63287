//! Uploads that were made to hurt: each is answered in time, in bounded memory, and opens nothing.

use crate::harness::*;
use bytes::Bytes;
use std::net::TcpListener;

/// What the process's memory may peak above its level at rest, whatever is uploaded to one stream.
const MOST_KIB: u64 = 600 << 10;

/// The peak of resident memory, in KiB.
fn peak(service: &Service) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.pid)).expect("alive");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

async fn upload(service: &Service, name: &str, upload: impl Into<Bytes>) -> (u16, Bytes) {
    let (status, _, body) = answer(&http1(), post(service, &[], whole(upload))).await;
    assert!(status == 200 || status == 422, "{name}: {status} {body:?}");
    (status.as_u16(), body)
}

async fn refused(service: &Service, name: &str, bytes: impl Into<Bytes>, reason: &str) {
    let (status, body) = upload(service, name, bytes).await;
    let said = String::from_utf8_lossy(&body);
    assert!(status == 422 && said.contains(reason), "{name}: {status} {}", said.get(..300).unwrap_or(&said));
}

/// Where a box of this name has its content.
fn content(movie: &[u8], name: &[u8; 4]) -> usize {
    movie.windows(4).position(|four| four == name).unwrap_or_else(|| panic!("{name:?}")) + 4
}

fn put(movie: &mut [u8], at: usize, number: u32) {
    movie[at..at + 4].copy_from_slice(&number.to_be_bytes());
}

fn small(arguments: &str) -> Vec<u8> {
    video("mp4", &picture("160x90"), &format!("{QUICK} {arguments}")).to_vec()
}

/// Play lists and references would lead to a file that exists and an address that answers. What would be transcoded
/// if they were followed is refused.
#[tokio::test]
async fn an_upload_opens_no_file_and_no_address() {
    let service = Service::start(&[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let target = directory.path().join("target.ts");
    std::fs::write(&target, ts_with_sound()).expect("written");
    let target = target.to_str().expect("text");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("set");
    let address = listener.local_addr().expect("bound");
    let mut texts = Vec::new();
    for place in
        [target.to_owned(), format!("file:{target}"), format!("http://{address}/x.ts"), format!("tcp://{address}")]
    {
        texts.push(format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{place}\n#EXT-X-ENDLIST\n"));
        texts.push(format!("ffconcat version 1.0\nfile '{place}'\n"));
        texts.push(format!("<?xml version=\"1.0\"?><MPD><Period><BaseURL>{place}</BaseURL></Period></MPD>"));
        texts.push(format!("concat:{place}"));
        texts.push(format!("<!DOCTYPE html><video src=\"{place}\"></video>"));
    }
    texts.push(format!("v=0\nc=IN IP4 127.0.0.1\nm=video {} RTP/AVP 96\na=rtpmap:96 H264/90000\n", address.port()));
    for text in texts {
        for media_type in ["video/mp4", "video/mp2t", "video/x-mpegurl"] {
            let request = post(&service, &[("content-type", media_type)], whole(text.clone()));
            let (status, _, body) = answer(&http1(), request).await;
            assert_eq!(status, 422, "{text}: {body:?}");
        }
    }
    let accepted = listener.accept().map(|(_, peer)| peer).map_err(|error| error.kind());
    assert_eq!(accepted, Err(std::io::ErrorKind::WouldBlock), "somebody called");
    let image = video("png", "-f lavfi -i color=red:size=64x64", "-frames:v 1");
    refused(&service, "a picture", image, "not a video").await;
}

#[tokio::test]
async fn tables_that_promise_more_than_there_is() {
    let service = Service::start(&[]).await;
    let level = peak(&service);
    // A thousand million samples of one size in one chunk: an index of 24 GB.
    let mut movie = small("-movflags +faststart");
    let (sizes, chunks) = (content(&movie, b"stsz"), content(&movie, b"stsc"));
    put(&mut movie, sizes + 4, 1);
    put(&mut movie, sizes + 8, 1_000_000_000);
    put(&mut movie, chunks + 12, 1_000_000_000);
    upload(&service, "samples", movie).await;
    // The same in a fragment.
    let mut movie = small("-movflags frag_keyframe+empty_moov");
    let run = content(&movie, b"trun");
    put(&mut movie, run, 0);
    put(&mut movie, run + 4, 170_000_000);
    upload(&service, "a run", movie).await;
    // Three thousand tracks.
    let movie = small("-movflags +faststart");
    let (begin, end) = (content(&movie, b"moov") - 8, content(&movie, b"mdat") - 8);
    let (track, rest) = (content(&movie, b"trak") - 8, content(&movie, b"udta") - 8);
    let tracks = movie[track..rest].repeat(3000);
    let mut many = [&movie[..track], &tracks, &movie[rest..end], &movie[end..]].concat();
    let length = u32::try_from(end - begin + tracks.len() - (rest - track)).expect("small");
    put(&mut many, begin, length);
    upload(&service, "tracks", many).await;
    let grown = peak(&service) - level;
    assert!(grown < MOST_KIB, "{grown} KiB more than at rest");
}

/// Uploads that go on for ever without showing a picture.
#[tokio::test]
async fn endless_beginnings() {
    let service = Service::start(&[]).await;
    let level = peak(&service);
    let endless = |head: &[u8], filling: &[u8]| {
        let mut upload = head.to_vec();
        while upload.len() < 20 << 20 {
            upload.extend_from_slice(filling);
        }
        Bytes::from(upload)
    };
    let ftyp = b"\0\0\0\x18ftypisom\0\0\x02\0isomiso2";
    let moov = [&ftyp[..], b"\xff\xff\xff\xf0moov\xff\xff\xff\x00free"].concat();
    // EBML's header, and a void element of a terabyte in its place for tracks.
    let ebml = b"\x1a\x45\xdf\xa3\x84\x42\x82\x81w\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xff\xec\x08\x00\x00\xff\xff\xff\xff\xff";
    let null = [&[0x47, 0x1f, 0xff, 0x10][..], &[0xff; 184]].concat();
    let sound = ts_with_sound();
    // Sound for ever, and the picture's packets left out.
    let sound: Vec<u8> =
        sound.chunks_exact(188).filter(|packet| packet[1] & 0x1f != 1 || packet[2] != 0).flatten().copied().collect();
    for (name, upload) in [
        ("index", endless(&moov, &[0; 4096])),
        ("void", endless(ebml, &[0; 4096])),
        ("null packets", endless(&null, &null)),
        ("sound", endless(&sound, &sound)),
    ] {
        let (status, body) = self::upload(&service, name, upload).await;
        let said = String::from_utf8_lossy(&body);
        assert!(status == 422 && (said.contains("first 16 MiB") || said.contains("no video track")), "{name}: {said}");
    }
    refused(&service, "junk", endless(b"junk", b"junk"), "not a video").await;
    let grown = peak(&service) - level;
    assert!(grown < MOST_KIB, "{grown} KiB more than at rest");
}

#[tokio::test]
async fn gigantic_pictures_are_refused_in_little_memory() {
    let service = Service::start(&[]).await;
    let level = peak(&service);
    for (codec, extension) in [("mpeg4", "mkv"), ("mjpeg -pix_fmt yuvj420p", "mp4")] {
        let source = "-f lavfi -i color=black:size=8000x4400:rate=1:duration=1";
        let huge = video(extension, source, &format!("-frames:v 1 -c:v {codec} -movflags +faststart"));
        refused(&service, codec, huge, "").await;
    }
    let grown = peak(&service) - level;
    assert!(grown < 200 << 10, "{grown} KiB more than at rest");
}

/// Each packet a hundred seconds, or a year, after the one before: no picture is doubled and no silence made for it.
#[tokio::test]
async fn gaps_of_hours_make_nothing() {
    let service = Service::start(&[]).await;
    let both = format!("{} {SOUND}", picture("160x90"));
    for seconds in [100, 31_536_000] {
        let gaps = format!("{QUICK} -bsf:a setts=ts=TS+N*{seconds}/TB -bsf:v setts=ts=TS+N*{seconds}/TB");
        for (name, upload) in [
            ("sound leaps", video("mkv", &both, gaps.split(" -bsf:v").next().expect("one"))),
            ("both leap", video("mkv", &both, &gaps)),
        ] {
            let (status, body) = self::upload(&service, name, upload).await;
            assert_eq!(status, 200, "{name}, {seconds} s");
            let streams = probe(&body).1;
            assert!((45..=50).contains(&streams[0].3), "{name}, {seconds} s: {streams:?}");
            assert!(streams[1].3 < 300, "{name}, {seconds} s: {streams:?}");
        }
    }
}

/// What is beside picture and sound does no harm, and sound that nobody can use is left out.
#[tokio::test]
async fn other_tracks_are_left_alone() {
    let service = Service::start(&[]).await;
    let directory = tempfile::tempdir().expect("a directory");
    let (cover, words) = (directory.path().join("cover.png"), directory.path().join("words.srt"));
    std::fs::write(&cover, video("png", "-f lavfi -i color=red:size=640x640", "-frames:v 1")).expect("written");
    std::fs::write(&words, "1\n00:00:00,000 --> 00:00:01,000\nwords\n").expect("written");
    let (cover, words) = (cover.to_str().expect("text"), words.to_str().expect("text"));
    let all = format!("{} {SOUND} -i {cover} -i {words}", picture("160x90"));
    let maps = format!("-map 2 -map 0 -map 1 -map 3 {QUICK} -c:v:0 copy -c:s mov_text -disposition:v:0 attached_pic");
    let upload = video("mp4", &all, &format!("{maps} -movflags +faststart"));
    let (_, body) = self::upload(&service, "cover and words", upload).await;
    let streams = probe(&body).1;
    assert_eq!((streams.len(), streams[0].3), (2, 50), "{streams:?}");
    assert_eq!((streams[0].1, streams[0].2), (426, 240), "the moving picture, not the cover");
    let only =
        video("mp4", &format!("{SOUND} -i {cover}"), "-map 0 -map 1 -c:a aac -c:v copy -disposition:v attached_pic");
    refused(&service, "sound with a cover", only, "no video track").await;
    let slow = format!("{} -f lavfi -i sine=sample_rate=100:duration=2", picture("160x90"));
    let upload = video("mkv", &slow, "-c:v libx264 -preset ultrafast -c:a pcm_s16le");
    let (status, body) = self::upload(&service, "a hundred samples a second", upload).await;
    assert_eq!((status, probe(&body).1[0].3), (200, 50));
}
