"""Writes the description of the API: `python -m docs.generate.openapi > docs/openapi.json`.

OpenAPI 3.1, whose schemas are JSON Schema: https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple

import msgspec

from lastspan.collector.model.records import State
from lastspan.collector.publish.learned import Export, Imported, LearnedForgotten, LearnedList
from lastspan.collector.publish.shapes import Error, FindingList, JobList, JobView
from lastspan.collector.publish.status import CollectorStatus

from .meanings import meanings

JSON: Final = "application/json"
Tree = dict[str, Any]


class Operation(NamedTuple):
    """What may be asked, and what comes back."""

    id: str
    path: str
    method: str
    summary: str
    answers: tuple[type, ...]
    """Of status 200."""
    parameters: tuple[Tree, ...] = ()
    body: type | None = None
    refusals: tuple[tuple[int, str], ...] = ()
    """By which status, and why, it may be refused."""


def _query(name: str, description: str, **schema: Any) -> Tree:
    return {"name": name, "in": "query", "description": description, "schema": {"type": "string", **schema}}


_SERVICE: Final = _query("service", "Only of this `service.name`.")
_JOB: Final = _query("job_name", "Only of jobs of this name.")
_LEARNED: Final = "/api/v1/learned"
OPERATIONS: Final = (
    Operation(
        "list_jobs",
        "/api/v1/jobs",
        "get",
        "The jobs that are open or have ended lately, suspects first",
        (JobList,),
        (
            _query("state", "Only jobs in this state.", enum=[state.value for state in State]),
            _JOB,
            _SERVICE,
            _query("limit", "So many at most, and never more than 10,000.", type="integer", minimum=0, default=1000),
        ),
        refusals=((400, "`state` or `limit` is not one of those."),),
    ),
    Operation(
        "get_job",
        "/api/v1/jobs/{ref}",
        "get",
        "One job; of several attempts the newest",
        (JobView,),
        (
            {
                "name": "ref",
                "in": "path",
                "required": True,
                "description": "Its key, or its id; percent-encoded, `/` included.",
                "schema": {"type": "string"},
            },
        ),
        refusals=((404, "No such job is open or has ended lately."),),
    ),
    Operation("list_findings", "/api/v1/lint", "get", "What will hang one day", (FindingList,)),
    Operation(
        "get_status", "/api/v1/status", "get", "What the collector hears and knows, in short", (CollectorStatus,)
    ),
    Operation(
        "list_learned",
        _LEARNED,
        "get",
        "What was learned of durations; with `form=export` in the form in which it can be imported",
        (LearnedList, Export),
        (_SERVICE, _JOB, _query("form", "`export`: for an import elsewhere.", enum=["export"])),
    ),
    Operation(
        "import_learned",
        _LEARNED,
        "post",
        "Take in an export: it replaces what was known of the same jobs and calls",
        (Imported,),
        body=Export,
        refusals=((400, "This is no export, or more than 32 MiB."), (415, "The content type is not application/json.")),
    ),
    Operation(
        "forget_learned",
        _LEARNED,
        "delete",
        "Forget what was learned of a service, of a job, or all",
        (LearnedForgotten,),
        (_SERVICE, _JOB),
    ),
)


_ABOUT: Final = (
    "What the collector's web port answers below /api/v1.",
    "There is no token: whoever reaches the port may use it.",
    "Every field is always there; null: not known. Fields may be added; those that are here stay.",
    "Another path is answered with 404 and an Error, another method with 405 and text.",
)


def describe() -> Tree:
    """Return the whole description."""
    paths: dict[str, Tree] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "lastspan",
            "version": "1",
            "description": " ".join(_ABOUT),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:9417"}],
        "paths": paths,
        "components": {"schemas": schemas()},
    }


def schemas() -> Tree:
    """Return the schemas of all that is answered and taken, by name."""
    taken = {one.body for one in OPERATIONS if one.body is not None}
    types = {Error, *taken, *(answer for one in OPERATIONS for answer in one.answers)}
    asked = _components(taken)
    found = _components(types)
    for name, schema in found.items():
        if name not in asked:
            schema["required"] = list(schema["properties"])  # of an answer every field is always there
    return dict(sorted(found.items()))


def _components(types: set[Any]) -> Tree:
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    told = {one.__name__: meanings(one) for one in _below(types)}
    for name, schema in found.items():
        for field, part in schema["properties"].items():
            schema["properties"][field] = {"description": told[name][field], **_nullable(part)}
    return found


def _below(types: set[Any]) -> set[Any]:
    """Return these structures and those that are in their fields."""
    found: set[Any] = set()
    new = [info.cls for info in msgspec.inspect.multi_type_info(types) if isinstance(info, msgspec.inspect.StructType)]
    while new:
        one = new.pop()
        found.add(one)
        info = msgspec.inspect.type_info(one)
        assert isinstance(info, msgspec.inspect.StructType)
        new += [cls for field in info.fields for cls in _structs(field.type) if cls not in found]
    return found


def _structs(info: Any) -> list[Any]:
    match info:
        case msgspec.inspect.StructType(cls=cls):
            return [cls]
        case msgspec.inspect.UnionType(types=types):
            return [cls for one in types for cls in _structs(one)]
        case msgspec.inspect.ListType(item_type=item):
            return _structs(item)
        case _:
            return []


def _nullable(schema: Tree) -> Tree:
    """Write "a string or null" as one type, where that says it all."""
    match schema:
        case {"anyOf": [{"type": str(kind), **rest}, {"type": "null"}]} if not rest:
            return {"type": [kind, "null"]}
        case _:
            return schema


def _operation(one: Operation) -> Tree:
    tree: Tree = {"summary": one.summary, "operationId": one.id}
    if one.parameters:
        tree["parameters"] = list(one.parameters)
    if one.body is not None:
        tree["requestBody"] = {"required": True, "content": {JSON: {"schema": _ref(one.body)}}}
    refs = [_ref(answer) for answer in one.answers]
    tree["responses"] = {
        "200": _response("It is done.", refs[0] if len(refs) == 1 else {"anyOf": refs}),
        **{str(status): _response(why, _ref(Error)) for status, why in one.refusals},
    }
    return tree


def _response(description: str, schema: Tree) -> Tree:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _ref(kind: type) -> Tree:
    return {"$ref": f"#/components/schemas/{kind.__name__}"}


def render() -> str:
    """Return the description as JSON."""
    return json.dumps(describe(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(render(), end="")
