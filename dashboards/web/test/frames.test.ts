import { describe, expect, it } from "vitest";
import { firstOwn, isPlumbing, split } from "../src/frames";

describe("frames", () => {
  it("take the place apart, where there is one", () => {
    expect(split("svc::open (src/a.rs:41)")).toEqual({ name: "svc::open", place: "src/a.rs:41" });
    expect(split("<impl (A, B)>::go")).toEqual({ name: "<impl (A, B)>::go", place: "" });
  });

  it("find the service's own line behind the runtime's", () => {
    const stack = [
      "__libc_open64 (io/../sysdeps/unix/sysv/linux/open64.c:41)", "std::sys::fs::unix::File::open_c (/rustc/abc/library/std/src/sys/fs/unix.rs:9)",
      "tempfile::imp::create (/root/.cargo/registry/src/x/tempfile-3.1/src/lib.rs:4)", "svc::faults::open (src/faults/open.rs:12)", "svc::main",
    ];
    expect(firstOwn(stack)).toBe(3);
    expect(stack.map(isPlumbing)).toEqual([true, true, true, false, false]);
  });

  it("prefer a known line to a library's function without one", () => {
    const stack = ["open64", "core::open (std/src/fs.rs:3)", "tempfile::file::tempfile", "poll (axum-0.8.9/src/util.rs:94)", "spool (/srv/app/src/a.rs:9)"];
    expect(firstOwn(stack)).toBe(4);
  });

  it("know Python's own library and the C library by where they lie", () => {
    const stack = [
      "fsync (libc.so.6)", "_bootstrap (<frozen importlib._bootstrap>:3)", "Thread.run (/usr/lib/python3.11/threading.py:975)",
      "get (/srv/venv/lib/python3.13/site-packages/requests/api.py:73)", "__call__ (/srv/shop.py:41)",
    ];
    expect(stack.map(isPlumbing)).toEqual([true, true, true, true, false]);
    expect(firstOwn(stack)).toBe(4);
    expect(split("fsync (libc.so.6)")).toEqual({ name: "fsync", place: "libc.so.6" });
  });

  it("begin at the top where everything or nothing is known", () => {
    expect(firstOwn([])).toBe(0);
    expect(firstOwn(["__libc_open64"])).toBe(0);
    expect(firstOwn(["opener::open_all", "main"])).toBe(0);
    expect(isPlumbing("<tokio::net::TcpStream as AsyncRead>::poll_read")).toBe(true);
  });
});
