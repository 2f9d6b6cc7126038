// Shows the photos that were found: the grid, the status line, notices, and the large view.

function create(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export class Results {
  // findSimilar(photo) is called for "Similar"
  constructor(root, dialog, findSimilar) {
    Object.assign(this, { dialog, findSimilar, photos: [], shown: 0 });
    for (const name of ["title", "status", "notice", "grid"]) this[name] = root.querySelector(`[data-part=${name}]`);
    for (const button of dialog.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.step(Number(button.dataset.step)));
    }
    dialog.querySelector("[data-do=close]").addEventListener("click", () => dialog.close());
    dialog.querySelector("[data-do=like]").addEventListener("click", () => findSimilar(this.photos[this.shown]));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on the backdrop
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
  }

  // Replaces the photos by as many placeholders until `show`.
  clear() {
    this.grid.replaceChildren(...Array.from(this.grid.children, () => create("li", { className: "blank" })));
    this.grid.setAttribute("aria-busy", "true");
    this.status.textContent = "";
    this.dialog.close();
    this.notify(null);
  }

  // estimated: the similarities come from hash codes
  show(photos, estimated) {
    this.photos = photos;
    this.grid.replaceChildren(...photos.map((photo, index) => this.card(photo, index, estimated)));
    this.grid.removeAttribute("aria-busy");
    this.status.textContent = photos.length ? `${photos.length} photo${photos.length > 1 ? "s" : ""}, the most similar first` : "";
  }

  notify(text) {
    this.notice.hidden = !text;
    this.notice.textContent = text ?? "";
  }

  card(photo, index, estimated) {
    const similarity = (estimated ? "≈ " : "") + photo.similarity.toFixed(3);
    const image = create("img", { src: photo.url, alt: photo.name, loading: "lazy", decoding: "async", draggable: false });
    image.addEventListener("error", () => image.replaceWith(create("span", { className: "gone", textContent: "gone or changed" })));
    const view = create("button", { type: "button", className: "view", title: photo.name }, image);
    view.addEventListener("click", () => this.enlarge(index));
    const bar = create("span", { className: "bar", ariaHidden: "true" });
    bar.style.setProperty("--share", Math.max(0, photo.similarity));
    const figure = create("span", { className: "similarity", textContent: similarity, title: "similarity" });
    const like = create("button", { type: "button", className: "like", textContent: "Similar", title: "Find photos like this one" });
    like.setAttribute("aria-label", `Similar to ${photo.name}`);
    like.addEventListener("click", () => this.findSimilar(photo));
    const card = create("li", { className: "photo" }, view, create("div", { className: "line" }, bar, figure), like);
    card.dataset.id = photo.id;
    return card;
  }

  enlarge(index) {
    this.shown = index;
    const { url, name } = this.photos[index];
    Object.assign(this.dialog.querySelector("img"), { src: `${url}&side=1280`, alt: name });
    this.dialog.querySelector("p").textContent = `${index + 1} of ${this.photos.length}: ${name}`;
    if (!this.dialog.open) this.dialog.showModal();
  }

  step(by) {
    this.enlarge((this.shown + by + this.photos.length) % this.photos.length);
  }

  // For the keyboard: the button that was pressed is gone.
  focus() {
    this.title.focus({ preventScroll: true });
  }
}
