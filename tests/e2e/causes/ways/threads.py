"""Locks, conditions, queues and threads of one process."""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from tests.e2e.causes.place import ready
from tests.e2e.causes.way import lock, own_wait, wait, way

HOUR = 3600

# --- locks that another job holds ------------------------------------------------------------------------------------

_ledger = threading.Lock()


def close_month() -> None:
    with _ledger:
        ready()
        time.sleep(HOUR)


@way("lock_wait", span=lock("_ledger"), beside=(close_month,), held_by="close_month", in_test=True)
def lock_held_by_another_job() -> None:
    with _ledger:  # <- stops here
        pass


class Catalogue:
    """Something with a lock of its own."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def rebuild(self) -> None:
        with self._lock:
            with self._lock:
                ready()
                time.sleep(HOUR)

    def find(self) -> None:
        with self._lock:  # <- rlock_of_an_object stops here
            pass


_catalogue = Catalogue()


def rebuild_catalogue() -> None:
    _catalogue.rebuild()


@way("lock_wait", span=lock("_lock"), beside=(rebuild_catalogue,), held_by="rebuild_catalogue")
def rlock_of_an_object() -> None:
    _catalogue.find()


_by_customer = {"acme": threading.Lock(), "duck": threading.Lock()}


def bill_acme() -> None:
    _by_customer["acme"].acquire()
    ready()
    time.sleep(HOUR)


@way("lock_wait", span=lock("_by_customer"), beside=(bill_acme,), held_by="bill_acme")
def lock_in_a_dict_with_a_long_timeout() -> None:
    _by_customer["acme"].acquire(timeout=900)  # <- stops here


_slots = threading.BoundedSemaphore(1)


def take_slot() -> None:
    with _slots:
        ready()
        time.sleep(HOUR)


@way("lock_wait", span=lock("_slots"), beside=(take_slot,))
def semaphore_without_a_free_slot() -> None:
    with _slots:  # <- stops here
        pass


_leaked = threading.Lock()


def leak() -> None:
    """Takes the lock and ends: an exit without `finally`."""
    _leaked.acquire()
    ready()


@way("lock_wait", span=lock("_leaked"), beside=(leak,))
def lock_whose_holder_ended() -> None:
    with _leaked:  # <- stops here
        pass


_by_account: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def _post(account: str, pause: float) -> None:
    with _by_account[account]:  # <- lock_of_a_key stops here
        ready()
        time.sleep(pause)


def post_first() -> None:
    _post("acme", HOUR)


@way("lock_wait", span=lock("_by_account"), beside=(post_first,), held_by="post_first")
def lock_of_a_key() -> None:
    _post("acme", 0)


_stripes = [threading.Lock() for _ in range(8)]


def hold_stripe() -> None:
    key = 19
    with _stripes[key % len(_stripes)]:
        ready()
        time.sleep(HOUR)


@way("lock_wait", span=lock("_stripes"), beside=(hold_stripe,), held_by="hold_stripe")
def striped_lock() -> None:
    key = 27
    with _stripes[key % len(_stripes)]:  # <- stops here
        pass


class Account:
    """Something that shows its lock to others."""

    def __init__(self) -> None:
        self.__mutex = threading.Lock()

    @property
    def lock(self) -> threading.Lock:
        return self.__mutex

    def settle(self) -> None:
        with self.__mutex:
            ready()
            time.sleep(HOUR)


class Connection(NamedTuple):
    """One of a pool's."""

    name: str
    account: Account


_connection = Connection("one", Account())


def settle() -> None:
    _connection.account.settle()


@way("lock_wait", span=lock("lock"), beside=(settle,), held_by="settle")
def lock_behind_a_property() -> None:
    with _connection.account.lock:  # <- stops here
        pass


_journal = threading.Lock()
_servants = ThreadPoolExecutor(1)


def _hold_journal() -> None:
    with _journal:
        ready()
        time.sleep(HOUR)


def write_journal() -> None:
    """A thread of a pool does it for the job, and has no span."""
    _servants.submit(_hold_journal).result()


@way("lock_wait", span=lock("_journal"), beside=(write_journal,), held_by="write_journal")
def lock_of_a_pool_thread_of_another_job() -> None:
    with _journal:  # <- stops here
        pass


# --- locks whose holders wait for each other -------------------------------------------------------------------------

_accounts = threading.Lock()
_audit = threading.Lock()
_both = threading.Barrier(2)


def audit_first() -> None:
    with _audit:
        ready()
        _both.wait()
        with _accounts:
            pass


@way("deadlock", span=lock("_audit"), beside=(audit_first,), held_by="audit_first", in_test=True)
def deadlock_of_two_locks() -> None:
    with _accounts:
        _both.wait()
        with _audit:  # <- stops here
            pass


_red, _green, _blue = threading.Lock(), threading.RLock(), threading.Lock()
_three = threading.Barrier(3)


def take_green() -> None:
    with _green:
        ready()
        _three.wait()
        with _blue:
            pass


def take_blue() -> None:
    with _blue:
        ready()
        _three.wait()
        with _red:
            pass


@way("deadlock", span=lock("_green"), beside=(take_green, take_blue), held_by="take_green")
def deadlock_of_three_locks() -> None:
    with _red:
        _three.wait()
        with _green:  # <- stops here
            pass


_once = threading.Lock()


@way("deadlock", span=lock("_once"))
def lock_taken_twice() -> None:
    with _once:
        _save()


def _save() -> None:
    with _once:  # <- lock_taken_twice stops here
        pass


_totals = threading.Lock()


def _on_signal(_number: int, _frame: object) -> None:
    with _totals:  # <- lock_in_a_signal_handler stops here
        pass


@way("deadlock", span=lock("_totals"))
def lock_in_a_signal_handler() -> None:
    """The handler runs in the thread that it interrupts, which has the lock."""
    signal.signal(signal.SIGUSR1, _on_signal)
    with _totals:
        signal.raise_signal(signal.SIGUSR1)


_pages = threading.Lock()


def _flush() -> None:
    with _pages:  # <- join_of_a_thread_that_wants_the_lock stops here
        pass


@way("deadlock", span=own_wait())
def join_of_a_thread_that_wants_the_lock() -> None:
    """Its thread waits for the lock, the job for the thread: either line is where it stands."""
    with _pages:
        thread = threading.Thread(target=_flush, daemon=True)
        thread.start()
        thread.join()  # <- stops here


# --- events, queues, threads -----------------------------------------------------------------------------------------

_goods = threading.Condition()


@way("waiting", span=wait("_goods") + "|job ")
def condition_that_nobody_notifies() -> None:
    with _goods:
        _goods.wait()  # <- stops here


_loaded = threading.Event()


@way("waiting", span=wait("_loaded") + "|job ", in_test=True)
def event_that_nobody_sets() -> None:
    _loaded.wait()  # <- stops here


_phase = threading.Barrier(3)


@way("waiting", span=wait("_phase") + "|job ")
def barrier_without_its_third_party() -> None:
    _phase.wait()  # <- stops here


_inbox: queue.Queue[str] = queue.Queue()


@way("waiting", span=wait("_inbox") + "|job ")
def empty_queue() -> None:
    _inbox.get()  # <- stops here


_outbox: queue.Queue[int] = queue.Queue(maxsize=1)


@way("waiting", span=wait("_outbox") + "|job ")
def full_queue() -> None:
    for number in range(10):
        _outbox.put(number)  # <- stops here


_simple: queue.SimpleQueue[str] = queue.SimpleQueue()


@way("waiting", span=wait("_simple") + "|job ")
def empty_simple_queue() -> None:
    _simple.get()  # <- stops here


_never = threading.Event()


@way("waiting", span=own_wait())
def thread_that_does_not_end() -> None:
    """Its thread waits for an event: the job, for the thread. Either line is where it stands."""
    thread = threading.Thread(target=_never.wait, daemon=True)
    thread.start()
    thread.join()  # <- stops here


@way("waiting", span=own_wait())
def future_that_nobody_sets() -> None:
    future: Future[int] = Future()
    future.result()  # <- stops here


_pool = ThreadPoolExecutor(1)


def _outer() -> int:
    return _pool.submit(int).result()  # <- pool_that_waits_for_itself stops here


@way(
    "waiting",
    "deadlock",
    because="the pool's only thread waits for a task of the same pool: nobody holds a lock, yet it never ends",
    span=own_wait(),
)
def pool_that_waits_for_itself() -> None:
    _pool.submit(_outer).result()  # <- stops here
