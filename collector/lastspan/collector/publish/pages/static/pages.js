// The theme, a page that refreshes itself without flicker, and a button that copies. Works without all of it too.
"use strict";

const EVERY_MS = 5000;

function theme() {
  const root = document.documentElement;
  const system = () => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  const kept = () => { try { return localStorage.getItem("lastspan-theme"); } catch { return null; } };
  const keep = (value) => { try { localStorage.setItem("lastspan-theme", value); } catch { /* not allowed here */ } };
  if (kept() === "dark" || kept() === "light") root.dataset.theme = kept();
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const now = () => root.dataset.theme || system();
    const show = () => { button.textContent = now() === "dark" ? "Light" : "Dark"; };
    button.hidden = false;
    show();
    button.addEventListener("click", () => { root.dataset.theme = now() === "dark" ? "light" : "dark"; keep(root.dataset.theme); show(); });
  });
}

// Makes `old` what `fresh` is, and touches only what differs: focus, selection and scroll positions stay.
function morph(old, fresh) {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
    old.replaceWith(document.importNode(fresh, true));
    return;
  }
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.hasAttribute("data-keep")) return;
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  children(old, fresh);
}

function children(old, fresh) {
  const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.dataset.key || node.id : "");
  const known = new Map([...old.childNodes].filter(key).map((node) => [key(node), node]));
  const meant = new Set([...fresh.childNodes].map(key).filter(Boolean));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    while (at && key(at) && !meant.has(key(at))) { const gone = at; at = at.nextSibling; gone.remove(); }
    const same = key(node) ? known.get(key(node)) : at && !key(at) ? at : null;
    if (!same) { old.insertBefore(document.importNode(node, true), at); continue; }
    if (same === at) at = at.nextSibling; else old.insertBefore(same, at);
    morph(same, node);
  }
  while (at) { const gone = at; at = at.nextSibling; gone.remove(); }
}

async function refresh() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (!answer.ok && answer.status !== 404) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const copy = fresh.getElementById("copy");
    if (copy) copy.hidden = false;
    morph(document.getElementById("content"), fresh.getElementById("content"));
    morph(document.getElementById("now"), fresh.getElementById("now"));
    document.title = fresh.title;
    document.getElementById("gone").hidden = true;
  } catch {
    document.getElementById("gone").hidden = false;
  }
}

async function copy(button) {
  try {
    const answer = await fetch(button.dataset.text, { cache: "no-store" });
    await navigator.clipboard.writeText(await answer.text());
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy as text"; }, 2000);
  } catch {
    location.href = button.dataset.text; // browsers copy only on https or localhost
  }
}

theme();
addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("copy");
  if (button) button.hidden = false;
  document.addEventListener("click", (event) => { if (event.target.id === "copy") copy(event.target); });
  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
});
