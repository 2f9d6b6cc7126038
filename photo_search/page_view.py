"""What the page shows, in gradio's components; page_files/ has what moves in it."""

import gradio as gr

from photo_search.page_answers import MOST_PHOTOS
from photo_search.page_examples import DRAWINGS

TITLE = "Find photos by drawing"
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
CODE_FONTS = ("ui-monospace", "Consolas", "monospace")
BEGIN = "(window.photoSearchParts ??= []).push(['{part}', element]); window.photoSearch?.begin?.()"
REAL, HASH = "Real", "Hash"
HEAD = '<link rel="stylesheet" href="own/page.css"><script src="own/pad.js"></script><script src="own/find.js"></script>'

TOP = """<header><h1>{title}</h1><span>{photos:,} photos</span>
<button id="shade" type="button" title="Dark or light" aria-label="Dark or light">◐</button></header>"""
PAD = """<div class="tools" role="toolbar" aria-label="Tools">
<button type="button" data-tool="pen" aria-pressed="true">Pen</button>
<button type="button" data-tool="eraser" aria-pressed="false">Eraser</button>
<input type="range" class="width" min="3" max="28" value="7" title="Line width" aria-label="Line width">
<button type="button" data-do="undo">Undo</button>
<button type="button" data-do="clear">Clear</button>
</div>
<div class="paper"><canvas aria-label="Draw here"></canvas><p class="hint">Draw here. Photos come as you lift the pen.</p></div>
<div class="instead"><label class="upload">Upload a picture<input type="file" accept="image/*"></label>
<span>or paste it, or drop it here</span></div>
<div class="examples" role="group" aria-label="Examples to start from">{examples}</div>"""
EXAMPLE = """<button type="button" data-example="{number}" title="Start from: {name}">
<img src="example/{number}" alt="{name}"></button>"""
FOUND = """<div class="notice" role="alert" hidden></div><div class="asked" hidden></div>
<div class="photos" aria-live="polite" aria-label="Photos found"></div>
<dialog class="large"><img alt=""><p></p><div><button type="button" data-do="like">Find photos like this one</button>
<button type="button" data-do="close">Close</button></div></dialog>"""


def theme() -> gr.themes.Base:
    """With fonts that are on every machine, so that none is asked for elsewhere."""
    return gr.themes.Base(font=FONTS, font_mono=CODE_FONTS)


def page_view(photos: int) -> gr.Blocks:
    """The page over that many photos. Its components ask the server for nothing: their events end in the browser."""
    examples = "".join(EXAMPLE.format(number=number, name=name) for number, (name, _) in enumerate(DRAWINGS))
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as view:
        gr.HTML(TOP.format(title=TITLE, photos=photos), elem_id="top", js_on_load=BEGIN.format(part="shade"))
        with gr.Row():
            with gr.Column(scale=2, min_width=300, elem_id="drawing"):
                gr.HTML(PAD.format(examples=examples), elem_id="pad", js_on_load=BEGIN.format(part="pad"))
                with gr.Row():
                    codes = gr.Radio([REAL, HASH], value=REAL, label="Compare by", elem_id="compare", min_width=140)
                    k = gr.Slider(1, MOST_PHOTOS, 20, step=1, label="Photos", elem_id="k", min_width=140)
            with gr.Column(scale=3, min_width=300):
                gr.HTML(FOUND, elem_id="found", js_on_load=BEGIN.format(part="found"))
        codes.change(None, codes, None, js=f"(chosen) => photoSearch.set('codes', chosen === '{HASH}')")
        k.change(None, k, None, js=f"(chosen) => photoSearch.set('k', Math.min(Math.max(Math.round(chosen), 1), {MOST_PHOTOS}))")
    return view
