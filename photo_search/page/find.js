// The page: sends the drawing, or the id of a photo, and shows the photos that the server answers.
// `newest` numbers the searches; whatever makes an answer outdated increases it, the pen's touch too, and an answer with an older
// number is dropped. `version` numbers the drawings: each change of the pad, and each picture on its way there.
import { Pad } from "./pad.js";
import { Results } from "./results.js";

const MAX_UPLOAD = 20e6; // bytes
const MAX_STORED = 2e6; // characters of a drawing; browsers store 5 million for a site
const DELAY = 200; // ms after a change of an option, for a slider reports each step
const LONG = 1000; // ms without an answer
const WAITING = "Searching. A server that has just started loads its network first.";
const UNREACHABLE = "The server does not answer. Is it still running?";

const byId = (id) => document.getElementById(id);
const controls = byId("pad"), queryPhoto = document.querySelector(".query-photo");
const query = { k: 20, codes: false, like: null };
let newest = 0, version = 0, running = null, delayed = null, settled = null;

const results = new Results(byId("found"), document.querySelector(".large"), findSimilar);
const pad = new Pad(controls.querySelector("canvas"), onPenDown, onDrawn);

// Makes what is shown outdated.
function outdate() {
  running?.abort();
  clearTimeout(delayed);
  results.clear();
  return (newest += 1);
}

// Searches with the photo that was chosen, otherwise with the drawing.
async function search() {
  if (pad.stroke) return; // its end starts a search
  const mine = outdate();
  describe();
  if (!query.like && pad.isEmpty) return results.show([]);
  const options = `k=${query.k}&codes=${query.codes}`, { signal } = (running = new AbortController());
  const request = query.like ? [`like/${query.like.id}?${options}`, { signal }]
    : [`search?${options}`, { signal, method: "POST", body: await pad.png(), headers: { "Content-Type": "image/png" } }];
  if (mine !== newest) return;
  const waiting = setTimeout(() => (results.status.textContent = WAITING), LONG);
  const answer = await reply(...request);
  clearTimeout(waiting);
  if (mine !== newest) return;
  results.show(answer.photos ?? [], query.codes);
  results.notify(answer.notice);
}

async function reply(...request) {
  try {
    return await (await fetch(...request)).json();
  } catch (error) {
    return { notice: UNREACHABLE };
  }
}

// Says what the photos are compared with, and what is on the pad.
function describe() {
  const { like } = query;
  queryPhoto.hidden = !like;
  byId("found-title").textContent = like ? "Photos like this one" : "Photos like your drawing";
  if (like) {
    queryPhoto.querySelector("img").src = like.url;
    queryPhoto.querySelector("button").textContent = pad.isEmpty ? "Clear" : "Back to the drawing";
  }
  controls.querySelector(".hint").hidden = !pad.isEmpty || Boolean(pad.stroke);
  byId("drawn").textContent = pad.description;
}

function findSimilar(photo) {
  query.like = photo;
  search();
  results.focus();
  const behaviour = matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth";
  if (byId("found").getBoundingClientRect().top < 0) byId("found").scrollIntoView({ behavior: behaviour });
}

function findDrawn() {
  query.like = null;
  return search();
}

function onPenDown() {
  version += 1;
  query.like = null;
  outdate();
  describe();
}

function onDrawn() {
  version += 1;
  store(pad.serialize(MAX_STORED));
  settled = findDrawn();
}

// Session storage may be full or forbidden; then the drawing does not outlive a reload.
function store(text) {
  try {
    sessionStorage.removeItem("drawing");
    if (text !== null) sessionStorage.setItem("drawing", text);
  } catch (error) {}
}

async function restore() {
  const before = version;
  try {
    const text = sessionStorage.getItem("drawing");
    const items = text === null ? null : await Pad.parse(text);
    if (items && before === version) pad.change(items);
  } catch (error) {
    store(null);
  }
}

async function upload(file) {
  const mine = (version += 1);
  outdate();
  if (file.size > MAX_UPLOAD) return refuse("The file is too large: more than 20 MB.", mine);
  try {
    const answer = await fetch("picture", { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
    if (!answer.ok) return refuse((await answer.json()).notice, mine);
    const image = await createImageBitmap(await answer.blob());
    if (mine !== version) return;
    pad.put(image);
    const drawn = version, notice = answer.headers.get("Notice");
    await settled;
    if (notice && drawn === version) results.notify(notice);
  } catch (error) {
    refuse(UNREACHABLE, mine);
  }
}

// Keeps the drawing and shows its photos again.
async function refuse(notice, mine) {
  if (mine !== version) return;
  await search();
  if (mine === version) results.notify(notice);
}

async function startFrom(button) {
  const mine = (version += 1), image = button.querySelector("img");
  outdate();
  try {
    await image.decode();
    const drawing = await createImageBitmap(image);
    if (mine === version) pad.put(drawing);
  } catch (error) {
    refuse(UNREACHABLE, mine);
  }
}

function set(name, value) {
  if (query[name] === value) return;
  query[name] = value;
  if (pad.isEmpty && !query.like) return;
  outdate();
  delayed = setTimeout(search, DELAY);
}

function connectTools() {
  const tools = controls.querySelectorAll("[data-tool]");
  for (const button of tools) {
    button.addEventListener("click", () => {
      pad.tool = button.dataset.tool;
      for (const each of tools) each.setAttribute("aria-pressed", String(each === button));
    });
  }
  for (const action of ["undo", "clear"]) controls.querySelector(`[data-do=${action}]`).addEventListener("click", () => pad[action]());
  const width = controls.querySelector(".width");
  width.addEventListener("input", () => (pad.width = Number(width.value)));
  pad.width = Number(width.value); // a browser may restore what was chosen
  document.addEventListener("keydown", (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && event.key === "z";
    if (isUndo && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) pad.undo();
  });
}

function connectPictures() {
  for (const button of controls.querySelectorAll("[data-example]")) button.addEventListener("click", () => startFrom(button));
  const chosen = controls.querySelector("input[type=file]");
  chosen.addEventListener("change", () => {
    if (chosen.files[0]) upload(chosen.files[0]);
    chosen.value = ""; // so that the same file may be chosen again
  });
  document.addEventListener("paste", (event) => take(event, event.clipboardData));
  document.addEventListener("drop", (event) => take(event, event.dataTransfer));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    controls.classList.add("target");
  });
  document.addEventListener("dragleave", () => controls.classList.remove("target"));
}

function take(event, data) {
  controls.classList.remove("target");
  const file = data?.files?.[0];
  if (!file) return;
  event.preventDefault();
  upload(file);
}

function connectOptions() {
  for (const choice of controls.querySelectorAll("#compare input")) {
    choice.addEventListener("change", () => set("codes", choice.value === "hash"));
    if (choice.checked) query.codes = choice.value === "hash"; // a browser may restore what was chosen
  }
  connectNumber("k", 1, (k) => set("k", k));
  connectNumber("least", 0.01, (least) => results.hideBelow(least));
}

// A slider and a number that show the same value, a multiple of `step` between their limits, which `take` receives.
function connectNumber(id, step, take) {
  const inputs = controls.querySelectorAll(`#${id} input`), [slider, number] = inputs;
  let last = number.defaultValue;
  const change = (input) => {
    const wished = Math.round(Number(input.value === "" ? last : input.value) / step) * step;
    last = String(Number(Math.min(Math.max(wished, number.min), number.max).toFixed(2)));
    for (const each of inputs) each.value = last;
    take(Number(last));
  };
  slider.addEventListener("input", () => change(slider));
  number.addEventListener("change", () => change(number));
  change(number);
}

queryPhoto.querySelector("button").addEventListener("click", () => {
  findDrawn();
  results.focus();
});
connectTools();
connectPictures();
connectOptions();
restore();
