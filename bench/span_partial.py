"""Run by the Python of `.venv-bench-partial`: partial-span-processor on the old SDK that it needs. Prints JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

from bench.spans import NoOp, Variant, rounds


class _Nowhere:
    """A log exporter that sends nothing."""

    def export(self, batch: Any) -> None:
        return None

    def shutdown(self) -> None:
        return None


def _variant(name: str, processor: SpanProcessor) -> Variant:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("bench")
    return Variant(name, tracer, lambda: tracer.start_as_current_span("job"))


def main() -> None:
    from partial_span_processor import PartialSpanProcessor  # type: ignore[import-not-found]

    variants = [_variant("no-op", NoOp()), _variant("partial", PartialSpanProcessor(_Nowhere()))]
    count, number = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(rounds(variants, count=count, rounds=number)), flush=True)


if __name__ == "__main__":
    main()
