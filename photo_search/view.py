"""What the page shows, in gradio's components; page/ has what moves in it."""

import gradio as gr

from photo_search.answers import MOST_PHOTOS, USUAL_PHOTOS
from photo_search.examples import DRAWINGS

TITLE = "Find photos by drawing"
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
CODE_FONTS = ("ui-monospace", "Consolas", "monospace")
BEGIN = "(window.photoSearchParts ??= []).push(['{part}', element]); window.photoSearch?.begin?.()"
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
<div class="paper"><canvas tabindex="0" role="application" aria-roledescription="drawing pad" aria-label="Drawing"
aria-describedby="keys"></canvas><p class="hint">Draw here. Photos come as you lift the pen.</p>
<p id="keys">Arrow keys move the pen (Shift: farther), Space lowers or lifts it. Ctrl+Z: undo. Delete: clear.</p></div>
<div class="instead"><label class="upload">Upload a picture<input type="file" accept="image/*"></label>
<span>or paste it, or drop it here</span></div>
<div class="examples" role="group" aria-label="Examples to start from">{examples}</div>
<div class="options"><fieldset id="compare"><legend>Compare by</legend>
<label><input type="radio" name="compare" value="real" checked>Real</label>
<label><input type="radio" name="compare" value="hash">Hash</label></fieldset>
<fieldset id="k"><legend>Photos</legend><input type="range" min="1" max="{most}" value="{usual}" aria-label="Photos">
<input type="number" min="1" max="{most}" value="{usual}" inputmode="numeric"
aria-label="Number of photos, 1 to {most}"></fieldset></div>"""
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
    """The page over that many photos."""
    examples = "".join(EXAMPLE.format(number=number, name=name) for number, (name, _) in enumerate(DRAWINGS))
    with gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True) as view:
        gr.HTML(TOP.format(title=TITLE, photos=photos), elem_id="top", js_on_load=BEGIN.format(part="shade"))
        with gr.Row():
            with gr.Column(scale=2, min_width=300, elem_id="drawing"):
                most = min(MOST_PHOTOS, photos) or MOST_PHOTOS  # an empty index will be filled
                pad = PAD.format(examples=examples, most=most, usual=min(USUAL_PHOTOS, most))
                gr.HTML(pad, elem_id="pad", js_on_load=BEGIN.format(part="pad"))
            with gr.Column(scale=3, min_width=300):
                gr.HTML(FOUND, elem_id="found", js_on_load=BEGIN.format(part="found"))
    return view
