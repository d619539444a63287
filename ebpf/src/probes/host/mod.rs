//! `host`: what the machine, a target's network namespace and its cgroup go short of.
//!
//! What: drops of network interfaces, backlogs of the CPUs, accept queues of listeners, pressure (PSI), kills
//! for lack of memory. All of it counters of the kernel, told as what they gained between two looks.
//! Cost: no hook. Some ten small files every two seconds, once for the machine and once for each network
//! namespace; three to six for each target's cgroup.
//! Limits: a namespace is read through `/proc/PID/net`, which shows the sum of what an interface dropped; what the
//! ring had no room for is told apart only where a sysfs of the same namespace can be read. What happened
//! between the last look and a counter's restart is not known and not counted. Kernels without PSI, or with
//! `psi=0`, tell no pressure; a cgroup v1 never does.

mod gain;
mod network;
mod pressure;
mod user;

pub(super) use user::Host;
