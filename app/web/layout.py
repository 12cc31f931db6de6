"""The parts of the web page, and which handler of `app/web/page.py` each of them calls."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr

from app.web.examples import Example
from app.web.page import TASKS, WELCOME, Page, status_line
from app.web.store import Store
from app.web.work import DEFAULT_MODEL, Engine, model_choices

HERE = Path(__file__).parent
WAITING = 100  # requests that may wait
_INTRO = """# DeFusion++
Fuses infrared with visible pictures, exposures, and focus series. The pictures stay with this program: it keeps them
for {minutes:g} minutes after their last use, for this browser alone."""
_LEGEND = ("White: the fused picture follows this one. Below, for a pair: what both show, and what only one shows. "
           "Rules without weights have no such pictures.")
_FUSING = "(...given) => { given[4] = window.defusionppStrokes ? window.defusionppStrokes() : ''; return given; }"
_QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def build_page(engine: Engine, store: Store, examples: Sequence[Example] = (), models: Sequence[str] = ()) -> gr.Blocks:
    """Build the page.

    Args:
        engine, store, examples: see :class:`Page`.
        models: names or files of weights to offer in addition.
    """
    with gr.Blocks(title="DeFusion++", analytics_enabled=False) as blocks:
        gr.Markdown(_INTRO.format(minutes=store.minutes))
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                given = _given(models)
            with gr.Column(scale=2, min_width=300):
                views = _views()
        if examples:
            gr.Markdown("Examples, **simulated** from photographs (`python -m data.demo`):", elem_id="said")
            given.examples = gr.Gallery([(str(one.thumbnail), one.caption) for one in examples], show_label=False,
                                        columns=6, height="auto", allow_preview=False, object_fit="cover",
                                        elem_id="examples", buttons=[])
        _connect(Page(engine, store, examples), given, views)
    blocks.queue(max_size=WAITING, default_concurrency_limit=1, api_open=False)
    return blocks


def _given(models: Sequence[str]) -> SimpleNamespace:
    """What the user gives, and the answer in words."""
    return SimpleNamespace(
        files=gr.File(label="Pictures of one scene", file_count="multiple", allow_reordering=True, elem_id="files",
                      height=160),
        task=gr.Radio(TASKS, value=TASKS[0][1], label="Kind", info="found from the pictures; change it if it is wrong",
                      elem_id="task"),
        align=gr.Checkbox(label="Align the pictures first", elem_id="align"),
        model=gr.Dropdown(model_choices(models), value=DEFAULT_MODEL, label="Model", elem_id="model"),
        fuse=gr.Button("Fuse", variant="primary", elem_id="fuse"),
        status=gr.HTML(status_line(WELCOME), elem_id="status"),
        download=gr.DownloadButton("Download", interactive=False, elem_id="download"),
        forget=gr.Button("Delete my pictures now", size="sm", elem_id="forget"), examples=None)


def _views() -> SimpleNamespace:
    """The tabs with the results."""
    views = SimpleNamespace(strokes=gr.Textbox(visible=False), shown=gr.State([]))
    with gr.Tab("Fused"):
        views.slider = gr.ImageSlider(label="source | fused", interactive=False, elem_id="slider", max_height=720,
                                      buttons=["fullscreen"])
        views.choice = gr.Radio([], label="Compare with", visible=False, elem_id="choice")
    with gr.Tab("Weights"):
        gr.Markdown(_LEGEND, elem_id="legend")
        views.parts = gr.Gallery(show_label=False, columns=2, object_fit="contain", height="auto", elem_id="parts",
                                 buttons=["fullscreen"], interactive=False)
    with gr.Tab("Mask"):
        views.painter = gr.HTML(None, html_template=(HERE / "painter.html").read_text(encoding="utf-8"),
                                js_on_load=(HERE / "painter.js").read_text(encoding="utf-8"), elem_id="painter")
        views.softness = gr.Slider(0, 10, 2, step=0.5, label="Soft border, % of the width", elem_id="softness")
        views.again = gr.Button("Fuse again with the mask", variant="primary", elem_id="again")
    with gr.Tab("Metrics"):
        views.scores = gr.HTML(elem_id="scores")
    return views


def _connect(page: Page, given: SimpleNamespace, views: SimpleNamespace) -> None:
    """Call the handlers. All work waits in one queue, and one piece of it is done at a time."""
    work: dict[str, Any] = {"concurrency_id": "work", "concurrency_limit": 1}
    given.files.change(page.look, given.files, [given.task, views.painter, given.status], show_progress="minimal",
                       show_progress_on=given.status, api_visibility="private", **work)
    wish = [given.files, given.task, given.align, given.model, views.strokes, views.softness]
    made = [given.status, views.slider, views.choice, views.shown, views.parts, given.download, views.painter,
            views.scores]
    for button, place, access in ((given.fuse, views.slider, "public"), (views.again, views.painter, "private")):
        fused = button.click(page.fuse, wish, made, js=_FUSING, show_progress_on=place, api_visibility=access, **work)
        fused.then(page.score, views.shown, views.scores, api_visibility="private", **work)
    views.choice.input(page.compare, [views.choice, views.shown], views.slider, **_QUIET)
    given.forget.click(page.forget, None, [given.files, *made], **_QUIET)
    if given.examples:
        given.examples.select(page.example, None, given.files, **_QUIET)
