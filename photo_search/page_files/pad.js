// The pad: strokes and pictures on a square of 512 units, kept as they were drawn, so that they can be undone and redrawn sharply.
"use strict";
var photoSearch = window.photoSearch || {};

photoSearch.UNITS = 512;

// canvas: where to draw; touched(): the pen is down; lifted(isEmpty): the drawing has changed
photoSearch.Pad = class {
  constructor(canvas, touched, lifted) {
    Object.assign(this, { canvas, touched, lifted, items: [], past: [], stroke: null, tool: "pen", width: 7 });
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, (event) => this.up(event));
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  get isEmpty() {
    return this.items.every((item) => item.erases);
  }

  down(event) {
    if (!event.isPrimary || event.button > 0 && event.button !== 5 || this.stroke) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    const erases = this.tool === "eraser" || event.button === 5; // 5: a pen turned around
    this.stroke = { pointer: event.pointerId, erases, width: this.width * (erases ? 3 : 1), points: [this.at(event)] };
    this.touched();
    this.draw();
  }

  move(event) {
    if (this.stroke?.pointer !== event.pointerId) return;
    const between = event.getCoalescedEvents?.() ?? [];
    for (const each of between.length ? between : [event]) this.stroke.points.push(this.at(each));
    this.draw();
  }

  up(event) {
    if (this.stroke?.pointer !== event.pointerId) return;
    const { stroke } = this;
    this.stroke = null;
    this.change([...this.items, stroke]);
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map((share) => share * photoSearch.UNITS);
  }

  change(items) {
    this.past.push(this.items);
    this.items = items;
    this.draw();
    this.lifted();
  }

  // a picture instead of what is there, as large as the pad allows
  put(image) {
    this.change([{ image }]);
  }

  clear() {
    if (this.items.length) this.change([]);
  }

  undo() {
    if (this.stroke || !this.past.length) return;
    this.items = this.past.pop();
    this.draw();
    this.lifted();
  }

  fit() {
    const side = Math.round(this.canvas.clientWidth * (window.devicePixelRatio || 1));
    if (side && this.canvas.width !== side) this.canvas.width = this.canvas.height = side;
    this.draw();
  }

  draw() {
    this.paint(this.canvas, this.stroke ? [...this.items, this.stroke] : this.items);
  }

  // the whole drawing as a PNG, the same on every screen
  png() {
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = photoSearch.UNITS;
    this.paint(sheet, this.items);
    return new Promise((done) => sheet.toBlob(done, "image/png"));
  }

  paint(canvas, items) {
    const pen = canvas.getContext("2d");
    pen.setTransform(canvas.width / photoSearch.UNITS, 0, 0, canvas.height / photoSearch.UNITS, 0, 0);
    pen.fillStyle = "white";
    pen.fillRect(0, 0, photoSearch.UNITS, photoSearch.UNITS);
    pen.lineCap = pen.lineJoin = "round";
    for (const item of items) item.image ? this.paste(pen, item.image) : this.trace(pen, item);
  }

  paste(pen, image) {
    const scale = (0.96 * photoSearch.UNITS) / Math.max(image.width, image.height);
    const [width, height] = [image.width * scale, image.height * scale];
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, (photoSearch.UNITS - width) / 2, (photoSearch.UNITS - height) / 2, width, height);
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
};

photoSearch.begin?.();
