"use strict";
// Reading needs none of this: it adds magnification, search, tooltips for fingers, and the reader's own time zone.
(() => {
  const all = (what, where = document) => Array.from(where.querySelectorAll(what));
  all(".needs-js").forEach((node) => { node.hidden = false; });

  const line = document.querySelector(".timeline");
  all("[data-set-zoom]").forEach((button) => button.addEventListener("click", () => {
    const zoom = button.dataset.setZoom;
    const box = line.querySelector(".scroll");
    const middle = (box.scrollLeft + box.clientWidth / 2) / box.scrollWidth;
    line.dataset.zoom = zoom;
    line.style.setProperty("--zoom", zoom);
    box.scrollLeft = middle * box.scrollWidth - box.clientWidth / 2;
    all("[data-set-zoom]").forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
  }));
  all("[data-unfold]").forEach((button) => button.addEventListener("click", () => {
    const open = button.getAttribute("aria-pressed") !== "true";
    all("details").forEach((node) => { node.open = open; });
    button.setAttribute("aria-pressed", String(open));
  }));

  const tip = document.querySelector(".tip");
  if (line) line.addEventListener("click", (event) => {
    const of = event.target.closest("svg *");
    const title = of && (of.querySelector(":scope > title") || (of.parentNode.querySelector && of.parentNode.querySelector(":scope > title")));
    tip.textContent = title ? title.textContent : "";
  });

  all("[data-filter]").forEach((input) => input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    all("#" + input.dataset.filter + " tbody tr").forEach((row) => {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    });
  }));

  const zone = document.querySelector("[data-zone]");
  const minutes = -new Date(Number(zone.dataset.zone) * 1000).getTimezoneOffset();
  const two = (number) => String(Math.floor(number)).padStart(2, "0");
  const shift = (minutes < 0 ? "−" : "+") + two(Math.abs(minutes) / 60) + ":" + two(Math.abs(minutes) % 60);
  zone.textContent = minutes ? " Your clock was at UTC" + shift + "." : " Your clock was at UTC too.";
  all("time").forEach((node) => { node.title = new Date(node.dateTime).toLocaleString(); });

  const unfold = () => {
    const at = location.hash && document.getElementById(location.hash.slice(1));
    for (let node = at; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (at) at.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
