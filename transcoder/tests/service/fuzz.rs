//! Real files, damaged at random: every upload is answered, and the process is as it was before.
//!
//! `SNOWSHED_FUZZ_SEED` and `SNOWSHED_FUZZ_CASES` choose other damage and more of it; a failure names its seed.

use crate::harness::*;
use bytes::Bytes;
use http_body_util::BodyExt;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Uploads in flight.
const AT_ONCE: usize = 8;
/// What the service may answer to damage.
const ANSWERS: [u16; 2] = [200, 422];

/// A small generator (xorshift64*): the same numbers for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 16) as usize % end.max(1)
    }
}

/// Damages a file: bits, bytes, sizes, pieces that change places, vanish or come twice, an early end.
fn damaged(file: &[u8], seed: u64) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut out = file.to_vec();
    // Headers are small and hold the most.
    let reach = if random.below(2) == 0 { out.len().min(2000) } else { out.len() };
    for _ in 0..1 + random.below(8) {
        if out.len() < 64 {
            break;
        }
        let at = random.below(reach.min(out.len()) - 8);
        match random.below(8) {
            0 => out[at] ^= 1 << random.below(8),
            1 => out[at] = random.next() as u8,
            2 | 3 => {
                let extremes = [0u32, 1, 7, 8, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x0100_0000, 0xffff];
                let size = extremes[random.below(extremes.len())];
                out[at..at + 4].copy_from_slice(&size.to_be_bytes());
            }
            4 => {
                let (length, to) = (random.below(400), random.below(out.len()));
                let piece: Vec<u8> = out[at..out.len().min(at + length)].to_vec();
                let to = to.min(out.len() - piece.len());
                out[to..to + piece.len()].copy_from_slice(&piece);
            }
            5 => drop(out.drain(at..out.len().min(at + random.below(2000)))),
            6 => {
                let piece: Vec<u8> = out[at..out.len().min(at + random.below(5000))].to_vec();
                out.splice(at..at, piece);
            }
            _ => out.truncate(64 + random.below(out.len() - 64)),
        }
    }
    out
}

fn files() -> Vec<(&'static str, Bytes)> {
    let both = "-f lavfi -i testsrc2=size=96x64:rate=25:duration=0.6 -f lavfi -i sine=duration=0.6";
    let made = |extension, arguments: &str| video(extension, both, arguments);
    vec![
        ("mp4", made("mp4", &format!("{QUICK} -movflags +faststart"))),
        ("mp4, index at the end", made("mp4", QUICK)),
        ("fragments", made("mp4", &format!("{QUICK} -movflags frag_keyframe+empty_moov -frag_duration 200000"))),
        ("ts", made("ts", QUICK)),
        ("matroska", made("mkv", "-c:v libx264 -preset veryfast -bf 2 -c:a flac")),
        ("webm", made("webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libopus")),
        ("mpeg-2 and mp2", made("ts", "-c:v mpeg2video -c:a mp2")),
        ("hevc", made("mkv", "-c:v libx265 -preset ultrafast -x265-params log-level=none -c:a libmp3lame")),
    ]
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[tokio::test]
async fn damaged_uploads_harm_nobody() {
    let service = Service::start(&["--max-streams", "32"]).await;
    let files = files();
    let baseline = service.holdings();
    let http = http2();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut answers = Vec::new();
    let first = setting("SNOWSHED_FUZZ_SEED", 1);
    for seed in first..first + setting("SNOWSHED_FUZZ_CASES", 240) {
        let (name, file) = &files[seed as usize % files.len()];
        let format = if seed % 3 == 0 { "ts" } else { "fmp4" };
        let headers = [("x-output-format", format), ("x-height", "64")];
        let request = post(&service, &headers, whole(damaged(file, seed)));
        let place = places.clone().acquire_owned().await.expect("never closed");
        let (http, name) = (http.clone(), *name);
        answers.push(tokio::spawn(async move {
            let answered = tokio::time::timeout(DEADLINE, http.request(request)).await;
            let response = answered.unwrap_or_else(|_| panic!("{name}, seed {seed}: no answer"));
            let (head, body) = response.unwrap_or_else(|error| panic!("{name}, seed {seed}: {error}")).into_parts();
            // A transfer may break off, but it ends.
            let body = tokio::time::timeout(DEADLINE, body.collect()).await;
            let body = body.unwrap_or_else(|_| panic!("{name}, seed {seed}: no end")).map(|body| body.to_bytes());
            let status = head.status.as_u16();
            assert!(ANSWERS.contains(&status), "{name}, seed {seed}: {status} {body:?}");
            drop(place);
            status
        }));
    }
    let (mut served, mut all) = (0, 0);
    for answer in answers {
        all += 1;
        served += u32::from(answer.await.expect("answered") == 200);
    }
    assert!(served > all / 10 && served < all, "{served} of {all} served: this damage proves nothing");
    drop(http);
    service.back_to(baseline).await;
    assert_eq!(service.metric("transcoder_streams").await, 0.0);
    assert_eq!(answer(&http1(), post(&service, &[], whole(ts_with_sound()))).await.0, 200, "it serves as before");
}
