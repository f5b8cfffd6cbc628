"""What can be seen of a late span from outside: frames, thread, system call, locks, sessions.

Nothing here runs on the job's thread, and nothing runs before a span is late. Facts only: what they mean is the
collector's to say.
"""

from .kernel.threads import cpu_time_ns, run_queue_ns
from .stack.frames import CodeLine, StackSample, Step, is_application, qualname, sample_stack, stack_text

__all__ = [
    "CodeLine",
    "StackSample",
    "Step",
    "cpu_time_ns",
    "is_application",
    "qualname",
    "run_queue_ns",
    "sample_stack",
    "stack_text",
]
