// The pad: strokes and pictures on a square of 512 units, kept as items, so that they can be undone and redrawn sharply.

const UNITS = 512;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const STEPS = { near: 8, far: 40 }; // units that an arrow key moves the pen
const KEYS = "keys"; // the pointer of a stroke that is drawn with the keyboard

export class Pad {
  // onPenDown(): a stroke has begun; onDrawn(): the drawing has changed
  constructor(canvas, onPenDown, onDrawn) {
    const cursor = [UNITS / 2, UNITS / 2];
    Object.assign(this, { canvas, onPenDown, onDrawn, cursor, items: [], past: [], stroke: null, tool: "pen", width: 7 });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.up(event));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => {
      this.lift();
      this.draw();
    });
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  get isEmpty() {
    return this.items.every((item) => item.erases);
  }

  // for those who do not see the pad
  get description() {
    if (this.isEmpty) return "Empty. Instead of drawing, you can upload a picture or choose an example below.";
    const strokes = this.items.filter((item) => !item.image && !item.erases).length;
    const parts = [this.items.some((item) => item.image) && "a picture", strokes && `${strokes} stroke${strokes > 1 ? "s" : ""}`];
    return `On the pad: ${parts.filter(Boolean).join(" and ")}.`;
  }

  down(event) {
    if (!event.isPrimary || event.button > 0 && event.button !== 5 || this.stroke) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    this.begin(event.pointerId, this.at(event), event.button === 5); // 5: a pen turned around
  }

  begin(pointer, point, isTurned = false) {
    const erases = this.tool === "eraser" || isTurned;
    this.stroke = { pointer, erases, width: this.width * (erases ? 3 : 1), points: [point] };
    this.onPenDown();
    this.draw();
  }

  move(event) {
    if (this.stroke?.pointer !== event.pointerId) return;
    const between = event.getCoalescedEvents?.() ?? [];
    for (const each of between.length ? between : [event]) this.stroke.points.push(this.at(each));
    this.draw();
  }

  up(event) {
    if (this.stroke?.pointer === event.pointerId) this.end();
  }

  end() {
    const { stroke } = this;
    this.stroke = null;
    this.change([...this.items, stroke]);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) this.walk(arrow, event.shiftKey ? STEPS.far : STEPS.near);
    else if (event.key === " ") event.repeat || this.toggle();
    else if (event.key === "Escape") this.lift();
    else if (event.key === "Delete" || event.key === "Backspace") this.clear();
    else return;
    event.preventDefault();
  }

  walk(arrow, step) {
    this.cursor = this.cursor.map((at, axis) => Math.min(Math.max(at + arrow[axis] * step, 0), UNITS));
    if (this.stroke?.pointer === KEYS) this.stroke.points.push(this.cursor);
    this.draw();
  }

  toggle() {
    if (!this.stroke) this.begin(KEYS, this.cursor);
    else this.lift();
  }

  // ends a stroke of the keyboard
  lift() {
    if (this.stroke?.pointer === KEYS) this.end();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((share) => share * UNITS);
  }

  change(items) {
    this.past.push(this.items);
    this.items = items;
    this.draw();
    this.onDrawn();
  }

  // replaces the drawing by a picture, as large as the pad allows
  put(image) {
    this.change([{ image }]);
  }

  clear() {
    this.lift();
    if (this.items.length) this.change([]);
  }

  undo() {
    this.lift();
    if (this.stroke || !this.past.length) return;
    this.items = this.past.pop();
    this.draw();
    this.onDrawn();
  }

  fit() {
    const side = Math.round(this.canvas.clientWidth * (window.devicePixelRatio || 1));
    if (side && this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    this.draw();
  }

  draw() {
    this.paint(this.canvas, this.stroke ? [...this.items, this.stroke] : this.items);
    if (this.canvas.matches(":focus-visible")) this.mark();
  }

  // a ring where the keyboard draws, filled while the pen is down
  mark() {
    const pen = this.canvas.getContext("2d");
    pen.beginPath();
    pen.arc(...this.cursor, this.width / 2 + 5, 0, 2 * Math.PI);
    pen.strokeStyle = pen.fillStyle = getComputedStyle(this.canvas).getPropertyValue("--accent");
    pen.lineWidth = 2.5;
    pen.stroke();
    if (this.stroke) pen.fill();
  }

  // the drawing as text; null if it is empty, or longer than so many characters
  serialize(most) {
    if (!this.items.length) return null;
    const text = JSON.stringify(this.items.map((item) => (item.image ? { picture: this.address(item.image) } : this.rounded(item))));
    return text.length > most ? null : text;
  }

  rounded({ erases, width, points }) {
    return { erases, width, points: points.map((point) => point.map((at) => Math.round(at * 10) / 10)) };
  }

  address(image) {
    const sheet = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
    sheet.getContext("2d").drawImage(image, 0, 0);
    return sheet.toDataURL("image/png");
  }

  // the items of a serialized drawing
  static async parse(text) {
    const load = async ({ picture }) => {
      const image = Object.assign(new Image(), { src: picture });
      await image.decode();
      return { image };
    };
    return Promise.all(JSON.parse(text).map((item) => (item.picture ? load(item) : item)));
  }

  // the drawing as a PNG, the same on every screen
  png() {
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = UNITS;
    this.paint(sheet, this.items);
    return new Promise((done) => sheet.toBlob(done, "image/png"));
  }

  paint(canvas, items) {
    const pen = canvas.getContext("2d");
    pen.setTransform(canvas.width / UNITS, 0, 0, canvas.height / UNITS, 0, 0);
    pen.fillStyle = "white";
    pen.fillRect(0, 0, UNITS, UNITS);
    pen.lineCap = pen.lineJoin = "round";
    for (const item of items) item.image ? this.paste(pen, item.image) : this.trace(pen, item);
  }

  paste(pen, image) {
    const scale = (0.96 * UNITS) / Math.max(image.width, image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, (UNITS - width) / 2, (UNITS - height) / 2, width, height);
  }

  trace(pen, { points, width, erases }) {
    pen.strokeStyle = erases ? "white" : "black";
    pen.lineWidth = width;
    pen.beginPath();
    pen.moveTo(...points[0]);
    pen.lineTo(points[0][0] + 0.01, points[0][1]); // a touch is a dot
    for (const point of points) pen.lineTo(...point);
    pen.stroke();
  }
}
