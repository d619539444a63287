//! A `tracing` layer that publishes the OpenTelemetry ids of the span that a thread is in.
//!
//! Add it after `tracing_opentelemetry`'s layer, from which it learns the ids:
//! `registry().with(tracing_opentelemetry::layer()…).with(ContextLayer::default())`.
//!
//! Invariant: after every enter and exit the thread publishes the ids of its innermost span that has any; outside all
//! spans, what was published before the first. Cost: the ids are asked for once per span and kept in its extensions;
//! an enter or exit is one look-up there and a few stores. A span counts as started from its first enter, so a parent
//! must be set before.

use crate::context::{self, TraceContext};
use std::cell::Cell;
use std::sync::OnceLock;
use tracing::dispatcher::WeakDispatch;
use tracing::{Dispatch, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// Publishes each span's ids on the thread that enters it.
#[derive(Debug, Default)]
pub struct ContextLayer {
    dispatch: OnceLock<WeakDispatch>,
}

/// The answer kept in a span's extensions; `None` where no OpenTelemetry layer knows the span.
struct Known(Option<TraceContext>);

thread_local! {
    /// How many spans this thread is in, and what was published before the outermost.
    static DEPTH: Cell<(u32, Option<TraceContext>)> = const { Cell::new((0, None)) };
}

impl ContextLayer {
    /// The span's ids, asked of the OpenTelemetry layer at the first call.
    fn ids<S: for<'a> LookupSpan<'a>>(&self, span: &SpanRef<'_, S>) -> Option<TraceContext> {
        if let Some(known) = span.extensions().get::<Known>() {
            return known.0;
        }
        // No lock on the extensions may be held here: the other layer takes them too.
        let ids =
            self.dispatch.get().and_then(WeakDispatch::upgrade).and_then(|dispatch| {
                TraceContext::of(&tracing_opentelemetry::get_otel_context(&span.id(), &dispatch)?)
            });
        span.extensions_mut().replace(Known(ids));
        ids
    }
}

impl<S> Layer<S> for ContextLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // A layer belongs to one subscriber; a second registration would be the same one.
        self.dispatch.get_or_init(|| dispatch.downgrade());
    }

    fn on_enter(&self, id: &span::Id, ctx: Context<'_, S>) {
        let (depth, base) = DEPTH.get();
        DEPTH.set(if depth == 0 { (1, context::current()) } else { (depth.saturating_add(1), base) });
        // A span without ids of its own leaves its parent's standing.
        if let Some(ids) = ctx.span(id).and_then(|span| self.ids(&span)) {
            context::publish(Some(ids));
        }
    }

    fn on_exit(&self, _id: &span::Id, ctx: Context<'_, S>) {
        let (depth, base) = DEPTH.get();
        let depth = depth.saturating_sub(1);
        DEPTH.set((depth, base));
        if depth == 0 {
            context::publish(base);
            return;
        }
        // Asking for the span that is innermost now, instead of popping, survives exits out of order.
        let ids = ctx.lookup_current().and_then(|span| span.scope().find_map(|span| self.ids(&span)));
        context::publish(ids.or(base));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing::info_span;
    use tracing_opentelemetry::OpenTelemetrySpanExt;
    use tracing_subscriber::layer::SubscriberExt;

    /// Runs `body` under a real OpenTelemetry tracer.
    fn traced(body: impl FnOnce()) {
        let provider = SdkTracerProvider::builder().build();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("test")))
            .with(ContextLayer::default());
        tracing::subscriber::with_default(subscriber, body);
    }

    fn otel_ids(span: &tracing::Span) -> ([u8; 16], [u8; 8]) {
        let context = span.context();
        let span = context.span();
        let ids = span.span_context();
        (ids.trace_id().to_bytes(), ids.span_id().to_bytes())
    }

    fn published() -> Option<([u8; 16], [u8; 8])> {
        context::current().map(|ids| (ids.trace_id, ids.span_id))
    }

    #[test]
    fn nested_spans_publish_and_restore() {
        traced(|| {
            assert_eq!(published(), None);
            let outer = info_span!("outer");
            let entered = outer.enter();
            let outer_ids = otel_ids(&outer);
            assert_eq!(published(), Some(outer_ids));
            info_span!("inner").in_scope(|| {
                let inner = otel_ids(&tracing::Span::current());
                assert_eq!(published(), Some(inner));
                assert_eq!(inner.0, outer_ids.0, "one trace");
                assert_ne!(inner.1, outer_ids.1);
            });
            assert_eq!(published(), Some(outer_ids));
            drop(entered);
            assert_eq!(published(), None);
        });
    }

    #[test]
    fn a_remote_parent_s_trace_is_published() {
        traced(|| {
            let remote = SpanContext::new(
                TraceId::from_bytes([0xab; 16]),
                SpanId::from_bytes([0xcd; 8]),
                TraceFlags::SAMPLED,
                true,
                TraceState::default(),
            );
            let span = info_span!("server");
            span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote)).expect("not started yet");
            span.in_scope(|| {
                assert_eq!(published().map(|ids| ids.0), Some([0xab; 16]));
                assert_eq!(context::current().map(|ids| ids.flags), Some(1));
            });
        });
    }

    #[test]
    fn exits_out_of_order_leave_the_span_that_remains() {
        traced(|| {
            let (first, second) = (info_span!("first"), info_span!(parent: None, "second"));
            let (entered_first, entered_second) = (first.enter(), second.enter());
            drop(entered_first);
            assert_eq!(published(), Some(otel_ids(&second)));
            drop(entered_second);
            assert_eq!(published(), None);
        });
    }

    #[test]
    fn what_was_published_before_the_first_span_comes_back() {
        traced(|| {
            let _manual = context::enter([9; 16], [9; 8], 0);
            info_span!("span").in_scope(|| assert_ne!(published(), Some(([9; 16], [9; 8]))));
            assert_eq!(published(), Some(([9; 16], [9; 8])));
        });
    }

    #[test]
    fn without_an_opentelemetry_layer_nothing_is_published() {
        let subscriber = tracing_subscriber::registry().with(ContextLayer::default());
        tracing::subscriber::with_default(subscriber, || info_span!("span").in_scope(|| assert_eq!(published(), None)));
    }
}
