// How a frame of a stack is written. Pure.

/** `function (file:line)` or `function (module.so)` taken apart; the place is empty where there is none. */
export function split(frame: string): { name: string; place: string } {
  const parts = /^(.*) \(([^()]+(?::\d+|\.so(?:\.\d+)*))\)$/.exec(frame);
  return { name: parts?.[1] ?? frame, place: parts?.[2] ?? "" };
}
