"""``defusionpp app``: serves the web page on this computer."""

import argparse
import logging
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.cli import Parser
from utils.errors import UserError

if TYPE_CHECKING:
    from app.web.examples import Example
    from app.web.store import Store
    from app.web.work import Engine

log = logging.getLogger(__name__)

LOCAL = "127.0.0.1"
_HELP = """\
Opens a page to fuse pictures in a browser. It needs no network, and by default
only this computer can reach it. --host 0.0.0.0 lets others in: it has no
passwords, so do this only in a network that you trust."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    def layout(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=20, width=80)

    line = Parser("defusionpp app", description=_HELP, allow_abbrev=False, formatter_class=layout)
    line.add_argument("--host", default=LOCAL, help=f"address to listen on; default: {LOCAL}")
    line.add_argument("--port", type=int, default=7860, help="0: any free one; default: 7860")
    line.add_argument("--device", default="auto", help="auto, cpu, cuda, ...; default: auto")
    line.add_argument("--model", action="append", default=[], metavar="FILE",
                      help="a weight file to offer in addition; may be repeated")
    line.add_argument("--max-megapixels", type=float, default=50, metavar="N",
                      help="of the pictures of a scene together; default: 50")
    line.add_argument("--max-megabytes", type=float, default=500, metavar="N",
                      help="of an upload; default: 500")
    line.add_argument("--keep-minutes", type=float, default=60, metavar="N",
                      help="pictures unused for so long are deleted; default: 60")
    return line


def main(arguments: list[str]) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: the address cannot be used, or a model is unknown.
    """
    given = parser().parse_args(arguments)
    for name in ("max_megapixels", "max_megabytes", "keep_minutes"):
        if not getattr(given, name) > 0:
            raise UserError(f"--{name.replace('_', '-')} {getattr(given, name):g}; command line; give more than 0")
    listener = listen(given.host, given.port)
    sys.stderr.write("loading\n")
    with listener, tempfile.TemporaryDirectory(prefix="defusionpp-app-") as folder:
        settle_gradio(Path(folder))
        from app.web.store import Store
        from app.web.work import Engine, Limits

        engine = Engine(given.device, Limits(megapixels=given.max_megapixels))
        for model in given.model:
            engine.fuser(model)
        public = Path(folder) / "examples"
        store = Store(Path(folder) / "files", public, given.keep_minutes)
        app = build_app(engine, store, _make_examples(public), given.model, given.max_megabytes)
        store.keep_tidy()
        host, port = listener.getsockname()[:2]
        sys.stdout.write(f"open http://{host if host != '0.0.0.0' else socket.gethostname()}:{port} in a browser; "
                         "Ctrl-C ends it\n")
        sys.stdout.flush()
        make_server(app).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        UserError: the address cannot be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise UserError(f"{host}, port {port} cannot be used ({getattr(error, 'strerror', None) or error}); --host and "
                        "--port; give another port, or 0 for any free one") from error


def settle_gradio(folder: Path) -> None:
    """Tell Gradio, before it is imported, to keep its files in a folder and to send nothing to anybody."""
    files = folder / "files"
    files.mkdir(mode=0o700)
    os.environ.update(GRADIO_TEMP_DIR=str(files), GRADIO_ANALYTICS_ENABLED="False",
                      GRADIO_EXAMPLES_CACHE=str(folder / "gradio"))


def build_app(engine: "Engine", store: "Store", examples: "list[Example]", models: list[str],
              max_megabytes: float) -> Any:
    """The ASGI application: the page behind its shield.

    Args:
        engine, store, examples, models: see :func:`app.web.layout.build_page`.
        max_megabytes: size of the largest upload.
    """
    import fastapi
    import gradio

    from app.web.layout import HERE, build_page
    from app.web.shield import Shield

    if store.public:
        gradio.set_static_paths([store.public])
    app = fastapi.FastAPI(openapi_url=None)
    app.add_middleware(Shield, store=store, max_bytes=round(max_megabytes * 1e6))
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # no download
    page = build_page(engine, store, examples, models)
    page.has_launched = True  # otherwise Gradio copies any file that a request names
    return gradio.mount_gradio_app(app, page, "/", footer_links=[], run_history=False, show_error=True,
                                   max_file_size=round(max_megabytes * 1e6), theme=gradio.themes.Default(**fonts),
                                   css_paths=[HERE / "page.css"], ssr_mode=False, mcp_server=False,
                                   enable_monitoring=False)


def make_server(app: Any) -> Any:
    """A server for the application that ends without waiting for idle browsers."""
    import uvicorn

    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False))


def _make_examples(folder: Path) -> "list[Example]":
    """The examples, or none where scikit-image is missing."""
    from app.web.examples import make_examples

    try:
        return make_examples(folder)
    except (UserError, ModuleNotFoundError) as error:
        log.warning("no examples: %s", error)
        return []
