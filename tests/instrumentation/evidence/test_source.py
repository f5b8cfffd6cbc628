"""What a frame executes, from its positions and its source; and the objects that an expression names."""

from __future__ import annotations

import ast
import linecache
import os
import subprocess
import sys
import textwrap
import threading
import types
import weakref
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lastspan.instrumentation.evidence.locks.blocked_on import kind_of
from lastspan.instrumentation.evidence.objects.values import MISSING
from lastspan.instrumentation.evidence.python import variable
from lastspan.instrumentation.evidence.stack import source
from lastspan.instrumentation.evidence.stack.expressions import evaluate
from lastspan.instrumentation.evidence.stack.source import entered, expression, position

HAS_COLUMNS = sys.version_info >= (3, 11)


class Probe:
    """A context manager that takes down what its caller's frame is seen to do, when it is entered or called."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def _look(self) -> None:
        frame = sys._getframe(2)
        self.seen.append((expression(frame), entered(frame), position(frame)[0]))

    def __enter__(self) -> Probe:
        self._look()
        return self

    def __exit__(self, *error: object) -> None:
        pass

    async def __aenter__(self) -> Probe:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass

    def acquire(self, *arguments: object, **named: object) -> bool:
        self._look()
        return True

    def __iter__(self) -> Probe:
        return self

    def __next__(self) -> None:
        self._look()

    def text(self) -> str | None:
        found, _, _ = self.seen[-1]
        return found.text if found is not None else None

    def around(self) -> list[str | None]:
        return [one.text if one is not None else None for one in self.seen[-1][1]]


class Owner:
    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        self._probe = probe
        self.__private = probe

    def enter(self) -> None:
        with self._probe:
            pass

    def enter_private(self) -> None:
        with self.__private:
            pass

    def call(self) -> None:
        self.probe.acquire(True, timeout=4)

    def call_over_lines(self) -> None:
        (
            self
            .probe
            .acquire(
                True,
                timeout=4,
            )
        )  # fmt: skip


def second_item(probe: Probe) -> None:
    with Probe(), probe:
        pass


def parenthesised(probe: Probe) -> None:
    with (
        Probe() as first,
        probe as second,
    ):
        assert first is not second


def over_lines(probe: Probe) -> None:
    probes = [probe]
    with probes[
        0
    ]:  # fmt: skip
        pass


def walrus(probe: Probe) -> None:
    with (taken := probe):
        assert taken is probe


def branch(probe: Probe) -> None:
    with probe if probe else Probe():
        pass


def inside(probe: Probe) -> None:
    for _ in range(1):
        with probe:
            pass
    with Probe() as one, Probe():
        try:
            with Probe():
                pass
            raise ValueError
        except ValueError:
            with one:
                for _ in range(1):
                    probe.acquire()
        finally:
            assert one


def after(probe: Probe) -> None:
    with Probe():
        pass
    probe.acquire()


def returning(probe: Probe) -> bool:
    with Probe() as one:
        assert one
        return probe.acquire()


def in_lambda(probe: Probe) -> None:
    (lambda: probe.acquire())()


def in_comprehension(probe: Probe) -> None:
    [one.acquire() for one in [probe]]


def in_generator(probe: Probe) -> None:
    def steps() -> Iterator[None]:
        with Probe() as one:
            assert one
            probe.acquire()
            yield

    next(steps())


def of_equal_names(probe: Probe) -> None:
    def inner() -> None:
        with Probe():
            pass

    outer = inner

    def inner() -> None:  # type: ignore[no-redef]
        outer()
        with probe:
            pass

    inner()


def decorate(function: Callable[..., None]) -> Callable[..., None]:
    return function


@decorate
@decorate
def decorated(
    probe: Probe,
    *,
    more: int = 1,
) -> None:
    with probe:
        pass


def two_calls_in_a_line(probe: Probe) -> None:
    Probe().acquire(), probe.acquire()


def next_item(probe: Probe) -> None:
    for _ in probe:
        break


def comprehension_as_an_argument(probe: Probe) -> None:
    probe.acquire(all(os.path.isdir(name) for name in [os.sep]))


def unicode_before(probe: Probe) -> None:
    len("ÄÖÜ€"), probe.acquire()


@pytest.mark.parametrize(
    ("function", "text", "around", "on_3_10"),
    [
        (lambda probe: Owner(probe).enter(), "self._probe", [], True),
        (lambda probe: Owner(probe).enter_private(), "self.__private", [], True),
        (lambda probe: Owner(probe).call(), "self.probe.acquire(True, timeout=4)", [], True),
        (lambda probe: Owner(probe).call_over_lines(), "self.probe.acquire(True, timeout=4)", [], True),
        (second_item, "probe", ["Probe()"], True),
        (parenthesised, "probe", ["Probe()"], True),
        (over_lines, "probes[0]", [], True),
        (walrus, "probe", [], True),
        (branch, None, [], True),  # which of the two it is, nobody knows
        (inside, "probe.acquire()", ["one", "Probe()", "Probe()"], True),
        (after, "probe.acquire()", [], True),
        (returning, "probe.acquire()", ["Probe()"], True),
        (in_lambda, "probe.acquire()", [], False),
        (in_comprehension, "one.acquire()", [], sys.version_info >= (3, 12)),
        (in_generator, "probe.acquire()", ["Probe()"], True),
        (of_equal_names, "probe", [], True),
        (decorated, "probe", [], True),
        (two_calls_in_a_line, "probe.acquire()", [], False),  # without columns: which of the two
        (next_item, "probe", [], False),
        (comprehension_as_an_argument, "probe.acquire(all((os.path.isdir(name) for name in [os.sep])))", [], True),
        (unicode_before, "probe.acquire()", [], True),
    ],
)
def test_what_a_frame_executes(
    function: Callable[[Probe], object], text: str | None, around: list[str], on_3_10: bool
) -> None:
    """The expression of the very instruction; and the `with` blocks around it, innermost first."""
    probe = Probe()
    function(probe)
    if not HAS_COLUMNS and not on_3_10:
        text = None
    if HAS_COLUMNS and sys.version_info < (3, 13) and function is walrus:
        text = "taken"
    elif function is walrus:
        text = "(taken := probe)"
    if function is branch and (sys.version_info >= (3, 13) or not HAS_COLUMNS):
        text = "probe if probe else Probe()"
    assert probe.text() == text
    assert probe.around() == around


def test_an_expression_knows_its_place() -> None:
    """File and line of its first word; the name after `as`; whether it is being entered."""
    probe = Probe()
    parenthesised(probe)
    found, around, _ = probe.seen[-1]
    line = parenthesised.__code__.co_firstlineno
    assert (found.file, found.line, found.entering, found.alias) == (__file__, line + 3, True, "second")
    assert [(one.line, one.alias) for one in around] == [(line + 2, "first")]
    after(probe)
    found, _, here = probe.seen[-1]
    assert (found.line, found.entering) == (after.__code__.co_firstlineno + 3, False)
    assert here == found.line


async def waiting(probe: Probe, future: Any) -> None:
    async with probe as one, Probe():
        with one:
            await future


async def entering(manager: Any) -> None:
    async with Probe(), manager.probe as taken:
        assert taken


async def in_one_line(probe: Probe, future: Any) -> None:
    async with probe: await future  # fmt: skip  # noqa: E701


class Slow:
    """Its entry takes as long as the future does."""

    def __init__(self, future: Any) -> None:
        self.future = future

    async def __aenter__(self) -> None:
        await self.future

    async def __aexit__(self, *error: object) -> None:
        pass


class Await:
    def __await__(self) -> Iterator[None]:
        yield


def suspended(coroutine: Any) -> tuple[Any, FrameType]:
    coroutine.send(None)
    return coroutine, coroutine.cr_frame


def test_a_coroutine_that_is_suspended() -> None:
    """What it awaits, or the `async with` that it enters."""
    coroutine, frame = suspended(waiting(Probe(), Await()))
    if HAS_COLUMNS:
        found = expression(frame)
        assert found is not None
        assert found.text == "await future"
    assert [one and one.text for one in entered(frame)] == ["one", "Probe()", "probe"]
    coroutine.close()
    coroutine, frame = suspended(entering(types.SimpleNamespace(probe=Slow(Await()))))
    found = expression(frame)
    assert found is not None
    assert (found.text, found.entering, found.alias) == ("manager.probe", True, "taken")
    assert [one and one.text for one in entered(frame)] == ["Probe()"]
    coroutine.close()
    coroutine, frame = suspended(in_one_line(Probe(), Await()))
    assert not source.is_entering(frame)
    assert [one and one.text for one in entered(frame)] == ["probe"]
    coroutine.close()


# --- sources that are not what they were ------------------------------------------------------------------------------

PROGRAM = """
import sys
from lastspan.instrumentation.evidence.stack.source import entered, expression, is_entering

class Probe:
    def __enter__(self):
        frame = sys._getframe(1)
        found = expression(frame)
        print(found and found.text, [one and one.text for one in entered(frame)], is_entering(frame))
    def __exit__(self, *error):
        pass

def run(outer, inner):
    with outer:
        with inner:
            pass

if __name__ == "__main__":
    run(Probe(), Probe())
"""


def run(folder: Path, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_columns_the_line_tells(tmp_path: Path) -> None:
    """As on Python 3.10, and in a process that was started to save memory."""
    (tmp_path / "program.py").write_text(PROGRAM)
    assert run(tmp_path, "-X", "no_debug_ranges", "program.py") == ["outer [] True", "inner ['outer'] True"]


def test_without_a_source_the_instruction_tells(tmp_path: Path) -> None:
    """That something is entered, and how many blocks there are around; not their names."""
    (tmp_path / "program.py").write_text(PROGRAM)
    compile_it = "import py_compile; py_compile.compile('program.py', cfile='compiled.pyc')"
    run(tmp_path, "-c", compile_it)
    (tmp_path / "program.py").unlink()
    assert run(tmp_path, "compiled.pyc") == ["None [] True", "None [None] True"]


@pytest.mark.parametrize("options", [(), ("-X", "no_debug_ranges")])
def test_a_source_that_was_edited_is_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    """What stands there now is not what the code was made of."""
    (tmp_path / "program.py").write_text(PROGRAM)
    edit = """
        import program, pathlib
        path = pathlib.Path("program.py")
        path.write_text(path.read_text().replace("outer", "other").replace("inner", "another"))
        program.run(program.Probe(), program.Probe())
    """
    assert run(tmp_path, *options, "-c", textwrap.dedent(edit)) == ["None [] True", "None [None] True"]
    (tmp_path / "program.py").write_text(PROGRAM)
    shift = """
        import program, pathlib
        path = pathlib.Path("program.py")
        path.write_text("pass\\n" * 3 + path.read_text())
        program.run(program.Probe(), program.Probe())
    """
    assert run(tmp_path, *options, "-c", textwrap.dedent(shift)) == ["None [] True", "None [None] True"]


def test_code_that_was_made_in_memory() -> None:
    """Its source is known if it was put where tracebacks look for it."""
    text = "def made(probe):\n    with probe:\n        pass\n"
    names: dict[str, Any] = {}
    exec(compile(text, "<made in memory>", "exec"), names)
    probe = Probe()
    names["made"](probe)
    assert probe.text() is None
    linecache.cache["<made for tests>"] = len(text), None, text.splitlines(True), "<made for tests>"
    exec(compile(text, "<made for tests>", "exec"), names)
    names["made"](probe)
    assert probe.text() == "probe"


def test_a_source_in_another_encoding(tmp_path: Path) -> None:
    """Columns count bytes of UTF-8, whatever the file is written in."""
    path = tmp_path / "latin.py"
    path.write_bytes('# coding: latin-1\ndef made(probe):\n    "ÄÖÜ" and probe.acquire("é")\n'.encode("latin-1"))
    names: dict[str, Any] = {}
    exec(compile(path.read_bytes(), str(path), "exec"), names)
    probe = Probe()
    names["made"](probe)
    assert probe.text() == "probe.acquire('é')"


def test_what_is_no_source_is_not_read(tmp_path: Path) -> None:
    """A pipe would hold the reader for ever."""
    path = tmp_path / "pipe.py"
    os.mkfifo(path)
    names: dict[str, Any] = {}
    exec(compile("def made(probe):\n    with probe:\n        pass\n", str(path), "exec"), names)
    probe = Probe()
    names["made"](probe)
    assert probe.text() is None


def test_a_file_is_read_once(tmp_path: Path) -> None:
    """For all the places in it that are asked for."""
    path = tmp_path / "once.py"
    body = "def made(probe):\n    with probe:\n        pass\n    with probe:\n        pass\n"
    path.write_text(body)
    names: dict[str, Any] = {}
    exec(compile(body, str(path), "exec"), names)
    probe = Probe()
    names["made"](probe)
    path.unlink()
    names["made"](probe)
    assert [found and found.text for found, _, _ in probe.seen] == ["probe"] * 4


# --- objects ----------------------------------------------------------------------------------------------------------

GLOBAL = "a global"
LETTER = "a"


def frame_of(there: dict[str, Any]) -> FrameType:
    """Return a frame with some local variables."""
    one, two, numbers, table = there.get("one"), there.get("two"), [10, 20], {"a": 1, 2: "b", ("a", 2): "c"}
    named, by_member = Named("one", {"a": 1}), {Member.FIRST: 1, Member: 2}
    counted: defaultdict[str, int] = defaultdict(int, {"a": 1})
    ordered = OrderedDict(a=1)

    def inner() -> FrameType:
        assert one is one
        return sys._getframe(1)

    assert (two, numbers, table, named, by_member, counted, ordered) is not None
    return inner()


class Named(NamedTuple):
    first: str
    second: dict[str, int]


class Member(Enum):
    FIRST = 1
    SECOND = 2


class Plain:
    shared = "of the class"
    __slots__ = ("__dict__", "slot", "unset")

    def __init__(self) -> None:
        self.own = "own"
        self.slot = "slot"

    def method(self) -> None:
        pass

    @property
    def other_name(self) -> str:
        return self.own

    @property
    def name_of_a_name(self) -> str:
        return self.other_name

    @property
    def computed(self) -> str:
        return self.own.upper()

    @property
    def circle(self) -> Any:
        return self.circle


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one.own", "own"),
        ("one.other_name", "own"),  # all that its property does is to give out another attribute
        ("one.name_of_a_name", "own"),
        ("one.computed", MISSING),
        ("one.circle", MISSING),
        ("table['a', 2]", "c"),
        ("table['a', numbers]", MISSING),
        ("table[f'{table[2]}']", MISSING),
        ("table[f'{GLOBAL[0:]}']", MISSING),
        ("table[f'{LETTER}']", 1),
        ("table[f'{numbers}']", MISSING),
        ("table.get('a')", 1),
        ("table.setdefault('a', numbers)", 1),
        ("table.get('z', numbers)", MISSING),
        ("one.get('a')", MISSING),
        ("counted['a']", 1),
        ("counted['z']", MISSING),  # and it is not made
        ("ordered['a']", 1),
        ("numbers[5 % len(numbers)]", 20),
        ("numbers[hash(3) % 2]", 20),
        ("hash(one)", MISSING),
        ("named.first", "one"),
        ("Member.FIRST", Member.FIRST),
        ("by_member[Member.FIRST]", 1),
        ("by_member[Member]", 2),
        ("by_member[Member.SECOND]", MISSING),
        ("by_member['a']", MISSING),  # keys with code of their own are not asked
        ("named.second['a']", 1),
        ("getattr(one, 'own')", "own"),
        ("getattr(one, 'absent', None)", MISSING),
        ("one.slot", "slot"),
        ("one.unset", MISSING),
        ("one.shared", "of the class"),
        ("one.absent", MISSING),
        ("one.method", MISSING),  # it would have to be bound
        ("two.shared", "of the class"),  # a class itself
        ("two.absent", MISSING),
        ("numbers[0]", 10),
        ("numbers[-1]", 20),
        ("numbers[1 - 1]", 10),
        ("numbers[2]", MISSING),
        ("numbers['a']", MISSING),
        ("table['a']", 1),
        ("table[2]", "b"),
        ("table['b']", MISSING),
        ("GLOBAL", "a global"),
        ("len", len),
        ("os.path.sep", os.path.sep),
        ("nothing", MISSING),
        ("1 + 2 * 3 % 4 // 1 - 5", -2),
        ("1 % 0", MISSING),
        ("2 ** 3", MISSING),
        ("-5", -5),
        ("10000000000 * 10", MISSING),
        ("len('a')", MISSING),
        ("one.own + 'a'", MISSING),
        ("[1][0]", MISSING),
        ("(x := 1)", MISSING),
    ],
)
def test_an_object_by_its_name(text: str, expected: object) -> None:
    """Names, attributes, elements, constants, small sums, and what looks one up; nobody's code is called."""
    frame = frame_of({"one": Plain(), "two": Plain})
    assert evaluate(ast.parse(text, mode="eval").body, frame) == expected


class AsksError(BaseException):
    """Somebody's code ran."""


def asks(*_: object, **__: object) -> Any:
    raise AsksError


def hostile() -> dict[str, Callable[[], object]]:
    """Return makers of objects that run code at whatever is done to them. In a function: pytest looks at a module's."""

    class Meta(type):
        __getattribute__ = asks
        __instancecheck__ = asks
        __eq__ = asks
        __hash__ = type.__hash__

    class Hostile(metaclass=Meta):
        """Runs code at whatever is done to it."""

        __eq__ = __repr__ = __str__ = __bool__ = __len__ = __getitem__ = __contains__ = __iter__ = __getattr__ = asks
        __class__ = property(asks)
        hidden = property(asks)

        def __hash__(self) -> int:
            return hash("a")

    class HostileDictionary(metaclass=Meta):
        __dict__ = property(asks)

    class HostileLookup(metaclass=Meta):
        __getattribute__ = asks

    class Descriptor:
        __get__ = __set__ = asks

    class WithDescriptor:
        attribute = Descriptor()

    class HostileDict(dict[str, int]):
        __getitem__ = __contains__ = get = __missing__ = asks

    class HostileText(str):
        __eq__ = asks
        __slots__ = ()

        def __hash__(self) -> int:
            return hash("a")

    return {
        "object": lambda: Hostile(),
        "class": lambda: Hostile,
        "dictionary": lambda: HostileDictionary(),
        "lookup": lambda: HostileLookup(),
        "descriptor": lambda: WithDescriptor(),
        "mapping": lambda: HostileDict(a=1),
        "key of the same hash": lambda: {Hostile(): 1},
        "text": lambda: {HostileText("b"): 1},
        "value": lambda: types.SimpleNamespace(a=Hostile()),
        "of this thread": lambda: threading.local(),
    }


@pytest.mark.parametrize(
    "name",
    [
        *("one", "one.hidden", "one.absent", "one.attribute", "one['a']", "one[0]", "one.a", "one.get('a')"),
        *("numbers[len(one) + 9]", "hash(one)", "getattr(one, 'hidden')", "f'{one}'", "one[one]", "one['a', one]"),
    ],
)
@pytest.mark.parametrize("kind", list(hostile()))
def test_nobodys_code_is_run(kind: str, name: str) -> None:
    """Neither by reading an object nor by asking what it is."""
    made = hostile()[kind]()
    found = evaluate(ast.parse(name, mode="eval").body, frame_of({"one": made}))
    assert found is made if name == "one" else found is MISSING or (kind, name) == ("value", "one.a")
    source.attribute(made, "__class__")
    assert kind_of(made) is None


class Counted:
    names: ClassVar[dict[str, int]] = {}


@given(st.text("ab_", min_size=1, max_size=3), st.dictionaries(st.text("ab_", min_size=1, max_size=3), st.integers()))
def test_a_plain_attribute_is_what_python_says(name: str, attributes: dict[str, int]) -> None:
    """For an object without code of its own, reading is `getattr`."""
    thing = types.SimpleNamespace(**attributes)
    assert source.attribute(thing, name) == getattr(thing, name, MISSING)
    kind = type("Kind", (Counted,), dict(attributes))
    assert source.attribute(kind(), name) == getattr(kind(), name, MISSING)
    assert source.attribute(kind, name) == getattr(kind, name, MISSING)


# --- variables --------------------------------------------------------------------------------------------------------


class Thing:
    pass


@contextmanager
def standing(function: Callable[[Callable[[], None]], object]) -> Iterator[FrameType]:
    """Run a function in another thread until it calls what it was given; yield its frame."""
    there, leave = threading.Event(), threading.Event()

    def work() -> None:
        there.set()
        leave.wait(60)

    runner = threading.Thread(target=function, args=(work,))
    runner.start()
    assert there.wait(20)
    assert runner.ident is not None
    frame = sys._current_frames()[runner.ident]
    while frame.f_code is not function.__code__:
        assert frame.f_back is not None
        frame = frame.f_back
    try:
        yield frame
    finally:
        leave.set()
        runner.join(20)


def test_a_variable_that_was_read_is_not_kept() -> None:
    """What the function lets go of is gone at once, though its frame is still there."""
    gone: list[bool] = []

    def function(work: Callable[[], None]) -> None:
        thing = Thing()
        alive = weakref.ref(thing)
        work()
        del thing
        gone.append(alive() is None)

    with standing(function) as frame:
        assert type(variable(frame, "thing")) is Thing
        assert variable(frame, "gone") is gone
        assert variable(frame, "absent") is MISSING
        assert variable(frame, "alive") is not MISSING
        del frame
    assert gone == [True]


@pytest.mark.applies(sys.version_info < (3, 13), reason="reading leaves nothing in the frame")
def test_a_function_that_uses_its_own_snapshot_keeps_it() -> None:
    """It is not read, and not emptied: neither its own nor one that somebody else took."""
    kept: list[dict[str, Any]] = []

    def own(work: Callable[[], None]) -> None:
        number = 1
        mine = locals()
        number = 2
        work()
        kept.append({**mine, "now": number})

    with standing(own) as frame:
        assert variable(frame, "number") is MISSING
        del frame
    assert kept[0]["number"] == 1

    def looked_at(work: Callable[[], None]) -> None:
        number = 1
        taken = take()
        work()  # an `assert` here would be rewritten by pytest, into something that uses locals()
        kept.append({**taken, "now": number})

    def take() -> dict[str, Any]:
        return sys._getframe(1).f_locals

    with standing(looked_at) as frame:
        assert variable(frame, "number") == 1
        del frame
    assert kept[1]["number"] == 1


def test_variables_of_a_class_body_and_a_module() -> None:
    """Their namespaces are read where they are, and left as they are."""
    found = []
    look: Callable[[FrameType], None] = lambda frame: found.append(  # noqa: E731
        [variable(frame, name) for name in ("inside", "GLOBAL", "absent")]
    )

    class Body:
        inside = 1
        look(sys._getframe())

    names = {"look": look, "sys": sys}
    exec("inside = 2\nlook(sys._getframe())", names)
    assert found == [[1, GLOBAL, MISSING], [2, MISSING, MISSING]]
    assert Body.inside == 1


def test_a_value_of_none_is_a_value() -> None:
    """Unlike nothing at all."""
    frame = frame_of({})
    assert variable(frame, "one") is None
    assert variable(frame, "zero") is MISSING
