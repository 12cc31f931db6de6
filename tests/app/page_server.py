"""The web page, served by a thread of the tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.web.examples import Example, make_examples
from app.web.store import Store

MEGABYTES = 4.0
MEGAPIXELS = 100.0


@dataclass(frozen=True)
class Served:
    """A running page.

    Attributes:
        url: its address.
        store: its files.
        examples: of the page.
    """

    url: str
    store: Store
    examples: list[Example]


@contextmanager
def serve(folder: Path) -> Iterator[Served]:
    """Serve the page on a free port, with uploads of up to 4 MB."""
    from app.web.serve import LOCAL, build_app, listen, make_server, settle_gradio
    from app.web.work import Engine, Limits

    with pytest.MonkeyPatch.context() as patch, listen(LOCAL, 0) as listener:
        for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "GRADIO_EXAMPLES_CACHE"):
            patch.setenv(name, "")  # restored afterwards
        settle_gradio(folder)
        examples = make_examples(folder / "examples")
        store = Store(folder / "files", folder / "examples")
        server = make_server(build_app(Engine("cpu", Limits(megapixels=MEGAPIXELS)), store, examples, [], MEGABYTES))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Served(f"http://{LOCAL}:{listener.getsockname()[1]}", store, examples)
        finally:
            server.should_exit = True
            thread.join(30)
