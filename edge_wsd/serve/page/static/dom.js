// Elements without markup: whatever becomes part of the page is set as text, never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** The only element that fits `selector` inside `root`. */
export function find(selector, root = document) {
  const found = root.querySelector(selector);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

/** `el("button", {class: "main", onclick: send}, "Send")`. A property that is null is left out. */
export function el(name, properties = {}, ...children) {
  return filled(document.createElement(name), properties, children);
}

/** The same for SVG. */
export function svg(name, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, name), properties, children);
}

function filled(element, properties, children) {
  for (const [key, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** Tells those who hear the page instead of seeing it. */
export function announce(text) {
  find("#status").textContent = text;
}

/** Puts `text` where it can be pasted from. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    announce("copied");
  } catch {
    announce("the browser does not let this page copy; select the text instead");
  }
}

/** `callback`, at most once for each frame that is drawn. */
export function eachFrame(callback) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      callback();
    });
  };
}
