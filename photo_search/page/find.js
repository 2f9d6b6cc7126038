// Asking and showing. `newest` numbers what is asked for, the pen's touch counts too: an answer with an older number is dropped.
// `drawing` numbers what is on the pad, or on its way there.
"use strict";
var photoSearch = window.photoSearch || {};

(() => {
  const MOST_BYTES = 20e6;
  const MOST_KEPT = 2e6; // characters of a drawing; browsers keep 5 million for a site
  const asked = { k: 20, codes: false, like: null };
  let pad, root, newest = 0, drawing = 0, running = null, later = null;

  const part = (selector) => root.querySelector(selector);
  const made = (tag, values = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), values);
    element.append(...children);
    return element;
  };

  // From here on nothing that was found before is shown.
  function outdate() {
    newest += 1;
    running?.abort();
    running = null;
    clearTimeout(later);
    const photos = part(".photos");
    photos.replaceChildren(...Array.from(photos.children, () => made("div", { className: "blank" })));
    photos.setAttribute("aria-busy", "true");
    part(".large").close();
    notify(null);
    return newest;
  }

  function notify(text) {
    part(".notice").hidden = !text;
    part(".notice").textContent = text ?? "";
  }

  function show(photos) {
    part(".photos").replaceChildren(...photos.map(card));
    part(".photos").removeAttribute("aria-busy");
  }

  function card(photo) {
    const image = made("img", { src: photo.url, alt: photo.name, loading: "lazy", decoding: "async", draggable: false });
    image.addEventListener("error", () => image.replaceWith(made("span", { className: "gone", textContent: "gone or changed" })));
    const view = made("button", { type: "button", className: "view", title: photo.name }, image);
    view.addEventListener("click", () => enlarge(photo));
    const bar = made("meter", { min: 0, max: 1, value: Math.max(0, photo.similarity), title: "similarity" });
    const figure = made("span", { className: "similarity", textContent: (asked.codes ? "≈ " : "") + photo.similarity.toFixed(3) });
    const like = made("button", { type: "button", className: "like", textContent: "Similar", title: "Find photos like this one" });
    like.addEventListener("click", () => askLike(photo));
    const found = made("div", { className: "photo" }, view, made("div", { className: "line" }, bar, figure), like);
    found.dataset.id = photo.id;
    return found;
  }

  function enlarge(photo) {
    const large = part(".large");
    large.querySelector("img").src = `${photo.url}&side=1280`;
    large.querySelector("p").textContent = photo.name;
    large.querySelector('[data-do="like"]').onclick = () => askLike(photo);
    large.showModal();
  }

  function askLike(photo) {
    asked.like = photo;
    ask();
    if (root.getBoundingClientRect().top < 0) root.scrollIntoView({ behavior: "smooth" });
  }

  // Ask for what is wanted now: photos like one of them, or like the drawing.
  async function ask() {
    if (pad.stroke) return; // it asks as it ends
    const mine = outdate();
    say();
    if (!asked.like && pad.isEmpty) return show([]);
    const options = `k=${asked.k}&codes=${asked.codes}`;
    const signal = (running = new AbortController()).signal;
    const question = asked.like ? [`like/${asked.like.id}?${options}`, { signal }]
      : [`search?${options}`, { signal, method: "POST", body: await pad.png(), headers: { "Content-Type": "image/png" } }];
    if (mine !== newest) return;
    const answer = await reply(...question);
    if (mine !== newest) return;
    show(answer.photos ?? []);
    notify(answer.notice);
  }

  async function reply(...question) {
    try {
      return await (await fetch(...question)).json();
    } catch (error) {
      return { notice: "The server does not answer. Is it still running?" };
    }
  }

  // what the photos are like, where that is not the drawing
  function say() {
    const place = part(".asked");
    place.hidden = !asked.like;
    if (!asked.like) return;
    const back = made("button", { type: "button", textContent: pad.isEmpty ? "Clear" : "Back to the drawing" });
    back.addEventListener("click", askDrawing);
    place.replaceChildren(made("img", { src: asked.like.url, alt: "" }), made("span", { textContent: "Photos like this one" }), back);
  }

  function askDrawing() {
    asked.like = null;
    document.querySelector("#pad .hint").hidden = !pad.isEmpty;
    return ask();
  }

  async function upload(file) {
    const mine = (drawing += 1);
    outdate();
    if (file.size > MOST_BYTES) return refuse("That is too large: more than 20 MB.", mine);
    try {
      const answer = await fetch("picture", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
      if (!answer.ok) return refuse((await answer.json()).notice, mine);
      const image = await createImageBitmap(await answer.blob());
      if (mine !== drawing) return;
      pad.put(image);
      const put = drawing;
      await photoSearch.settled;
      if (put === drawing && answer.headers.get("Notice")) notify(answer.headers.get("Notice"));
    } catch (error) {
      refuse("The server does not answer. Is it still running?", mine);
    }
  }

  // The drawing stays, and so does what it finds.
  async function refuse(notice, mine) {
    if (mine !== drawing) return;
    await ask();
    if (mine === drawing) notify(notice);
  }

  photoSearch.pad = (element) => {
    const own = (selector) => element.querySelector(selector);
    const touched = () => {
      drawing += 1;
      own(".hint").hidden = true;
      asked.like = null;
      outdate();
      say();
    };
    pad = new photoSearch.Pad(own("canvas"), touched, () => {
      drawing += 1;
      keep(sessionStorage, "drawing", pad.text(MOST_KEPT));
      photoSearch.settled = askDrawing();
    });
    restore();
    options(element);
    for (const button of element.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => {
        pad.tool = button.dataset.tool;
        for (const each of element.querySelectorAll("[data-tool]")) each.setAttribute("aria-pressed", String(each === button));
      });
    }
    for (const what of ["undo", "clear"]) own(`[data-do=${what}]`).addEventListener("click", () => pad[what]());
    own(".width").addEventListener("input", (event) => (pad.width = Number(event.target.value)));
    own("input[type=file]").addEventListener("change", (event) => {
      if (event.target.files[0]) upload(event.target.files[0]);
      event.target.value = ""; // so that the same file may be chosen again
    });
    for (const button of element.querySelectorAll("[data-example]")) {
      button.addEventListener("click", async () => {
        const mine = (drawing += 1);
        outdate();
        const image = await createImageBitmap(await (await fetch(`example/${button.dataset.example}`)).blob());
        if (mine === drawing) pad.put(image);
      });
    }
    document.addEventListener("paste", (event) => take(event, event.clipboardData));
    document.addEventListener("drop", (event) => take(event, event.dataTransfer));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key === "z" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) pad.undo();
    });
  };

  // Storage may be full, or forbidden; then a reload loses what is there.
  function keep(storage, name, text) {
    try {
      storage.removeItem(name);
      if (text !== null) storage.setItem(name, text);
    } catch (error) {}
  }

  function kept(storage, name) {
    try {
      return storage.getItem(name);
    } catch (error) {
      return null;
    }
  }

  // the drawing that was here before the page was loaded again
  async function restore() {
    const text = kept(sessionStorage, "drawing"), before = drawing;
    if (text === null) return;
    try {
      const items = await photoSearch.Pad.itemsOf(text);
      if (before === drawing) pad.change(items);
    } catch (error) {
      keep(sessionStorage, "drawing", null);
    }
  }

  function options(element) {
    for (const choice of element.querySelectorAll("#compare input")) {
      choice.addEventListener("change", () => photoSearch.set("codes", choice.value === "hash"));
      if (choice.checked) asked.codes = choice.value === "hash"; // a browser may restore what was chosen
    }
    const controls = element.querySelectorAll("#k input");
    const settle = (control) => {
      const k = Math.round(Number(control.value) || (control.value === "" ? asked.k : 0));
      for (const each of controls) each.value = Math.min(Math.max(k, each.min), each.max);
      photoSearch.set("k", Number(control.value));
    };
    controls[0].addEventListener("input", () => settle(controls[0]));
    controls[1].addEventListener("change", () => settle(controls[1]));
    settle(controls[1]);
  }

  function take(event, data) {
    const file = data?.files?.[0];
    if (!file) return;
    event.preventDefault();
    upload(file);
  }

  photoSearch.found = (element) => {
    root = element;
    part(".large").addEventListener("click", (event) => event.target === part(".large") && part(".large").close());
    part('[data-do="close"]').addEventListener("click", () => part(".large").close());
  };

  // A slider tells each step it passes; the last counts.
  photoSearch.set = (name, value) => {
    if (asked[name] === value) return;
    asked[name] = value;
    if (pad.isEmpty && !asked.like) return;
    outdate();
    later = setTimeout(ask, 200);
  };

  photoSearch.shade = (element) => {
    const dark = (on) => document.body.classList.toggle("dark", on);
    const shade = kept(localStorage, "shade");
    if (shade) dark(shade === "dark");
    element.querySelector("#shade").addEventListener("click", () => keep(localStorage, "shade", dark() ? "dark" : "light"));
  };

  // gradio may show the parts before the two files have come, and these may come in either order
  photoSearch.begin = () => {
    if (!photoSearch.Pad) return;
    for (const [name, element] of (window.photoSearchParts ?? []).splice(0)) photoSearch[name](element);
  };
  photoSearch.begin();
})();
