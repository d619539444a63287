//! The window against made-up fragments: what is kept, what is let go, and what is waited for.

use super::super::cut::tests::settings;
use super::*;

const LIMIT: usize = 4000;

/// A stream of segments of two parts of a second each, 100 bytes a part.
fn window() -> Window {
    Window::new(&Bytes::from_static(b"init"), &settings(2.0, 2.0, 1.0))
}

fn grow(window: &mut Window, parts: usize) {
    for _ in 0..parts {
        let (_, part) = window.next();
        window.push(&vec![0; 100].into(), 1.0, part == 0, part == 1, LIMIT);
    }
}

fn text(window: &mut Window) -> String {
    String::from_utf8(window.playlist().to_vec()).expect("text")
}

#[test]
fn the_playlist_grows_by_parts_and_old_parts_are_no_longer_told() {
    let mut window = window();
    assert!(!window.is_playable());
    assert!(text(&mut window).ends_with("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-00001.0.m4s\"\n"));
    grow(&mut window, 1);
    assert!(!window.is_playable());
    assert!(text(&mut window).ends_with(
        "#EXT-X-PART:DURATION=1.000000,URI=\"part-00001.0.m4s\",INDEPENDENT=YES\n\
         #EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-00001.1.m4s\"\n"
    ));
    grow(&mut window, 1);
    assert!(window.is_playable());
    assert!(
        text(&mut window).ends_with(
            "#EXTINF:2.000000,\nsegment-00001.m4s\n#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"part-00002.0.m4s\"\n"
        )
    );
    grow(&mut window, 8);
    let long = text(&mut window);
    assert!(!long.contains("part-00001") && long.contains("part-00002.0") && long.contains("segment-00001.m4s"));
    window.end();
    let ended = text(&mut window);
    assert!(ended.ends_with("segment-00005.m4s\n#EXT-X-ENDLIST\n") && !ended.contains("PRELOAD"));
}

#[test]
fn an_open_segment_is_whole_at_the_end_and_an_empty_stream_ends_too() {
    let mut open = window();
    grow(&mut open, 3);
    open.end();
    assert!(text(&mut open).contains("#EXTINF:1.000000,\nsegment-00002.m4s\n#EXT-X-ENDLIST"));
    let mut empty = window();
    empty.end();
    assert!(empty.is_playable() && text(&mut empty).ends_with("#EXT-X-ENDLIST\n"));
}

#[test]
fn only_what_was_taken_is_let_go_unless_it_slides() {
    let mut window = window();
    grow(&mut window, 10);
    assert_eq!(window.bytes(), 1000);
    assert!(window.make_room(0, 1000, false), "it fits");
    assert!(!window.make_room(100, 1000, false), "nobody has taken anything");
    window.taken(2, 0);
    assert!(window.make_room(100, 1000, false));
    assert!(text(&mut window).contains("MEDIA-SEQUENCE:2\n"), "the second was not taken to its end");
    assert!(!window.make_room(300, 1000, false));
    window.taken(2, 1);
    assert!(window.make_room(300, 1000, false));
    assert_eq!((window.bytes(), window.segment(2), window.part(2, 0)), (600, None, None));
    assert!(window.make_room(900, 1000, true), "sliding, it lets go what nobody took");
    assert_eq!(window.bytes(), 0);
    assert!(window.make_room(9000, 1000, false), "a fragment alone always fits");
}

#[test]
fn the_open_segment_is_never_let_go_and_is_cut_before_it_fills_the_window() {
    let mut window = window();
    for _ in 0..40 {
        window.make_room(300, 1000, true);
        // Neither end of a group of pictures nor key frame, and far shorter than a segment.
        window.push(&vec![0; 300].into(), 0.01, false, false, 1000);
        assert!(window.bytes() <= 1000, "{} bytes", window.bytes());
    }
    assert!(!text(&mut window).contains("INDEPENDENT"), "not all begin with a key frame");
}

#[test]
fn many_tiny_segments_are_bounded_in_number() {
    let mut window = window();
    for _ in 0..3000 {
        window.make_room(1, 1 << 20, true);
        window.push(&Bytes::from_static(b"x"), 2.0, true, true, 1 << 20);
    }
    assert_eq!(window.segments.len(), SEGMENTS);
}

#[test]
fn what_is_waited_for_and_what_is_too_far() {
    let mut window = window();
    grow(&mut window, 5);
    // Two whole segments, and the third has one part.
    for (number, part, expected) in [
        (0, None, Ok(true)),
        (2, None, Ok(true)),
        (3, None, Ok(false)),
        (4, None, Ok(false)),
        (5, None, Err(TooFar)),
        (u64::MAX, None, Err(TooFar)),
        (u64::MAX, Some(usize::MAX), Err(TooFar)),
        (2, Some(1), Ok(true)),
        // There is no such part: the first of the next segment is meant, and it is there.
        (2, Some(2), Ok(true)),
        (2, Some(usize::MAX), Ok(true)),
        (3, Some(0), Ok(true)),
        (3, Some(1), Ok(false)),
        (3, Some(3), Ok(false)),
        (3, Some(4), Err(TooFar)),
        (4, Some(0), Ok(false)),
        (4, Some(3), Err(TooFar)),
    ] {
        assert_eq!(window.reaches(number, part), expected, "{number} {part:?}");
    }
    grow(&mut window, 1);
    assert_eq!(window.reaches(3, Some(2)), Ok(false), "the first part of the fourth is not there yet");
    window.end();
    assert_eq!(window.reaches(u64::MAX, None), Ok(true), "after the end nobody waits");
}

#[test]
fn only_the_hinted_part_is_worth_waiting_for() {
    let mut window = window();
    assert!(window.is_hinted(1, 0));
    grow(&mut window, 3);
    assert!(window.is_hinted(2, 1) && !window.is_hinted(2, 2) && !window.is_hinted(3, 0));
    window.end();
    assert!(!window.is_hinted(2, 1));
}

#[test]
fn pictures_that_stand_longer_than_a_part_are_parts_that_are_told_truly() {
    let mut window = Window::new(&Bytes::new(), &settings(2.0, 2.0, 0.5));
    window.push(&Bytes::from_static(b"x"), 1.5, true, false, LIMIT);
    let text = text(&mut window);
    assert!(text.contains("PART-TARGET=1.500\n") && text.contains("TARGETDURATION:4\n"), "{text}");
}
