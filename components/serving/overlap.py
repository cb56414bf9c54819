"""One piece of work in several threads: what comes is made ahead, what is slow is done side by side, what goes is dealt
with behind.

    with behind(write, 8) as give, ahead(read(), 8) as items, abreast(work, items, 2) as done:
        for item, result in done:
            give(result)

Order stays, no more than so many items wait anywhere, and an error in a thread is raised here.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from queue import Empty, Queue
from typing import TypeVar

T, R = TypeVar("T"), TypeVar("R")
END = object()


@contextmanager
def ahead(items: Generator[T, None, None], depth: int) -> Iterator[Iterator[T]]:
    """Yields the items of a generator, which runs in a thread and is up to `depth` of them ahead.

    What it raises is raised in place of the item that it did not give. On leaving, it is closed where it stands.
    """
    waiting: Queue = Queue(depth)
    left = threading.Event()

    def make() -> None:
        failed = None
        try:
            with closing(items):
                for item in items:
                    if left.is_set():
                        return
                    waiting.put((item, None))
        except BaseException as error:
            failed = error
        if not left.is_set():
            waiting.put((END, failed))

    def taken() -> Iterator[T]:
        while True:
            item, failed = waiting.get()
            if failed is not None:
                raise failed
            if item is END:
                return
            yield item

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        yield taken()
    finally:
        left.set()
        while thread.is_alive():
            with suppress(Empty):  # what it is about to put must find room
                waiting.get_nowait()
            thread.join(0.02)


@contextmanager
def abreast(act: Callable[[T], R], items: Iterable[T], count: int) -> Iterator[Iterator[tuple[T, R]]]:
    """Yields (item, act(item)) in order, for which `count` threads are at work; as many items wait for them, so that
    none is idle while the caller deals with what is done.

    What `act` raises is raised in place of its item. On leaving, what is being worked on is waited for.
    """
    with ThreadPoolExecutor(count, thread_name_prefix="abreast") as pool:

        def done() -> Iterator[tuple[T, R]]:
            under_way: deque = deque()
            for item in items:
                under_way.append((item, pool.submit(act, item)))
                if len(under_way) > 2 * count:
                    first, future = under_way.popleft()
                    yield first, future.result()
            for first, future in under_way:
                yield first, future.result()

        try:
            yield done()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def behind(act: Callable[[T], None], depth: int) -> Iterator[Callable[[T], None]]:
    """Yields `give(item)`, which has a thread call `act(item)` in the order given, and waits where `depth` items are
    still to be dealt with.

    On leaving, all of them were; on leaving by an exception, the rest is dropped. What `act` raises is raised by the
    next `give` or on leaving, and nothing after it is dealt with.
    """
    waiting: Queue = Queue(depth)
    failed: list[BaseException] = []
    dropped = threading.Event()

    def work() -> None:
        while (item := waiting.get()) is not END:
            if not (failed or dropped.is_set()):
                try:
                    act(item)
                except BaseException as error:
                    failed.append(error)

    def give(item: T) -> None:
        if failed:
            raise failed[0]
        waiting.put(item)

    thread = threading.Thread(target=work, name="behind", daemon=True)
    thread.start()
    try:
        yield give
    except BaseException:
        dropped.set()
        raise
    finally:
        waiting.put(END)
        thread.join()
    if failed:
        raise failed[0]
