//! The byte table of the shared records, `docs/reference/wire.md`: printed from the structures themselves, so
//! that it cannot go stale. `SNOWSHED_WRITE=1 cargo test -p snowshed-ebpf layout` writes it anew.

use crate::wire::{
    Bucket, ConnectionRecord, Context, Event, FdRecord, FileOrigin, GrowthRecord, PageAllowance, PageCount, Place,
    Python, PythonFrame, Registers, ResolverCount, ResolverKey, RetransmitRecord, Slot, SocketRecord, StackRecord,
    Target, TaskOrigin, TaskRecord, TaskState, ThreadRecord, UnixRecord, UnreadRecord,
};
use std::{fmt::Write as _, path::Path};

macro_rules! table {
    ($text:ident, $record:ident { $($field:ident),* $(,)? }) => {
        writeln!($text, "\n## {} ({} bytes)\n\n| offset | field |\n| ---: | --- |", stringify!($record), size_of::<$record>())
            .expect("a string takes text");
        // A field that is left out here would make the pattern incomplete, which does not compile.
        if let Some($record { $($field: _),* }) = None::<$record> {}
        $(writeln!($text, "| {} | `{}` |", std::mem::offset_of!($record, $field), stringify!($field))
            .expect("a string takes text");)*
    };
}

fn document() -> String {
    let mut text = "# Records between the kernel programs and the host\n\nNative endian, never stored. Written by \
                    `SNOWSHED_WRITE=1 cargo test -p snowshed-ebpf layout`; the fields are described in \
                    `ebpf/src/wire/`.\n"
        .to_owned();
    table!(text, Place { offset, entry, generation, module, table, count });
    table!(text, Python { slot, frame, hop, from, code, previous, instruction, version, _pad });
    table!(text, PythonFrame { code, instruction });
    table!(text, Target { place, python, inherited, observer });
    table!(text, Slot { target, tokens, serves });
    table!(text, Bucket { keys, slots });
    table!(text, Context { trace, span });
    table!(text, FileOrigin { ino, made, context, connection, connection_made, join, via, maker, exchange, written });
    table!(
        text,
        FdRecord { file, f_op, position, ino, bytes, sb, mark, peer, origin, fd, mode, tail, socket, links, file_mode }
    );
    table!(
        text,
        ConnectionRecord {
            local,
            peer,
            now,
            acknowledged,
            unsent,
            copied,
            unread,
            window,
            since_sent,
            since_received,
            since_heard,
            peer_port,
            resent,
            probed,
            _end,
        }
    );
    table!(text, UnixRecord { fd, own_length, peer_length, peer_ino, own, peer });
    table!(
        text,
        ThreadRecord {
            host,
            numbers,
            leader,
            level,
            state,
            on_cpu,
            threads,
            comm,
            started,
            runtime,
            delay,
            major_faults,
            rss,
            sleeps,
            ready,
            instance,
            syscall,
            arguments,
            context,
            task,
        }
    );
    table!(
        text,
        TaskState {
            wait_since,
            wait_ended,
            waits,
            wait_ns,
            busy_ns,
            connection,
            connection_made,
            exchange,
            epoll,
            call,
            batch,
            width,
            switches,
            events,
            full,
            runtime,
            delay,
            origin,
        }
    );
    table!(text, UnreadRecord { file, waiting });
    table!(text, TaskOrigin { made, context, join, published });
    table!(
        text,
        TaskRecord {
            host,
            numbers,
            level,
            state,
            on_cpu,
            word,
            word_known,
            owner,
            owes,
            _pad,
            comm,
            started,
            runtime,
            delay,
            sleeps,
            syscall,
            arguments,
            place,
            origin,
        }
    );
    table!(text, Registers { ip, sp, bp });
    table!(text, PageCount { pages, since, left, every, period, _pad });
    table!(text, PageAllowance { resident, tokens, period });
    table!(text, GrowthRecord { pages, kind, join, context, stack });
    table!(
        text,
        StackRecord { host_tgid, bytes, file, pair, made, registers, python, depth, _pad, low, window, frames, stack }
    );
    table!(
        text,
        RetransmitRecord {
            at,
            socket,
            host_tgid,
            flags,
            seq,
            end,
            segments,
            writers,
            local,
            peer,
            ports,
            family,
            _pad,
            traces,
        }
    );
    table!(
        text,
        SocketRecord {
            at,
            socket,
            kind,
            host_tgid,
            flags,
            state,
            error,
            segments,
            data_segments,
            resent,
            srtt,
            least_rtt,
            queue,
            limit,
            drops,
            probes,
            reads,
            slowest_read,
            read_delay,
            given_time,
            had_time,
            had_whole,
            given,
            had,
            owes,
            owed,
            unasked,
            pushed,
            local,
            peer,
            ports,
            family,
            _end,
        }
    );
    table!(text, ResolverKey { host_tgid, family, address });
    table!(text, ResolverCount { asked, answered, unreachable, failed, unknown, time });
    table!(text, Event { kind, host_tgid, at, child, _pad, numbers });
    text
}

#[test]
fn layout_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/wire.md");
    let text = document();
    if std::env::var_os("SNOWSHED_WRITE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "write it anew: see this file's head");
}
