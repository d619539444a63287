//! What the pictures of one decoder may take, so that a few bytes cannot ask for gigabytes.
//!
//! Invariant: the planes that a decoder holds or has given away and that nobody has dropped yet are together no
//! larger than [`MOST_BYTES`]; beyond it the decoder is told that there is no memory. Costs one small allocation a
//! plane. Single allocations inside libav* (index tables, packets) are bounded for the whole process.

use ffmpeg_next::{codec, ffi};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Once};

/// All planes of one decoder: 20 pictures of 4096 by 2304 with 8 bits.
pub(super) const MOST_BYTES: usize = 288 << 20;
/// The largest picture, in pixels: 4096 by 2304, either way.
const MOST_PIXELS: i64 = 4096 * 2304;
/// The largest single allocation in libav*: a plane of the largest picture with 16 bits, or an index of a million
/// entries.
const MOST_AT_ONCE: usize = 24 << 20;

/// Bounds single allocations; the first call counts.
pub(super) fn bound_allocations() {
    static ONCE: Once = Once::new();
    // SAFETY: no precondition; it sets one number.
    ONCE.call_once(|| unsafe { ffi::av_max_alloc(MOST_AT_ONCE) });
}

/// Bytes in the planes of a decoder.
#[derive(Clone, Debug, Default)]
pub(super) struct Planes(Arc<AtomicUsize>);

/// A plane that is counted.
struct Plane {
    lent: *mut ffi::AVBufferRef,
    bytes: usize,
    planes: Planes,
}

impl Planes {
    /// Counts the planes of this decoder, which is not open yet. `self` must outlive it.
    pub(super) fn watch(&self, context: &mut codec::Context) {
        // SAFETY: the context is not open yet, so nobody uses these fields; the pointer is to the counter inside the
        // `Arc`, which the caller keeps for as long as the decoder.
        unsafe {
            let context = &mut *context.as_mut_ptr();
            context.max_pixels = MOST_PIXELS;
            context.opaque = ptr::from_ref(self).cast_mut().cast();
            context.get_buffer2 = Some(lend);
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |held: usize| held.checked_add(bytes).filter(|held| *held <= MOST_BYTES);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }
}

/// libavcodec's own buffers, counted.
unsafe extern "C" fn lend(
    context: *mut ffi::AVCodecContext,
    frame: *mut ffi::AVFrame,
    flags: libc::c_int,
) -> libc::c_int {
    // SAFETY: libavcodec calls this with its open context and a frame without buffers; `opaque` is what `watch` set.
    unsafe {
        let error = ffi::avcodec_default_get_buffer2(context, frame, flags);
        if error < 0 {
            return error;
        }
        let planes = &*(*context).opaque.cast::<Planes>();
        for buffer in &mut (*frame).buf {
            if buffer.is_null() {
                break;
            }
            let bytes = (**buffer).size;
            if !planes.take(bytes) {
                ffi::av_frame_unref(frame);
                return ffi::AVERROR(libc::ENOMEM);
            }
            let plane = Box::into_raw(Box::new(Plane { lent: *buffer, bytes, planes: planes.clone() }));
            let counted = ffi::av_buffer_create((**buffer).data, bytes, Some(give_back), plane.cast(), 0);
            if counted.is_null() {
                // The frame still has the plain buffer.
                drop(Box::from_raw(plane));
                planes.0.fetch_sub(bytes, Ordering::Relaxed);
                ffi::av_frame_unref(frame);
                return ffi::AVERROR(libc::ENOMEM);
            }
            *buffer = counted;
        }
    }
    0
}

unsafe extern "C" fn give_back(plane: *mut libc::c_void, _: *mut u8) {
    // SAFETY: the box that `lend` made for this buffer; libavutil calls this once, when nobody uses the plane.
    unsafe {
        let mut plane = Box::from_raw(plane.cast::<Plane>());
        plane.planes.0.fetch_sub(plane.bytes, Ordering::Relaxed);
        ffi::av_buffer_unref(&mut plane.lent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_bound() {
        let planes = Planes::default();
        assert!(planes.take(MOST_BYTES));
        assert!(!planes.take(1));
        assert!(!planes.take(usize::MAX));
        assert_eq!(planes.0.load(Ordering::Relaxed), MOST_BYTES);
    }
}
