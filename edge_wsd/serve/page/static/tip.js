// The small window beside what is pointed at.

import { el, find } from "./dom.js";

const GAP = 8;
let target = null; // {element, x}

/** Shows `lines`, texts or elements, above `element`, or below it where there is no room; at `x` on the screen, by default its middle. */
export function showTip(lines, element, x = null) {
  target = { element, x };
  find("#tip").replaceChildren(...lines.map((line) => el("div", {}, line)));
  place();
}

export const isTipShown = () => target !== null;

export function hideTip() {
  target = null;
  find("#tip").hidden = true;
}

/** Where its element is now; nowhere while that is out of sight. */
function place() {
  if (!target) return;
  const tip = find("#tip");
  const rect = target.element.getClientRects()[0] ?? target.element.getBoundingClientRect();
  const { clientWidth, clientHeight } = document.documentElement;
  tip.hidden = rect.bottom < 0 || rect.top > clientHeight;
  const middle = target.x ?? rect.left + rect.width / 2;
  const most = clientWidth - tip.offsetWidth - GAP;
  tip.style.left = `${Math.max(GAP, Math.min(most, middle - tip.offsetWidth / 2))}px`;
  const above = rect.top - tip.offsetHeight - GAP;
  const below = Math.max(GAP, Math.min(clientHeight - tip.offsetHeight - GAP, rect.bottom + GAP));
  tip.style.top = `${above >= GAP ? above : below}px`;
}

addEventListener("scroll", place, { passive: true, capture: true });
addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
