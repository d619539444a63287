/* What publishes a thread's trace context, by the standard: part of a program, or a library of its own. */
__attribute__((visibility("default"))) __thread void *otel_thread_ctx_v1;

__attribute__((visibility("default"))) void publish(void *record) {
    *(void *volatile *)&otel_thread_ctx_v1 = record;
}
