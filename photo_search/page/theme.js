// The theme, set before the first paint: what the visitor chose, otherwise what the system prefers.
"use strict";

(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");

  // Browsers may forbid storage; then the choice lasts until the page is left.
  let chosen = null;
  try {
    chosen = localStorage.getItem("shade");
  } catch (error) {}

  function apply() {
    const theme = chosen ?? (system.matches ? "dark" : "light");
    document.documentElement.dataset.theme = theme;
    document.querySelector("#theme")?.setAttribute("aria-pressed", String(theme === "dark"));
  }

  function toggle() {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      localStorage.setItem("shade", chosen);
    } catch (error) {}
    apply();
  }

  apply();
  system.addEventListener("change", apply);
  document.addEventListener("DOMContentLoaded", () => {
    document.querySelector("#theme").addEventListener("click", toggle);
    apply();
  });
})();
