import { describe, expect, it } from "vitest";
import { split } from "../src/frames";

describe("frames", () => {
  it("are taken apart where there is a place", () => {
    expect(split("svc::open (src/a.rs:41)")).toEqual({ name: "svc::open", place: "src/a.rs:41" });
    expect(split("<impl (A, B)>::go")).toEqual({ name: "<impl (A, B)>::go", place: "" });
    expect(split("fsync (libc.so.6)")).toEqual({ name: "fsync", place: "libc.so.6" });
  });
});
