"""Opens a file deep inside, in every kind of function that Python has, and tells its own stack from there."""

import functools
import sys
import threading

KEPT = []


def own():
    """The callers, innermost first: what each is called, and at which line it is."""
    frame, told = sys._getframe(1), []
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        told.append(f"{name} {code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}")
        frame = frame.f_back
    return told


def gamma(
    depth,
):
    if depth:
        return gamma(
            depth - 1,
        )

    # Far below the line that it begins at.




































































































































    file, told = open("/proc/self/stat"), own()
    KEPT.append(file)
    return told


def decorated(function):
    @functools.wraps(function)
    def around(*arguments, **named):
        return function(*arguments, **named)

    return around


class Änderung:
    @decorated
    def method(self, *, depth):
        return next(self.generated(depth))

    @staticmethod
    def generated(depth):
        yield [gamma(depth) for _ in range(1)][0]


made = {}
exec(compile("def made_at_run_time(depth):\n\n\n    return Änderung().method(depth=depth)\n", "<made>", "exec"),
     {"Änderung": Änderung}, made)


def alpha(depth):
    return (lambda inner: sorted([0], key=lambda _: KEPT.append(made["made_at_run_time"](inner))) and KEPT[-1])(depth)


def tell(told):
    print("\n".join([*told, "end"]), flush=True)


print("ready", flush=True)
input()
tell(alpha(3))
input()
threading.Thread(target=lambda: tell(alpha(0)), name="worker").start()
input()
