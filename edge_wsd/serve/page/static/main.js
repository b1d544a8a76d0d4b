// Puts the page together.

import { apiKey, fetchConfig } from "./api.js";
import { Chat } from "./chat.js";
import { Compare } from "./compare.js";
import { el, find } from "./dom.js";
import { askForKey } from "./key_dialog.js";
import { Conversations } from "./kept.js";
import { applyLook, Settings } from "./settings.js";

const TABS = ["chat", "compare"];
const UNAUTHORIZED = 401;

/** Hands the server's settings to `use`; asks for a key until the server takes it. A problem is shown, and can be tried again. */
async function withConfig(use) {
  const line = find("#problem");
  const again = el("button", { type: "button", class: "link", onclick: () => withConfig(use) }, "Try again");
  let complaint = null;
  for (;;) {
    try {
      const config = await fetchConfig();
      line.hidden = true;
      return use(config);
    } catch (error) {
      if (error.status === UNAUTHORIZED && (await askForKey(complaint))) {
        complaint = "The server does not take this key.";
        continue;
      }
      line.replaceChildren(error.message, " ", again);
      line.hidden = false;
      return;
    }
  }
}

/** Where conversations are kept; null, and a word of it, where the browser keeps nothing. */
async function openStore() {
  try {
    return await Conversations.open();
  } catch (error) {
    const line = find("#not-kept");
    line.textContent = `This browser keeps nothing for this page, so a conversation ends with it (${error.message}).`;
    line.hidden = false;
    return null;
  }
}

async function start(config) {
  const parts = {};
  const onPair = (pair) => Object.values(parts).forEach((part) => part.showPair(pair));
  const settings = new Settings(find("#settings"), config, onPair);
  parts.chat = new Chat(find("#chat"), settings, await openStore());
  parts.compare = new Compare(find("#compare"), settings);
  onPair(settings.pair);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") parts[openTab()].stop();
  });
  document.addEventListener("key-refused", () => {
    apiKey.forget();
    withConfig(() => {});
  });
  await parts.chat.restore();
  document.body.dataset.ready = "";
  parts.chat.box.field.focus();
}

const openTab = () => TABS.find((name) => !find(`#${name}`).hidden);

function open(tab) {
  for (const name of TABS) {
    find(`#${name}`).hidden = name !== tab;
    const button = find(`#tab-${name}`);
    button.ariaSelected = String(name === tab);
    button.tabIndex = name === tab ? 0 : -1;
  }
}

function installTabs() {
  TABS.forEach((name, i) => {
    const button = find(`#tab-${name}`);
    button.addEventListener("click", () => open(name));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = TABS[(i + step + TABS.length) % TABS.length];
      open(next);
      find(`#tab-${next}`).focus();
    });
  });
}

function installSettingsButton() {
  const button = find("#settings-button");
  const panel = find("#settings");
  const besidesText = matchMedia("(min-width: 64rem)");
  const show = (isShown) => {
    panel.hidden = !isShown;
    button.ariaExpanded = String(isShown);
    find("main").inert = isShown && !besidesText.matches; // it lies under the settings
  };
  besidesText.addEventListener("change", () => show(besidesText.matches));
  button.addEventListener("click", () => {
    show(panel.hidden);
    if (!panel.hidden) panel.querySelector("select")?.focus();
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || besidesText.matches) return;
    event.stopPropagation(); // closes the settings, stops no answer
    show(false);
    button.focus();
  });
  show(besidesText.matches);
}

applyLook();
installTabs();
installSettingsButton();
withConfig(start);
