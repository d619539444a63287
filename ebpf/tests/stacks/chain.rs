//! `alpha` calls `beta` calls `gamma`, which opens a file; what `std::backtrace` says of that is printed.

use std::{backtrace::Backtrace, fs::File, hint::black_box, io::stdin};

#[inline(never)]
fn gamma(depth: u32) -> File {
    let trace = Backtrace::force_capture();
    let file = File::open("/etc/hostname").unwrap();
    for line in trace.to_string().lines() {
        if let Some((_, name)) = line.trim().split_once(": ")
            && name.starts_with("chain::")
        {
            println!("{name}");
        }
    }
    println!("end");
    black_box(depth);
    file
}

#[inline(never)]
fn beta(depth: u32) -> File {
    black_box(gamma(depth + 1))
}

#[inline(never)]
fn alpha(depth: u32) -> File {
    black_box(beta(depth + 1))
}

fn main() {
    let mut line = String::new();
    println!("ready");
    stdin().read_line(&mut line).unwrap();
    let file = alpha(0);
    stdin().read_line(&mut line).unwrap();
    drop(file);
}
