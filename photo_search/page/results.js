// Shows the photos that were found: the grid, the status line, notices, and the large view.

function create(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

export class Results {
  // findSimilar(photo) is called for "Similar"
  constructor(root, dialog, findSimilar) {
    Object.assign(this, { dialog, findSimilar, photos: [], shown: null, least: -1, estimated: false });
    for (const name of ["title", "status", "notice", "grid", "none"]) this[name] = root.querySelector(`[data-part=${name}]`);
    for (const button of dialog.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.step(Number(button.dataset.step)));
    }
    dialog.querySelector("[data-do=close]").addEventListener("click", () => dialog.close());
    dialog.querySelector("[data-do=like]").addEventListener("click", () => findSimilar(this.shown));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on the backdrop
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") this.step(-1);
      if (event.key === "ArrowRight") this.step(1);
    });
  }

  // Replaces the photos by as many placeholders until `show`.
  clear() {
    this.grid.replaceChildren(...this.cards.map(() => create("li", { className: "blank" })));
    this.grid.setAttribute("aria-busy", "true");
    this.status.textContent = "";
    this.dialog.close();
    this.notify(null);
  }

  // estimated: the similarities come from hash codes
  show(photos, estimated) {
    Object.assign(this, { photos, estimated });
    this.grid.replaceChildren(...photos.map((photo) => this.card(photo)));
    this.grid.removeAttribute("aria-busy");
    this.update();
  }

  // Hides the photos that are less similar.
  hideBelow(least) {
    this.least = least;
    this.update();
  }

  update() {
    const isHidden = (photo) => photo.similarity < this.least;
    for (const card of this.grid.querySelectorAll(".photo")) {
      card.hidden = isHidden(card.photo);
      const button = card.querySelector(".more");
      if (!button) continue;
      const more = card.photo.duplicates.filter((photo) => !isHidden(photo)).length, isOpen = button.ariaExpanded === "true";
      button.hidden = !more;
      button.firstChild.textContent = isOpen ? `Hide ${more}` : `+${more} similar`;
      button.lastChild.textContent = `${isOpen ? " similar" : ""} to ${card.photo.name}`; // for screen readers
    }
    if (!this.grid.hasAttribute("aria-busy")) this.describe(this.photos.filter(isHidden).length);
  }

  describe(hidden) {
    const all = this.photos.length, count = all - hidden, least = this.least.toFixed(2);
    const found = `${count} photo${count > 1 ? "s" : ""}, the most similar first`;
    const none = `No photo has a similarity of ${least} or more: all ${all} are hidden.`;
    this.status.textContent = count ? found + (hidden ? `; ${hidden} below ${least} hidden` : "") : all ? none : "";
    this.none.textContent = all ? `${none} Lower “Least similarity” to see them.` : "Photos appear here, the most similar first.";
  }

  // what is shown, opened near-duplicates included
  get cards() {
    return Array.from(this.grid.children).filter((each) => !each.hidden);
  }

  notify(text) {
    this.notice.hidden = !text;
    this.notice.textContent = text ?? "";
  }

  card(photo) {
    const similarity = (this.estimated ? "≈ " : "") + photo.similarity.toFixed(3);
    const image = create("img", { src: photo.url, alt: photo.name, loading: "lazy", decoding: "async", draggable: false });
    image.addEventListener("error", () => image.replaceWith(create("span", { className: "gone", textContent: "not available" })));
    const view = create("button", { type: "button", className: "view", title: photo.name }, image);
    view.addEventListener("click", () => this.enlarge(photo));
    const bar = create("span", { className: "bar", ariaHidden: "true" });
    bar.style.setProperty("--share", Math.max(0, photo.similarity));
    const figure = create("span", { className: "similarity", textContent: similarity, title: "similarity" });
    const like = create("button", { type: "button", className: "like", textContent: "Similar", title: "Find photos like this one" });
    like.setAttribute("aria-label", `Similar to ${photo.name}`);
    like.addEventListener("click", () => this.findSimilar(photo));
    const card = create("li", { className: "photo" }, view, create("div", { className: "line" }, bar, figure), like);
    card.dataset.id = photo.id;
    card.photo = photo;
    if (photo.duplicates?.length) view.after(this.opener(card));
    return card;
  }

  // The button that shows the near-duplicates of a photo behind it, and hides them again.
  opener(card) {
    const texts = [create("span"), create("span", { className: "unseen" })];
    const button = create("button", { type: "button", className: "more", ariaExpanded: "false" }, ...texts);
    let opened = [];
    button.addEventListener("click", () => {
      for (const each of opened) each.remove();
      const isOpen = button.ariaExpanded === "true";
      opened = isOpen ? [] : card.photo.duplicates.map((photo) => this.card(photo));
      for (const each of opened) each.classList.add("duplicate");
      card.after(...opened);
      button.ariaExpanded = String(!isOpen);
      this.update();
    });
    return button;
  }

  enlarge(photo) {
    this.shown = photo;
    const { url, name } = photo, photos = this.cards.map((card) => card.photo);
    Object.assign(this.dialog.querySelector("img"), { src: `${url}&side=1280`, alt: name });
    this.dialog.querySelector("p").textContent = `${photos.indexOf(photo) + 1} of ${photos.length}: ${name}`;
    if (!this.dialog.open) this.dialog.showModal();
  }

  step(by) {
    const photos = this.cards.map((card) => card.photo), at = photos.indexOf(this.shown) + by;
    this.enlarge(photos.at(at % photos.length));
  }

  // For the keyboard: the button that was pressed is gone.
  focus() {
    this.title.focus({ preventScroll: true });
  }
}
