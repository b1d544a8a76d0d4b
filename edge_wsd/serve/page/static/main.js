// Puts the page together.

import { apiKey, fetchConfig } from "./api.js";
import { Chat } from "./chat.js";
import { Compare } from "./compare.js";
import { el, find } from "./dom.js";
import { askForKey } from "./key_dialog.js";
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

function start(config) {
  const parts = {};
  const onPair = (pair) => Object.values(parts).forEach((part) => part.showPair(pair));
  const settings = new Settings(find("#settings"), config, onPair);
  parts.chat = new Chat(find("#chat"), settings);
  parts.compare = new Compare(find("#compare"), settings);
  onPair(settings.pair);
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") parts[openTab()].stop();
  });
  document.addEventListener("key-refused", () => {
    apiKey.forget();
    withConfig(() => {});
  });
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
  const show = (isShown) => {
    panel.hidden = !isShown;
    button.ariaExpanded = String(isShown);
  };
  const besidesText = matchMedia("(min-width: 64rem)");
  button.addEventListener("click", () => {
    show(panel.hidden);
    if (!panel.hidden) panel.querySelector("select")?.focus();
  });
  panel.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || besidesText.matches) return;
    show(false);
    button.focus();
  });
  show(besidesText.matches);
}

applyLook();
installTabs();
installSettingsButton();
withConfig(start);
