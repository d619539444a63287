//! Time: no picture is lost or moved, key frames and fragments come when they were asked for, sound stays with the
//! picture.

use crate::boxes::{clocks, fragments};
use crate::harness::*;
use bytes::Bytes;
use std::process::Command;

/// When each picture or sound is shown, in seconds, in order; `entries` as `ffprobe` takes it.
fn times(file: &[u8], stream: &str) -> Vec<f64> {
    let mut times: Vec<f64> =
        lines(file, stream, "packet=pts_time").iter().filter_map(|line| line.parse().ok()).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// What `ffprobe` says of each packet or stream.
pub(crate) fn lines(file: &[u8], stream: &str, entries: &str) -> Vec<String> {
    let kept = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(kept.path(), file).expect("written");
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream, "-show_entries", entries, "-of", "csv=p=0"])
        .arg(kept.path())
        .output()
        .expect("ffprobe runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| line.trim_end_matches(',').to_owned()).filter(|line| !line.is_empty()).collect()
}

async fn transcoded(service: &Service, headers: &[(&str, &str)], upload: &Bytes) -> Bytes {
    let (status, _, body) = answer(&http1(), post(service, headers, whole(upload.clone()))).await;
    assert_eq!(status, 200, "{body:?}");
    body
}

fn intervals(times: &[f64]) -> Vec<f64> {
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// Pictures come at irregular times, as phones and screen recorders write them.
#[tokio::test]
async fn irregular_pictures_keep_their_times() {
    let service = Service::start(&[]).await;
    let irregular = "-vf select=lt(mod(n\\,10)\\,4)+eq(mod(n\\,7)\\,0) -vsync vfr -c:v libx264 -preset veryfast -bf 2";
    for extension in ["mp4", "mkv", "ts"] {
        let upload = video(extension, "-f lavfi -i testsrc2=size=160x90:rate=25:duration=4", irregular);
        let wanted = intervals(&times(&upload, "v"));
        assert!(wanted.iter().any(|step| *step > 0.1) && wanted.iter().any(|step| *step < 0.05), "{wanted:?}");
        for format in ["fmp4", "ts"] {
            let result = transcoded(&service, &[("x-output-format", format)], &upload).await;
            let got = intervals(&times(&result, "v"));
            assert_eq!(got.len(), wanted.len(), "{extension} to {format}: no picture is lost");
            for (got, wanted) in got.iter().zip(&wanted) {
                assert!((got - wanted).abs() < 0.0015, "{extension} to {format}: {got} s where there were {wanted} s");
            }
        }
    }
}

#[tokio::test]
async fn sound_and_picture_begin_as_far_apart_as_the_ffmpeg_command_has_it() {
    let service = Service::start(&[]).await;
    let late_sound = format!("{} -itsoffset 0.4 {SOUND}", picture("160x90"));
    let late_picture = format!("-itsoffset 0.3 {} {SOUND}", picture("160x90"));
    let both = format!("{} {SOUND}", picture("160x90"));
    for (name, sources) in [("together", both), ("sound late", late_sound), ("picture late", late_picture)] {
        for extension in ["mp4", "ts", "mkv"] {
            let upload = video(extension, &sources, QUICK);
            let kept = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile().expect("a file");
            std::fs::write(kept.path(), &upload).expect("written");
            let path = kept.path().to_str().expect("text");
            for format in ["fmp4", "ts"] {
                // Matroska says when each packet is shown; the command's MP4 says it by edit lists, which are read in
                // many ways.
                let suffix = if format == "ts" { "ts" } else { "mkv" };
                let model = video(suffix, &format!("-i {path}"), &format!("{QUICK} -tune zerolatency"));
                let result = transcoded(&service, &[("x-output-format", format)], &upload).await;
                let apart = |file: &[u8]| times(file, "a")[0] - times(file, "v")[0];
                let (got, wanted) = (apart(&result), apart(&model));
                assert!((got - wanted).abs() < 0.025, "{name}, {extension} to {format}: {got} s, wanted {wanted} s");
            }
        }
    }
}

#[tokio::test]
async fn fragments_join_and_key_frames_come_when_asked_for() {
    let service = Service::start(&[]).await;
    let ntsc = format!("-f lavfi -i testsrc2=size=160x90:rate=30000/1001:duration=7 {SOUND}");
    // The second begins with its third picture.
    let gaps = "-vf select=gt(mod(n\\,5)\\,1) -vsync vfr";
    let uploads = [
        (video("mp4", &ntsc, &format!("{QUICK} -movflags +faststart")), 7.0),
        (video("mkv", "-f lavfi -i testsrc2=size=160x90:rate=25:duration=7", gaps), 6.92),
    ];
    for (upload, length) in &uploads {
        let headers = [("x-segment-seconds", "3"), ("x-gop-seconds", "1.5"), ("x-part-seconds", "0.4")];
        let result = transcoded(&service, &headers, upload).await;
        let (clocks, fragments) = (clocks(&result), fragments(&result));
        let mut ends = std::collections::BTreeMap::new();
        let mut keys = Vec::new();
        for run in fragments.iter().flatten() {
            if let Some(end) = ends.insert(run.track, run.begin + run.length) {
                assert_eq!(run.begin, end, "a fragment begins where its predecessor ended: {run:?}");
            }
            assert_eq!(run.shift, 0, "{run:?}");
            if run.track == 1 {
                let seconds = run.length as f64 / f64::from(clocks[&1]);
                assert!(seconds <= 0.402, "{seconds} s in a fragment of at most 0.4 s");
                if run.key {
                    keys.push(run.begin as f64 / f64::from(clocks[&1]));
                }
            }
        }
        let expected = [0.0, 1.5, 3.0, 4.5, 6.0];
        assert_eq!(keys.len(), expected.len(), "{keys:?}");
        for (got, expected) in keys.iter().zip(expected) {
            // All is moved by the sound encoder's delay, and a picture comes some time after the moment.
            assert!((0.0..0.11).contains(&(got - keys[0] - expected)), "{keys:?}");
        }
        let total = ends[&1] as f64 / f64::from(clocks[&1]) - keys[0];
        assert!((total - length).abs() < 0.02, "the last picture counts too: {total} s of {length}");
    }
}

#[tokio::test]
async fn leaps_of_the_clock_are_taken_out() {
    let service = Service::start(&[]).await;
    let here = ts_with_sound();
    for elsewhere in ["95441", "50000", "3"] {
        // The last one begins two seconds before the clock wraps.
        let there =
            video("ts", &format!("{} {SOUND}", picture("160x90")), &format!("{QUICK} -output_ts_offset {elsewhere}"));
        for parts in [[&here, &there], [&there, &here]] {
            let upload = Bytes::from(parts.map(|part| part.to_vec()).concat());
            let result = transcoded(&service, &[], &upload).await;
            let times = times(&result, "v");
            assert!((98..=100).contains(&times.len()), "{} pictures of 100", times.len());
            let longest = intervals(&times).into_iter().fold(0.0, f64::max);
            assert!(longest < 2.5, "a pause of {longest} s with {elsewhere}");
            let sound =
                fragments(&result).iter().flatten().filter(|run| run.track == 2).map(|run| run.samples).sum::<u32>();
            assert!((180..=400).contains(&sound), "{sound} frames of sound for four seconds");
        }
    }
}

#[tokio::test]
async fn more_pictures_than_sixty_a_second_are_thinned_out() {
    let service = Service::start(&[]).await;
    let upload = video("mp4", "-f lavfi -i testsrc2=size=160x90:rate=120:duration=1", "-movflags +faststart");
    let result = transcoded(&service, &[], &upload).await;
    let steps = intervals(&times(&result, "v"));
    assert!((58..=61).contains(&steps.len()), "{} steps", steps.len());
    assert!(steps.iter().all(|step| (0.016..0.026).contains(step)), "{steps:?}");
}

/// Quality or bits a second: each does what it says.
#[tokio::test]
async fn quality_and_bit_rate() {
    let service = Service::start(&[]).await;
    let upload = video("mp4", "-f lavfi -i testsrc2=size=320x180:rate=25:duration=4", "-movflags +faststart");
    let size = async |headers: &[(&str, &str)]| transcoded(&service, headers, &upload).await.len();
    let (fine, coarse) = (size(&[("x-crf", "18")]).await, size(&[("x-crf", "40")]).await);
    assert!(fine > 2 * coarse, "{fine} and {coarse} bytes");
    let low = size(&[("x-bitrate", "100000")]).await;
    let high = size(&[("x-bitrate", "400000")]).await;
    assert!((25_000..75_000).contains(&low), "{low} bytes at 100 kbit/s for four seconds");
    assert!((100_000..280_000).contains(&high), "{high} bytes at 400 kbit/s for four seconds");
}
