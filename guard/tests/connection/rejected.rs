//! Requests that h2 answers by itself, so that the service never hears of them: the streams after them must keep
//! their own traces, or lose them, but never take another's.

use super::transport::{Sends, in_data_frames};
use super::{FIRST, serve};
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use snowshed_guard::connection::Requests;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET http://a/NUMBER/CHUNKS/LENGTH`, by the static table and literals.
fn block(number: u8, chunks: usize, length: usize) -> Vec<u8> {
    let path = format!("/{number}/{chunks}/{length}");
    [&[0x82, 0x86, 0x01, 1, b'a', 0x04, u8::try_from(path.len()).expect("short")], path.as_bytes()].concat()
}

fn good(stream: u32, number: u8) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(number, 4, 400))
}

/// Without `:method`.
fn malformed(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &[0x86, 0x84])
}

/// A header list of some kilobytes.
fn oversized(stream: u32) -> Vec<u8> {
    let mut block = block(FIRST, 1, 1);
    for _ in 0..40 {
        // A literal: `x` and 100 bytes.
        block.extend([0x00, 1, b'x', 100]);
        block.extend([b'y'; 100]);
    }
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// Depends on itself, which is an error of the stream.
fn dependent(stream: u32) -> Vec<u8> {
    let payload = [&stream.to_be_bytes()[..], &[1], &block(FIRST, 1, 1)].concat();
    frame(HEADERS, END_STREAM | END_HEADERS | PRIORITY, stream, &payload)
}

/// Padded, with a priority, in three parts.
fn in_parts(stream: u32, number: u8) -> Vec<u8> {
    let block = block(number, 4, 400);
    let first = [&[3][..], &0_u32.to_be_bytes(), &[9], &block[..4], &[0; 3]].concat();
    [
        frame(HEADERS, END_STREAM | PADDED | PRIORITY, stream, &first),
        frame(CONTINUATION, 0, stream, &block[4..9]),
        frame(CONTINUATION, END_HEADERS, stream, &block[9..]),
    ]
    .concat()
}

struct Outcome {
    sends: Sends,
    requests: Requests,
}

/// Sends these pieces, `at_once` bytes at a time, and reads until as many body bytes have come.
async fn exchange(
    pieces: &[Vec<u8>],
    at_once: usize,
    room: usize,
    wanted: usize,
    configure: fn(&mut auto::Builder<TokioExecutor>),
) -> Outcome {
    let (mut client, server) = tokio::io::duplex(room);
    let (sends, requests, served) = serve(server, configure);
    let served = tokio::spawn(async move { drop(served.await) });
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let writing = async {
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        for piece in [&hello].into_iter().chain(pieces) {
            for bytes in piece.chunks(at_once) {
                writer.write_all(bytes).await.expect("open");
            }
        }
    };
    let reading = async {
        let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
        while in_data_frames(&read).into_iter().filter(|data| *data).count() < wanted {
            let count = reader.read(&mut buffer).await.expect("open");
            assert!(count > 0, "closed before {wanted}");
            read.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), async { tokio::join!(writing, reading) })
        .await
        .expect("in time");
    drop(client);
    served.await.expect("not panicked");
    Outcome { sends, requests }
}

#[tokio::test]
async fn the_streams_after_a_rejected_one_keep_their_traces() {
    for rejected in [malformed(3), oversized(3), dependent(3)] {
        for at_once in [1, 7, usize::MAX] {
            let together = [good(1, 130), rejected.clone(), good(5, 131), in_parts(7, 132)].concat();
            let pieces = [together, good(9, 133)];
            let outcome = exchange(&pieces, at_once, 1 << 20, 4 * 1600, |builder| {
                builder.http2().max_header_list_size(2000);
            })
            .await;
            // No body byte with another's trace, and none without.
            assert_eq!(outcome.sends.http2_bodies(), (4 * 1600, 0), "{at_once} at once");
            assert!(outcome.requests.is_on());
        }
    }
}

#[tokio::test]
async fn streams_that_are_refused_or_reset_at_once_are_told_apart() {
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    // The third is one too many; the fifth is reset before the service has seen it.
    let pieces = [[good(1, 130), good(3, 131), good(5, 132)].concat(), [good(7, 133), reset(7)].concat(), good(9, 134)];
    let outcome = exchange(&pieces, usize::MAX, 1 << 20, 1600, |builder| {
        builder.http2().max_concurrent_streams(2);
    })
    .await;
    let (own, _) = outcome.sends.http2_bodies();
    assert!(own >= 1600, "{own}");
}

/// While nothing can be sent, nobody knows which streams were rejected: less may be published, but nothing wrong.
#[tokio::test]
async fn behind_a_socket_that_takes_nothing_no_trace_is_a_wrong_one() {
    for room in [10, 64, 200, 1000] {
        let mut pieces = Vec::new();
        let mut number = FIRST;
        for stream in (1..80).step_by(2) {
            if stream % 3 == 0 {
                pieces.push(malformed(stream));
            } else {
                pieces.push(good(stream, number));
                number += 1;
            }
        }
        let wanted = usize::from(number - FIRST) * 1600;
        let pieces = [pieces.concat()];
        let outcome = exchange(&pieces, usize::MAX, room, wanted, |_| {}).await;
        let (own, none) = outcome.sends.http2_bodies();
        assert_eq!(own + none, wanted, "room for {room}");
    }
}

#[tokio::test]
async fn trailers_and_bodies_are_no_requests() {
    let upload = [
        frame(HEADERS, END_HEADERS, 1, &block(130, 4, 400)),
        frame(DATA, 0, 1, &[1; 700]),
        good(3, 131),
        frame(DATA, PADDED, 1, &[[9].as_slice(), &[2; 80]].concat()),
        // `x: y`.
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0x00, 1, b'x', 1, b'y']),
        good(5, 132),
    ];
    let outcome = exchange(&[upload.concat()], 11, 1 << 20, 3 * 1600, |_| {}).await;
    assert_eq!(outcome.sends.http2_bodies(), (3 * 1600, 0));
    assert!(outcome.requests.is_on());
}

/// What comes out is what went in, whatever it is.
#[tokio::test]
async fn random_bytes_pass_unchanged() {
    let mut state = 7_u64;
    let mut random = move |below: usize| {
        // xorshift64.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).expect("small")
    };
    for round in 0..300 {
        let (near, mut far) = tokio::io::duplex(1 + random(300));
        let (probe, sends) = super::Probe::new(near);
        let (mut io, requests) = snowshed_guard::connection::wrap(probe);
        let mut bytes: Vec<u8> = (0..1 + random(3000)).map(|_| u8::try_from(random(256)).expect("a byte")).collect();
        if round % 2 == 0 {
            // As HTTP/2 begins, and frames that are short enough to end.
            bytes = (0..40u32)
                .flat_map(|_| {
                    frame(random(10) as u8, random(64) as u8, random(9) as u32, &bytes[..random(bytes.len().min(90))])
                })
                .collect();
            bytes = [frame(SETTINGS, 0, 0, &[]), bytes].concat();
        }
        let (cuts, back): (Vec<usize>, Vec<usize>) = (0..64).map(|_| (1 + random(400), 1 + random(90))).unzip();
        let inbound = [PREFACE, &bytes].concat();
        let near = async {
            let mut read = vec![0; inbound.len()];
            for (chunk, bytes) in read.chunks_mut(back[0]).zip(0..) {
                if bytes % 3 == 0 {
                    drop(requests.begin(hyper::Version::HTTP_2));
                }
                io.read_exact(chunk).await.expect("open");
            }
            let mut left = &bytes[..];
            let mut cut = cuts.iter().cycle();
            while !left.is_empty() {
                let one = &left[..left.len().min(*cut.next().expect("endless"))];
                let other = &left[one.len()..left.len().min(one.len() + 50)];
                let slices = [std::io::IoSlice::new(one), std::io::IoSlice::new(other)];
                let count = io.write_vectored(&slices).await.expect("open");
                assert!(count > 0);
                left = &left[count..];
            }
            read
        };
        let far = async {
            for chunk in inbound.chunks(back[1]) {
                far.write_all(chunk).await.expect("open");
            }
            let mut read = vec![0; bytes.len()];
            far.read_exact(&mut read).await.expect("open");
            read
        };
        let (came_in, went_out) = tokio::join!(near, far);
        assert!(came_in == inbound && went_out == bytes && sends.bytes() == bytes, "round {round}");
    }
}
