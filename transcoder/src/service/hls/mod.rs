//! HTTP Live Streaming: `POST /api/v1/transcode` with `X-Output-Format: hls`, answered in one of two ways.
//!
//! **As files** (the usual answer): [`multipart`], one response with `init.mp4`, the segments as they are made, and the
//! playlist.
//!
//! **For players** (`Accept: application/vnd.apple.mpegurl`): 201 as soon as there is a first output, with the
//! `Location` of a live playlist (low-latency HLS) that anybody who has the URL can play while the upload goes on. The
//! POST's own response stays open until the codec has ended: proxies cut an upload when its response is over, the
//! limit, the span and the place of the request agree with what it costs, and an uploader learns of a failure, because
//! then its response breaks off.
//!
//! # What is kept, and who waits for whom
//! A session keeps at most `--session-window` bytes (less where many sessions share what all may keep: [`table`]). While
//! there is room, everything is kept, so that a viewer who comes late can begin at the beginning or at the live edge.
//! When it is full:
//! 1. segments that a viewer has taken go, oldest first; one viewer is enough, and a slower one finds 404 and goes on
//!    at the live edge, as in any live stream;
//! 2. if nobody has taken the oldest, the codec waits, and with it the upload: a file that arrives faster than it
//!    plays is paced by its viewers;
//! 3. after the idle time (45 s at most) of that without anybody taking anything, segments go unseen until somebody
//!    does: viewers who paused do not stop a camera.
//!
//! A playlist of a window that holds fewer than three target durations is shorter than RFC 8216 wants: memory is what
//! is promised. The playlist is first handed out when it has a whole segment, because players give up on one without.
//!
//! # How it ends
//! - The upload is over: `EXT-X-ENDLIST`, once a viewer who follows has the last part; viewers can come until nobody
//!   has asked for anything for `--session-idle`.
//! - The uploader goes away, or its stream breaks: the same with what was made until then.
//! - Nobody asks for anything for `--session-idle`, also while the upload runs: it is broken off, all is given back,
//!   and the URL is 404.
//! - `DELETE` of the session's URL: the same at once.

mod cut;
mod media;
mod metrics;
mod multipart;
mod playlist;
mod reload;
mod routes;
mod session;
mod table;
mod window;

pub(super) use routes::routes;
pub(crate) use table::Sessions;

use super::App;
use super::body::{BodyError, Receiver};
use crate::faults;
use crate::pipeline::{Output, Piece, PieceKind, PipelineError, Settings, Why};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use session::{Reason, Session};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use tracing::{Instrument, Span};

/// The media types that ask for a playlist.
const PLAYLIST_TYPES: [&str; 2] = [playlist::PLAYLIST_TYPE, "application/x-mpegurl"];

/// Answers a transcode request that wants HLS; `first` is the stream's first piece, its header.
pub(super) fn answer(app: &App, headers: &HeaderMap, settings: &Settings, first: Piece, output: Receiver) -> Response {
    let cancel = output.cancel();
    let mut response = if wants_playlist(headers) {
        created(app, settings, &first.bytes, output)
    } else {
        let (media_type, body) = multipart::answer(settings, first.bytes, output, app.metrics.clone());
        ([(header::CONTENT_TYPE, media_type)], faults::infect_result(body)).into_response()
    };
    // So that the span can tell why it ended.
    response.extensions_mut().insert(cancel);
    response
}

/// The client accepts a playlist, and does not refuse it by `q=0`.
fn wants_playlist(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    ranges.flat_map(|ranges| ranges.split(',')).any(|range| {
        let mut fields = range.split(';').map(str::trim);
        let wanted = fields.next().unwrap_or_default();
        let refused = fields.any(|field| {
            field.split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("q") && value.trim().parse::<f32>().is_ok_and(|quality| quality <= 0.0)
            })
        });
        !refused && PLAYLIST_TYPES.iter().any(|known| wanted.eq_ignore_ascii_case(known))
    })
}

fn created(app: &App, settings: &Settings, init: &Bytes, output: Receiver) -> Response {
    let session = app.sessions.open(init, settings);
    let url = routes::url(session.id());
    let playlist = format!("{url}/{}", playlist::PLAYLIST);
    let said = json!({
        "schema": 1,
        "session": url,
        "playlist": playlist,
        "idle_seconds": app.sessions.idle().as_secs_f64(),
    });
    tokio::spawn(live(app.sessions.clone(), session.clone(), output, Span::current()));
    let upload = Upload { session, said: Some(format!("{said}\n").into()), over: false };
    let body = Body::from_stream(stream::unfold(upload, Upload::next));
    let mut response = (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    // Hexadecimal digits and slashes are a header's value.
    if let Ok(location) = HeaderValue::try_from(playlist) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// A session's life.
async fn live(sessions: Sessions, session: Arc<Session>, output: Receiver, request: Span) {
    // The span of the request ends with the codec, not with the last viewer.
    let how = feed(&sessions, &session, output).instrument(request).await;
    if how.is_ok() {
        session.followed().await;
    }
    session.end(how);
    sessions.finish(&session);
    session.unwanted().await;
    sessions.close(session.id(), Reason::Idle);
}

/// Takes what the codec makes, until it has ended or nobody wants it; dropping `output` ends it.
async fn feed(sessions: &Sessions, session: &Session, mut output: Receiver) -> Result<(), BodyError> {
    let mut over = std::pin::pin!(async {
        tokio::select! {
            () = session.unwanted() => Why::ReaderIdle(session.idle()),
            () = session.abandoned() => Why::Gone,
        }
    });
    let ended = |why| BodyError::Pipeline(PipelineError::Ended(why));
    loop {
        let piece = tokio::select! {
            biased;
            why = &mut over => return Err(ended(why)),
            piece = output.next() => piece,
        };
        let failed = match piece {
            Some(Output::Data(piece)) => {
                // Other kinds are an index over the whole file, which is no part of a segment.
                if let PieceKind::Fragment { seconds, independent, last } = piece.kind {
                    let limit = tokio::select! {
                        biased;
                        why = &mut over => return Err(ended(why)),
                        limit = session.room(piece.bytes.len(), || sessions.share()) => limit,
                    };
                    session.push(&piece.bytes, (seconds, independent, last), limit);
                }
                continue;
            }
            Some(Output::Done) => return Ok(()),
            Some(Output::Failed(error)) => BodyError::Pipeline(error),
            None => BodyError::Died,
        };
        tracing::warn!(error = %failed, "stream broken off");
        return Err(failed);
    }
}

/// The response to the uploader: what there is to know, and an end that tells how it ended.
struct Upload {
    session: Arc<Session>,
    said: Option<Bytes>,
    over: bool,
}

/// A session that did not come to a good end.
#[derive(Debug)]
struct BrokenOff(Arc<BodyError>);

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for BrokenOff {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // Not the pointer to it: the span looks for the error itself.
        Some(&*self.0)
    }
}

impl Upload {
    async fn next(mut self) -> Option<(Result<Bytes, BrokenOff>, Self)> {
        if let Some(said) = self.said.take() {
            return Some((Ok(said), self));
        }
        if self.over {
            return None;
        }
        let how = self.session.ended().await;
        self.over = true;
        match how {
            Ok(()) => None,
            Err(why) => Some((Err(BrokenOff(why)), self)),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.over {
            self.session.uploader_gone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_a_playlist() {
        let wants = |accept: &'static str| {
            wants_playlist(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        for yes in [
            "application/vnd.apple.mpegurl",
            "Application/X-MpegURL; q=0.5",
            "text/html, application/vnd.apple.mpegurl;version=7;q=1, */*",
        ] {
            assert!(wants(yes), "{yes}");
        }
        for no in ["", "*/*", "multipart/mixed", "application/vnd.apple.mpegurl;q=0", "application/x-mpegurl ; Q = 0.0"]
        {
            assert!(!wants(no), "{no}");
        }
        assert!(!wants_playlist(&HeaderMap::new()));
    }
}
