"""The incidents: what can go wrong on the made-up host.

Those of `context` are odd by their place alone; each single line has a text that normal operation has too. Those of
`faults` and `attacks` have texts of their own.
"""

from training.synth import attacks, context, faults
from training.synth.timeline import Incident

ALL = (
    Incident("segfault", faults.segfault, lines=76, seconds=60),
    Incident("unseen-burst", faults.unseen_burst, lines=80, seconds=120),
    Incident("disk-errors", faults.disk_errors, lines=80, seconds=900),
    Incident("out-of-memory", faults.out_of_memory, lines=60, seconds=900),
    Incident("brute-force", attacks.brute_force, lines=200, seconds=900),
    Incident("privilege-abuse", attacks.privilege_abuse, lines=30, seconds=900),
    Incident(
        "wrong-order", context.wrong_order, lines=120, seconds=6000, needs=tuple(context.SEQUENCES), hours=(8, 20)
    ),
    Incident("wrong-hour", context.wrong_hour, lines=80, seconds=12_000, needs=("shopd",), hours=(0.5, 1.5)),
    Incident("rate-jump", context.rate_jump, context.JUMP_LINES, context.JUMP_SECONDS, tuple(context.FREQUENT)),
    Incident("silence", lambda host, services: [], 0, context.SILENCE, tuple(context.JOBS), silences=context.JOBS),
)
