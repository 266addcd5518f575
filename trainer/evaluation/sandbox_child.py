"""The confined side of the sandbox: confines itself, runs a solution and its tests, reports whether they passed.

Run by path in an isolated interpreter, so it may import nothing but the standard library. All it is told stands in one
JSON object on its standard input. See `trainer.evaluation.sandbox` for what is confined and what is not.
"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import struct
import sys
import types

# Syscalls that are refused, by what they would reach: their numbers on x86-64 and on AArch64 (None: it has none).
_REFUSED: dict[str, dict[str, tuple[int | None, int | None]]] = {
    "other programs and processes": {
        "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435), "execve": (59, 221),
        "execveat": (322, 281), "setsid": (112, 157), "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
        "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
        "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "prlimit64": (302, 261),
        "setpriority": (141, 140), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
        "sched_setparam": (142, 118), "sched_setattr": (314, 274), "ioprio_set": (251, 30), "ptrace": (101, 117),
        "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
        "kcmp": (312, 272),
    },
    "the network": {
        "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
        "accept": (43, 202), "accept4": (288, 242), "sendto": (44, 206), "sendmsg": (46, 211), "sendmmsg": (307, 269),
    },
    "what outlives the process": {
        "shmget": (29, 194), "shmctl": (31, 195), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
        "memfd_create": (319, 279), "memfd_secret": (447, 447), "keyctl": (250, 219), "add_key": (248, 217),
        "request_key": (249, 218),
    },
    "owners, modes and times of files, which Landlock leaves open": {
        "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None), "fchown": (93, 55),
        "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
        "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
        "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
        "mknod": (133, None), "mknodat": (259, 33), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    },
    "the system, and the rest of the kernel's surface": {
        "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
        "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
        "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
        "perf_event_open": (298, 241), "bpf": (321, 280), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
        "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105),
        "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
        "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
        "sethostname": (170, 161), "setdomainname": (171, 162), "settimeofday": (164, 170),
        "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171), "quotactl": (179, 60),
        "quotactl_fd": (443, 443), "acct": (163, 89), "syslog": (103, 116), "iopl": (172, None), "ioperm": (173, None),
    },
}  # fmt: skip
_NEWEST = 447  # syscalls with higher numbers are newer than this list, or of the x32 calling convention: refused
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH_* of linux/audit.h

_LIBC = ctypes.CDLL(None, use_errno=True)


def limit_resources(limits: dict[str, int]) -> None:
    """Set the limits that the kernel keeps: processor seconds, memory, file sizes, open files, processes."""
    for name, value in (
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_AS, limits["memory_bytes"]),
        (resource.RLIMIT_FSIZE, limits["file_bytes"]),
        (resource.RLIMIT_NOFILE, limits["open_files"]),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),  # root is exempt: for it, only the refused syscalls stand against new processes
    ):
        resource.setrlimit(name, (value, value))


def enter_namespaces() -> bool:
    """Leave the user's network and IPC, and with them the capabilities of root; false where that is not allowed.

    Another user namespace also closes /proc/PID/environ of the user's other processes.
    """
    user, group = os.getuid(), os.getgid()
    if _LIBC.unshare(0x10000000 | 0x40000000 | 0x08000000):  # CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWIPC
        return False
    with contextlib.suppress(OSError):  # unmapped, files can be read but not made
        for name, value in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(value)
    return True


def restrict_files(folder: str) -> bool:
    """Allow the standard library and shared libraries to be read, and one folder to be used; Landlock, Linux 5.13.

    The calls and structures are those of linux/landlock.h.
    """
    version = _LIBC.syscall(444, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    handled = (1 << 13) - 1 | (1 << 13 if version >= 2 else 0) | (1 << 14 if version >= 3 else 0)
    attributes = ctypes.create_string_buffer(struct.pack("Q", handled))
    rules = _LIBC.syscall(444, attributes, ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    read = 1 << 2 | 1 << 3  # READ_FILE, READ_DIR
    libraries = {os.path.dirname(os.__file__), os.path.join(sys.base_prefix, "lib"), "/lib", "/lib64", "/usr/lib"}
    allowed = {**dict.fromkeys(libraries, read), os.devnull: 1 << 1 | 1 << 2, "/dev/urandom": 1 << 2, folder: handled}
    for path, access in allowed.items():
        if not os.path.exists(path):
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, opened))
        failed = _LIBC.syscall(445, rules, 1, rule, 0)
        os.close(opened)
        if failed:
            return False
    done = _LIBC.syscall(446, rules, 0) == 0
    os.close(rules)
    return done


def refuse_syscalls() -> bool:
    """Make the listed syscalls fail with EPERM; seccomp, on the two architectures whose numbers stand above."""
    if platform.machine() not in _ARCHITECTURES:
        return False
    column, architecture = _ARCHITECTURES[platform.machine()]
    numbers = sorted({pair[column] for calls in _REFUSED.values() for pair in calls.values()} - {None})  # type: ignore[type-var]
    load, equal, greater, leave = 0x20, 0x15, 0x25, 0x06  # BPF: LD|W|ABS, JMP|JEQ|K, JMP|JGT|K, RET|K
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (leave, 0, 0, 0x80000000), (load, 0, 0, 0)]
    tests = [(greater, _NEWEST), *((equal, number) for number in numbers)]
    program += [(code, len(tests) - index, 0, value) for index, (code, value) in enumerate(tests)]  # type: ignore[misc]
    program += [(leave, 0, 0, 0x7FFF0000), (leave, 0, 0, 0x00050000 | 1)]  # allow; ERRNO with EPERM
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(code)))
    return _LIBC.prctl(22, 2, header, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def confine(limits: dict[str, int]) -> list[str]:
    """Apply all that this system has; returns the names of what holds from here on."""
    linux = sys.platform == "linux"
    held = ["namespaces"] if linux and enter_namespaces() else []
    limit_resources(limits)
    held.append("limits")
    if linux and _LIBC.prctl(38, 1, 0, 0, 0) == 0:  # PR_SET_NO_NEW_PRIVS, which the next two ask for
        held += ["files"] if restrict_files(os.getcwd()) else []
        held += ["syscalls"] if refuse_syscalls() else []
    return held


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    report, nothing, leave, write = os.dup(1), os.open(os.devnull, os.O_RDWR), os._exit, os.write
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    write(report, json.dumps({"held": confine(request["limits"])}).encode() + b"\n")
    module = types.ModuleType("solution")
    sys.modules["solution"] = module
    try:
        # two programs, so that no open bracket or string of the solution can swallow its tests; both are compiled, and
        # what runs them is at hand, before the solution can put anything in their place
        programs = [compile(request[name], f"<{name}>", "exec") for name in ("solution", "tests")]
        run = exec
        for program in programs:
            run(program, module.__dict__)
    except BaseException as error:  # SystemExit too: a program that leaves before its tests has not passed them
        write(report, json.dumps({"error": f"{type(error).__name__}: {error}"[:300]}).encode() + b"\n")
        leave(1)
    write(report, request["token"].encode())
    leave(0)


if __name__ == "__main__":
    main()
