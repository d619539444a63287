//! The transcoder as its clients see it: the real binary, real video made by `ffmpeg`, real sockets.

mod boxes;
mod clients;
#[cfg(target_arch = "x86_64")]
mod context;
mod deadlines;
mod drain;
mod faults;
mod faults_fds;
mod faults_held;
mod formats;
mod formats_shape;
mod formats_time;
mod fuzz;
mod guarded;
mod harness;
mod hls_files;
mod hls_live;
mod hls_player;
mod hls_sessions;
mod hostile;
mod limits;
mod metrics;
mod playlist;
mod refusals;
mod release;
mod spans;
