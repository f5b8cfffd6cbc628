"""What a browser is asked about a page that it shows."""

from __future__ import annotations

CONTRASTS = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat([1]);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, style = getComputedStyle(element);
    if (!walker.currentNode.data.trim() || !element.getClientRects().length || element.closest("noscript")) continue;
    const ground = behind(element), ink = over(parse(style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize), large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    found.push({ text: walker.currentNode.data.trim().slice(0, 40), ratio, enough: large ? 3 : 4.5 });
  }
  return found;
}"""
"""The contrast of each text with what is behind it, and what WCAG 2.2 (1.4.3, AA) asks for."""

BEYOND = """() => [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  if (!box.width || getComputedStyle(e).clipPath !== "none") return false;
  for (let up = e.parentElement; up; up = up.parentElement)
    if (getComputedStyle(up).overflowX !== "visible") return false;
  return box.right > innerWidth + 0.5 || box.left < -0.5;
}).map((e) => e.outerHTML.slice(0, 120))"""
"""What sticks out at a side, and no container of its own scrolls it."""

BOTTOMS = """() => Object.fromEntries([...document.querySelectorAll("main [id]")].map(
  (e) => [e.id, e.getBoundingClientRect().bottom]))"""
"""Where each part of the page ends."""

FOCUSED = """() => {
  const e = document.activeElement, style = getComputedStyle(e), box = e.getBoundingClientRect();
  return { text: (e.getAttribute("aria-label") || e.textContent || e.name || "").trim().slice(0, 40), tag: e.tagName,
           id: e.id, outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
           column: box.left, top: box.top };
}"""
"""What has the focus, and whether one sees it."""
