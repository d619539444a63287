// Which frame of a stack a reader looks for. Pure; only a matter of display: the whole stack is always one click away.

/** `function (file:line)` or `function (module.so)` taken apart; the place is empty where there is none. */
export function split(frame: string): { name: string; place: string } {
  const parts = /^(.*) \(([^()]+(?::\d+|\.so(?:\.\d+)*))\)$/.exec(frame);
  return { name: parts?.[1] ?? frame, place: parts?.[2] ?? "" };
}

const RUNTIME_NAME = /^<?(?:(?:std|core|alloc|tokio|futures\w*|hyper|h2|axum|tower|libc|runtime|syscall|internal\/poll|os)(?:::|\.)|__|_start\b|syscall\b|clone3?\b|open(?:at)?(?:64)?$|start_thread\b)/;
const RUNTIME_PLACE = /(?:^|\/)(?:sysdeps|nptl|glibc[^/]*|rustc|library\/(?:std|core|alloc)|\.?cargo\/registry|site-packages|dist-packages|lib\/python3[^/]*|node:internal|go\/src)\/|^(?:libc[.-]|libpthread|ld-linux|ld-musl|<frozen )/;

/** Sources of a library as the agent writes them: from its crate or Rust's own library on. */
const LIBRARY_PLACE = /^(?:(?:std|core|alloc)|[\w-]+-\d+\.\d+[^/]*)\/src\//;

/** Code of a runtime or a library, as opposed to the service's own. */
export function isPlumbing(frame: string): boolean {
  const { name, place } = split(frame);
  // Whatever a function of Python is called, it is not how Python enters the system.
  const isPython = /\.py:\d+$/.test(place);
  return RUNTIME_PLACE.test(place) || LIBRARY_PLACE.test(place) || (!isPython && RUNTIME_NAME.test(name));
}

/** Index of the innermost frame that looks like the service's own, one whose line is known before others; 0 if none does. */
export function firstOwn(frames: readonly string[]): number {
  const known = frames.findIndex((frame) => !isPlumbing(frame) && split(frame).place !== "");
  return known >= 0 ? known : Math.max(0, frames.findIndex((frame) => !isPlumbing(frame)));
}
