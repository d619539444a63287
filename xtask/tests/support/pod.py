"""A pod without a kubelet: a service as user 10001 and Snowshed as its sidecar.

usage: pod.py SNOWSHED SERVER CAPABILITIES tracefs|bare bpf|nobpf

Runs as the first process of a pid namespace and in a network namespace of its own, which both containers share.
The agent gets mount and cgroup namespaces, the capabilities named (as in "bpf,perfmon"), no way to more, and the
calls refused that container runtimes refuse by default; with "nobpf" also bpf() and perf_event_open(), as older
runtimes do. Prints one line of JSON about what came of it.
"""

import ctypes
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request

API = "http://127.0.0.1:9470"
PATIENCE = 40

# Numbers of x86-64: mount, umount2, pivot_root, swapon, swapoff, reboot, sethostname, init_module, delete_module,
# kexec_load, keyctl, add_key, request_key, unshare, open_by_handle_at, setns, finit_module, kexec_file_load,
# userfaultfd, io_uring_*, open_tree, move_mount, fsopen, fsconfig, fsmount.
REFUSED = [165, 166, 155, 167, 168, 169, 170, 175, 176, 246, 250, 248, 249, 272, 304, 308, 313, 320, 323,
           425, 426, 427, 428, 429, 430, 431, 432]
BPF_CALLS = [298, 321]


def refuse(numbers):
    """Has these calls answered with EPERM from now on."""
    load, equal, allow = (0x20, 0, 0, 0), 0x15, 0x7FFF0000
    steps = [load]
    for at, number in enumerate(numbers):
        steps.append((equal, len(numbers) - at, 0, number))
    steps += [(0x06, 0, 0, allow), (0x06, 0, 0, 0x00050000 | 1)]
    code = b"".join(struct.pack("HBBI", *step) for step in steps)
    room = ctypes.create_string_buffer(code)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(room)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


def agent(snowshed, pid, capabilities, tracefs, bpf):
    """Becomes the agent, in the container that it would have."""
    hide = "for d in /sys/kernel/tracing /sys/kernel/debug; do [ ! -d $d ] || mount -t tmpfs none $d; done; "
    mount = "mount -t tracefs -o ro tracefs /sys/kernel/tracing; " if tracefs else ""
    sets = "-all," + ",".join("+" + name for name in capabilities.split(","))
    inner = [sys.executable, __file__, "sandboxed", "bpf" if bpf else "nobpf"]
    command = [snowshed, "run", "--pid", str(pid)]
    locked = ["setpriv", "--bounding-set", sets, "--inh-caps", sets, "--no-new-privs"]
    script = f'{hide}{mount}exec "$@"'
    return ["unshare", "-m", "-C", "sh", "-c", script, "sh", *locked, *inner, *command]


def get(path):
    with urllib.request.urlopen(API + path, timeout=5) as answer:
        return json.load(answer)


def wait(what):
    """The first true answer, or what was answered last."""
    end, last = time.monotonic() + PATIENCE, None
    while time.monotonic() < end:
        try:
            last = what()
        except OSError:
            last = None
        if last:
            return last
        time.sleep(0.1)
    return last


def load(url, over):
    while not over.wait(0.1):
        urllib.request.urlopen(url, timeout=5).read()


def named():
    # The names of the code are looked up after the cause is named.
    for incident in get("/api/v1/incidents")["items"]:
        if incident["verdict"] == "named" and (incident["causes"][0]["site"] or {}).get("frames"):
            return incident
    return None


def main(snowshed, server, capabilities, tracefs, bpf):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    user = ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
    service = subprocess.Popen([*user, sys.executable, server, "0", "leak"], stdout=subprocess.PIPE, text=True)
    port = int(service.stdout.readline().split()[-1])
    command = agent(snowshed, service.pid, capabilities, tracefs == "tracefs", bpf == "bpf")
    sidecar = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    over = threading.Event()
    wait(lambda: get("/api/v1/status")["targets"])
    thread = threading.Thread(target=load, args=(f"http://127.0.0.1:{port}/", over))
    thread.start()
    # What is not to be named is not waited for: bare and without BPF only the list of descriptors is there.
    incident = wait(named) if tracefs == "tracefs" and bpf == "bpf" else None
    fds = wait(lambda: [item for item in get("/api/v1/fds")["items"] if item["live"] > 0])
    over.set()
    thread.join()
    # The service closes an answered connection when it gets to it, so what is open is asked anew each time.
    truth = 0

    def agreed():
        nonlocal truth
        truth = len(os.listdir(f"/proc/{service.pid}/fd"))
        return [item for item in get("/api/v1/fds")["items"] if item["live"] == truth]

    settled = wait(agreed)
    status = get("/api/v1/status")
    begun = time.monotonic()
    sidecar.send_signal(signal.SIGTERM)
    code = sidecar.wait(10)
    took = time.monotonic() - begun
    service.kill()
    print(json.dumps({"pid": service.pid, "status": status, "incident": incident, "fds": settled or fds,
                      "live": truth, "code": code, "stop_seconds": took}), flush=True)


if sys.argv[1] == "sandboxed":
    refuse(REFUSED + ([] if sys.argv[2] == "bpf" else BPF_CALLS))
    os.execv(sys.argv[3], sys.argv[3:])
main(*sys.argv[1:])
