"""The measured process in Python: opens and closes again and again, a dozen functions deep. Speaks as worker.c does."""

import os
import sys
import time


def opens(calls):
    begun = time.thread_time_ns()
    for _ in range(calls):
        os.close(os.open("/dev/null", os.O_RDONLY))
    return (time.thread_time_ns() - begun) / calls


def deep(left, calls):
    return deep(left - 1, calls) if left else opens(calls)


# It publishes no trace context.
print(0, flush=True)
for line in sys.stdin:
    _, batches, calls, _ = line.split()
    print(min(deep(12, int(calls)) for _ in range(int(batches))), flush=True)
