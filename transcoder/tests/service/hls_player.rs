//! A live session in a real player: hls.js in headless Chromium, on a page of another origin, in low-latency mode.

use crate::harness::*;
use crate::hls_live::{clip, first, open};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::sync::mpsc;

const PLAYER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/player");
const PICTURE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/player.png");
/// Seconds of the clip.
const CLIP: f64 = 7.0;
/// Seconds of it that are sent before the player must play; the rest is sent only after that.
const BEFORE: f64 = 5.0;
/// For a browser to start on a busy machine, and to play.
const BROWSER: Duration = Duration::from_secs(60);

/// Sends from one second of the clip to another at the speed at which it plays.
async fn send_paced(sender: &mpsc::Sender<bytes::Bytes>, from: f64, to: f64) {
    let mut beat = tokio::time::interval(Duration::from_millis(50));
    let mut sent = first(&clip(), from, CLIP).len();
    let steps = ((to - from) / 0.05).round() as u32;
    for step in 1..=steps {
        beat.tick().await;
        let until = first(&clip(), from + (to - from) * f64::from(step) / f64::from(steps), CLIP).len();
        sender.send(clip().slice(sent..until)).await.expect("read");
        sent = until;
    }
}

async fn line(lines: &mut Lines<BufReader<ChildStdout>>, begins: &str) -> String {
    let line = tokio::time::timeout(BROWSER, lines.next_line()).await.expect("in time").expect("text");
    let line = line.unwrap_or_else(|| panic!("the player ended without {begins:?}: it says above why"));
    line.strip_prefix(begins).unwrap_or_else(|| panic!("{line}: expected {begins}")).to_owned()
}

#[tokio::test]
async fn a_browser_plays_a_stream_while_its_upload_goes_on() {
    let service = Service::start(&[]).await;
    let live = open(&service, &http2(), first(&clip(), 1.0, CLIP), &[]).await;
    let seconds = BROWSER.as_secs().to_string();
    let mut player = Command::new("node")
        .args([&format!("{PLAYER}/play.mjs"), &live.playlist, PICTURE, "--past", "2", "--timeout", &seconds])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this test needs node, npm packages and Chromium (cargo xtask setup test)");
    let mut lines = BufReader::new(player.stdout.take().expect("piped")).lines();
    send_paced(&live.sender, 1.0, BEFORE).await;
    // The upload is open, and two seconds of it have not been sent yet.
    let position: f64 = line(&mut lines, "playing ").await.parse().expect("a number");
    assert!(position > 2.0 && position < BEFORE, "{position}");
    send_paced(&live.sender, BEFORE, CLIP).await;
    live.finish(bytes::Bytes::new()).await;
    let seen: serde_json::Value = serde_json::from_str(&line(&mut lines, "ended ").await).expect("json");
    let status = tokio::time::timeout(BROWSER, player.wait()).await.expect("it ends").expect("waited");
    assert!(status.success(), "{seen}");
    assert!(seen["position"].as_f64().is_some_and(|position| (position - CLIP).abs() < 0.3), "{seen}");
    assert!(seen["parts"].as_u64() > Some(4) && seen["blocking"] == true, "low latency was not used: {seen}");
    assert_eq!(seen["fatal"], serde_json::json!([]));
    let picture = std::fs::metadata(PICTURE).expect("a picture of the page");
    assert!(picture.len() > 5_000, "{PICTURE} is empty");
}
