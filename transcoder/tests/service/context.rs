//! What a reader outside the process sees on its threads, found the way the OpenTelemetry standard says: the symbol
//! in `.dynsym`, each thread's own copy of it, the record behind it.

use crate::harness::*;
use object::{Object, ObjectSymbol};
use std::io;
use std::os::unix::fs::FileExt;

/// The symbol's distance from the thread pointer (variant II of the TLS ABI: below it).
fn distance_below_thread_pointer() -> u64 {
    let file = std::fs::read(env!("CARGO_BIN_EXE_snowshed-transcoder")).expect("the binary");
    let elf = object::read::elf::ElfFile64::<object::Endianness>::parse(&*file).expect("an ELF file");
    let symbol = elf.dynamic_symbols().find(|symbol| symbol.name() == Ok("otel_thread_ctx_v1"));
    let offset = symbol.expect("exported in .dynsym").address();
    let tls = elf.elf_program_headers().iter().find(|header| header.p_type.get(elf.endian()) == object::elf::PT_TLS);
    let tls = tls.expect("a TLS segment");
    let (size, align) = (tls.p_memsz.get(elf.endian()), tls.p_align.get(elf.endian()).max(1));
    size.next_multiple_of(align) - offset
}

/// Stops a thread, reads its thread pointer, and lets it go on.
fn thread_pointer(tid: i32) -> io::Result<u64> {
    // SAFETY: plain integers; the registers are written into a struct of the right type that outlives the call.
    unsafe {
        let nothing = std::ptr::null_mut::<libc::c_void>();
        if libc::ptrace(libc::PTRACE_ATTACH, tid, nothing, nothing) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut status = 0;
        libc::waitpid(tid, &raw mut status, libc::__WALL);
        let mut registers: libc::user_regs_struct = std::mem::zeroed();
        let read = libc::ptrace(libc::PTRACE_GETREGS, tid, nothing, &raw mut registers);
        libc::ptrace(libc::PTRACE_DETACH, tid, nothing, nothing);
        if read == 0 { Ok(registers.fs_base) } else { Err(io::Error::last_os_error()) }
    }
}

/// The records of all threads of this name: `None` where a thread never published anything.
fn records(service: &Service, name: &str) -> Vec<Option<[u8; 28]>> {
    let below = distance_below_thread_pointer();
    let memory = std::fs::File::open(format!("/proc/{}/mem", service.pid)).expect("a child of ours");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", service.pid)).expect("alive");
    let mut records = Vec::new();
    for task in tasks.filter_map(Result::ok) {
        if std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name) {
            let tid = task.file_name().to_string_lossy().parse().expect("a number");
            let mut pointer = [0; 8];
            let at = thread_pointer(tid).expect("a child of ours may be traced") - below;
            memory.read_exact_at(&mut pointer, at).expect("its TLS");
            let mut record = [0; 28];
            records.push((pointer != [0; 8]).then(|| {
                memory.read_exact_at(&mut record, u64::from_ne_bytes(pointer)).expect("its record");
                record
            }));
        }
    }
    records
}

#[tokio::test]
async fn codec_threads_publish_their_request_and_idle_loop_threads_nothing() {
    let service = Service::start(&[]).await;
    let mut open = Vec::new();
    for digit in ["a", "b"] {
        let (sender, body) = streamed();
        let traceparent = format!("00-{}-{}-01", digit.repeat(32), digit.repeat(16));
        let (http, request) = (http1(), post(&service, &[("traceparent", &traceparent)], body));
        let answered = tokio::spawn(async move { answer(&http, request).await.0 });
        sender.send(ts_with_sound().slice(..20_000)).await.expect("read");
        open.push((sender, answered));
    }
    eventually("two codec threads", || records(&service, "transcode").iter().flatten().count() == 2).await;
    let mut seen: Vec<_> = records(&service, "transcode").into_iter().flatten().collect();
    seen.sort();
    for (record, byte) in seen.iter().zip([0xaa, 0xbb]) {
        assert_eq!(record[..16], [byte; 16], "the trace that the client sent");
        assert_ne!(record[16..24], [byte; 8], "its own span, not the client's");
        assert_eq!(record[24..], [1, 1, 0, 0], "valid, sampled, no attributes");
    }
    for record in records(&service, "event-loop").into_iter().flatten() {
        assert_eq!(record[24], 0, "a loop thread that waits works on no request");
    }
    for (sender, answered) in open {
        sender.send(ts_with_sound().slice(20_000..)).await.expect("read");
        drop(sender);
        assert_eq!(answered.await.expect("not panicked"), 200);
    }
}

#[tokio::test]
async fn a_codec_thread_between_two_streams_publishes_nothing() {
    let service = Service::start(&[]).await;
    let traceparent = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    for upload in [ts_with_sound(), bytes::Bytes::from_static(b"no video")] {
        answer(&http1(), post(&service, &traceparent, whole(upload))).await;
        service.streaming(0.0).await;
        let idle = || records(&service, "transcode").into_iter().flatten().all(|record| record[24] == 0);
        eventually("the thread, used before, publishes nothing", idle).await;
    }
}
