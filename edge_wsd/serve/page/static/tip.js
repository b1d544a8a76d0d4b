// The small window beside what is pointed at.

import { el, find } from "./dom.js";

const GAP = 8;

/** Shows `lines` above `element`, or below it where there is no room; at `x` on the screen, by default its middle. */
export function showTip(lines, element, x = null) {
  const tip = find("#tip");
  tip.replaceChildren(...lines.map((line) => el("div", {}, line)));
  tip.hidden = false;
  const target = element.getClientRects()[0] ?? element.getBoundingClientRect();
  const middle = x ?? target.left + target.width / 2;
  const most = document.documentElement.clientWidth - tip.offsetWidth - GAP;
  tip.style.left = `${Math.max(GAP, Math.min(most, middle - tip.offsetWidth / 2))}px`;
  const above = target.top - tip.offsetHeight - GAP;
  tip.style.top = `${above >= GAP ? above : target.bottom + GAP}px`;
}

export function hideTip() {
  find("#tip").hidden = true;
}

addEventListener("scroll", hideTip, { passive: true, capture: true });
addEventListener("keydown", (event) => event.key === "Escape" && hideTip());
